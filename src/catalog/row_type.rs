//! Who uses a table's row type.

use serde::Deserialize;

use crate::error::Result;
use crate::oid::RelationId;
use crate::pg::spi::{self, Arg};

/// A function that uses a table's row type.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RowTypeUser {
    /// The function with its arguments.
    pub name: String,
    /// The catalogs say so; else its text looks so.
    pub sure: bool,
}

/// Functions that use the row type of a table, or an array of it.
pub(crate) fn row_type_users(table: RelationId) -> Result<Vec<RowTypeUser>> {
    spi::rows(include_str!("queries/row_type_users.sql"), &[Arg::oid(table)])
}
