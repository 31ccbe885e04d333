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

/// What to call the array types of some relations' row types that are not called as those of their originals: the
/// server names one `_users`, or otherwise where another type has that name. Pairs of a relation and its original.
pub(crate) fn other_array_names(pairs: &[(ObjectId, ObjectId)]) -> Result<Vec<ArrayName>> {
    let (relations, originals): (Vec<i64>, Vec<i64>) = pairs
        .iter()
        .map(|(relation, original)| (i64::from(*relation), i64::from(*original)))
        .unzip();
    spi::rows(
        include_str!("queries/array_names.sql"),
        &[Arg::Ints(&relations), Arg::Ints(&originals)],
    )
}
