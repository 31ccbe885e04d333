//! What belongs to other extensions.

use serde::Deserialize;

use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
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
    /// OID of the table's owner.
    pub owner: u32,
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
pub(crate) fn of(relations: &[u32], functions: &[u32]) -> Result<Vec<Belonging>> {
    let longs = |oids: &[u32]| oids.iter().map(|oid| i64::from(*oid)).collect::<Vec<_>>();
    let (relations, functions) = (longs(relations), longs(functions));
    let args = [Arg::Ints(&relations), Arg::Ints(&functions)];
    spi::rows(include_str!("queries/of_extensions.sql"), &args)
}
