//! The statements that we generate. Text in, text out; nothing is executed here.

pub(crate) mod aside;
pub(crate) mod children;
pub(crate) mod compare;
pub(crate) mod constraint;
pub(crate) mod dependent;
pub(crate) mod exact;
pub(crate) mod kept;
pub(crate) mod log;
pub(crate) mod lookup;
pub(crate) mod object;
pub(crate) mod picture;
pub(crate) mod plain_alter;
pub(crate) mod rights;
pub(crate) mod rows;
pub(crate) mod sample;
pub(crate) mod schema;
pub(crate) mod sequence;
pub(crate) mod shadow;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod snapshots;
pub(crate) mod statistics;
pub(crate) mod table;
pub(crate) mod take_off;
