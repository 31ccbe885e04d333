//! Who uses a table's row type.

use serde::Deserialize;

use crate::error::Result;
use crate::ident::Ident;
use crate::oid::{ObjectId, RelationId, SchemaId, TypeId};
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

/// The array type of a row type, and the name that it is to have.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ArrayName {
    /// The array type.
    pub array: TypeId,
    /// Its schema.
    pub schema: SchemaId,
    /// The name that the other one has.
    pub name: Ident,
}

/// What to call the array type of a relation's row type, where it is not called as that of its original: the server
/// names it `_users`, or otherwise where another type has that name.
pub(crate) fn other_array_name(
    relation: ObjectId,
    original: ObjectId,
) -> Result<Option<ArrayName>> {
    let found = spi::rows(
        include_str!("queries/array_name.sql"),
        &[Arg::oid(relation), Arg::oid(original)],
    )?;
    Ok(found.into_iter().next())
}
