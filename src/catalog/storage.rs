//! What of a table ALTER TABLE would have to write or read again.

use serde::Deserialize;

use crate::error::Result;
use crate::ident::Ident;
use crate::oid::RelationId;
use crate::pg::spi::{self, Arg};

/// A file, a constraint or a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Stored {
    /// What it is.
    pub kind: Kind,
    /// The file's number, the constraint's OID, the column's number.
    pub number: i64,
    /// Its name.
    pub name: Ident,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The table's file.
    Table,
    /// The file of an index.
    Index,
    /// A CHECK constraint.
    Check,
    /// A NOT NULL column; rows that were there when it was added have no recorded value.
    #[serde(rename = "not null")]
    NotNull,
}

/// What there is.
pub(crate) fn stored(table: RelationId) -> Result<Vec<Stored>> {
    spi::rows(include_str!("queries/stored.sql"), &[Arg::oid(table)])
}

/// Something hinders ALTER TABLE from giving the column another type without a scan.
pub(crate) fn holds_type(table: RelationId, column: &str) -> Result<bool> {
    let args = [Arg::oid(table), Arg::Text(column)];
    Ok(spi::one::<bool>(include_str!("queries/holds_type.sql"), &args)?.unwrap_or(true))
}
