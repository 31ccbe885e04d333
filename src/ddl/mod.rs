//! The statements that we generate. Text in, text out; nothing is executed here.

pub mod dependent;
pub mod log;
pub mod rights;
pub mod rows;
pub mod schema;
pub mod shadow;
