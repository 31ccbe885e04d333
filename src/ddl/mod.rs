//! The statements that we generate. Text in, text out; nothing is executed here.

pub mod aside;
pub mod children;
pub mod compare;
pub mod constraint;
pub mod dependent;
pub mod exact;
pub mod kept;
pub mod log;
pub mod lookup;
pub mod object;
pub mod rights;
pub mod rows;
pub mod schema;
pub mod sequence;
pub mod shadow;
pub mod statistics;
pub mod table;
pub mod take_off;
