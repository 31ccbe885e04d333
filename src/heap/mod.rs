//! Heap: rows of tables read and written below SQL, many at once or version by version.
//!
//! The rules of [`crate::pg`] hold here too. It imports `pg`, never the other way round.
#![allow(unsafe_code)]

pub(crate) mod append;
pub(crate) mod bulk;
mod extension;
pub(crate) mod generated;
mod index_entries;
pub(crate) mod receive;
pub(crate) mod row;
pub(crate) mod scan;
pub(crate) mod stamp;
mod toast;
pub(crate) mod toast_compare;
pub(crate) mod toast_table;
pub(crate) mod versions;
pub(crate) mod versions_insert;
