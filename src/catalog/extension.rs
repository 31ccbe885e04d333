//! What belongs to other extensions.

use serde::Deserialize;

use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::oid::{FunctionId, RelationId, RoleId};
use crate::pg::spi::{self, Arg};

/// A column of an extension's table that can hold the OID of a table.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct OidColumn {
    schema: Ident,
    name: Ident,
    /// The column.
    pub column: Ident,
    /// The extension.
    pub extension: String,
    /// The table's owner.
    pub owner: RoleId,
    /// It holds several.
    pub is_array: bool,
}

impl OidColumn {
    /// Its table.
    pub(crate) fn table(&self) -> QualifiedName {
        QualifiedName { schema: self.schema.clone(), name: self.name.clone() }
    }
}

/// An object, and whose it is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Belonging {
    /// The object for messages.
    pub title: String,
    /// Its extension.
    pub extension: Option<String>,
}

/// Columns of all other extensions' tables that can hold the OID of a table.
pub(crate) fn oid_columns() -> Result<Vec<OidColumn>> {
    spi::rows(include_str!("queries/extension_columns.sql"), &[])
}

/// Whose these relations and functions are; those of extensions first.
pub(crate) fn of(relations: &[RelationId], functions: &[FunctionId]) -> Result<Vec<Belonging>> {
    let relations: Vec<i64> = relations.iter().copied().map(i64::from).collect();
    let functions: Vec<i64> = functions.iter().copied().map(i64::from).collect();
    let args = [Arg::Ints(&relations), Arg::Ints(&functions)];
    spi::rows(include_str!("queries/of_extensions.sql"), &args)
}
