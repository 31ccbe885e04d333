//! OIDs of a table and of what hangs on it that are kept where no dependency tells of them.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::oid::{ObjectId, RelationId, RoleId};
use crate::pg::spi::{self, Arg};

/// A table with more rows is looked at by an index on the column only.
pub(crate) const MAX_ROWS: i64 = 100_000;
/// The same for its size in bytes.
const MAX_BYTES: i64 = 100 << 20;

/// An OID that is another one after a swap.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Known {
    pub oid: ObjectId,
    /// What has it, in words.
    pub what: String,
}

/// A column of a user's table that has OIDs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Column {
    schema: Ident,
    table_name: Ident,
    /// Its name.
    pub column_name: Ident,
    /// Owner of the table.
    pub owner: RoleId,
    /// Its values are arrays.
    pub is_array: bool,
    /// Reading it would take too long.
    pub too_large: bool,
}

impl Column {
    /// The table.
    pub(crate) fn table(&self) -> QualifiedName {
        QualifiedName { schema: self.schema.clone(), name: self.table_name.clone() }
    }
}

/// What has an OID that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keeper {
    /// It, in words.
    pub what: String,
    pub oid: ObjectId,
}

/// OIDs that are others after a swap: of the table, its row type, indexes, views, functions.
pub(crate) fn known(table: RelationId, family: &[ObjectId]) -> Result<Vec<Known>> {
    let family: Vec<i64> = family.iter().map(|oid| i64::from(*oid)).collect();
    spi::rows(include_str!("queries/kept_oids.sql"), &[Arg::oid(table), Arg::Ints(&family)])
}

/// Columns that may have some.
pub(crate) fn columns() -> Result<Vec<Column>> {
    let args = [Arg::Int(MAX_ROWS), Arg::Int(MAX_BYTES)];
    spi::rows(include_str!("queries/kept_columns.sql"), &args)
}

/// Triggers that have some as arguments.
pub(crate) fn arguments(known: &[Known]) -> Result<Vec<Keeper>> {
    #[derive(Deserialize)]
    struct Row {
        what: String,
        oid: ObjectId,
    }
    let oids: Vec<i64> = known.iter().map(|k| k.oid.into()).collect();
    let rows: Vec<Row> =
        spi::rows(include_str!("queries/kept_arguments.sql"), &[Arg::Ints(&oids)])?;
    Ok(rows.into_iter().map(|row| Keeper { what: row.what, oid: row.oid }).collect())
}

/// What has some as constants in its stored tree.
pub(crate) fn constants(known: &[Known]) -> Result<Vec<Keeper>> {
    #[derive(Deserialize)]
    struct Row {
        what: String,
        bytes: String,
    }
    let pattern = pattern(known);
    let rows: Vec<Row> =
        spi::rows(include_str!("queries/kept_constants.sql"), &[Arg::Text(&pattern)])?;
    let oids: BTreeSet<ObjectId> = known.iter().map(|k| k.oid).collect();
    let keeper = |row: Row| {
        let oid = of_bytes(&row.bytes).filter(|oid| oids.contains(oid))?;
        Some(Keeper { what: row.what, oid })
    };
    Ok(rows.into_iter().filter_map(keeper).collect())
}

/// Types of constants that are such OIDs: oid, regproc, regprocedure, regclass, regtype, and their arrays.
const TYPES: &str = "26|24|2202|2205|2206|1028|1008|2207|2210|2211";

/// The bytes of a constant are printed as numbers, which have a sign where the machine's char has one.
fn pattern(known: &[Known]) -> String {
    let byte = |byte: u8| match byte.cast_signed() {
        signed if signed < 0 => format!("(?:{byte}|{signed})"),
        _ => byte.to_string(),
    };
    let one = |known: &Known| known.oid.get().to_ne_bytes().map(byte).join(" ");
    let all = known.iter().map(one).collect::<Vec<_>>().join("|");
    // A number that is cast stays one.
    format!(
        r"\{{CONST :consttype (?:{TYPES}) [^}}]*:constvalue \d+ \[ (?:[-0-9 ]* )??({all}) |\{{RELABELTYPE :arg \{{CONST :consttype 23 [^}}]*:constvalue \d+ \[ ({all}) [^}}]*\}} :resulttype (?:{TYPES}) "
    )
}

fn of_bytes(text: &str) -> Option<ObjectId> {
    let byte = |word: &str| word.parse::<i16>().ok().map(|n| n.to_le_bytes()[0]);
    let bytes: Option<Vec<u8>> = text.split(' ').map(byte).collect();
    Some(ObjectId::new(u32::from_ne_bytes(bytes?.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_and_without_a_sign_are_the_same_oid() {
        let oid = ObjectId::new(u32::from_ne_bytes([183, 64, 0, 1]));
        assert_eq!(of_bytes("-73 64 0 1"), Some(oid));
        assert_eq!(of_bytes("183 64 0 1"), Some(oid));
        assert_eq!(of_bytes("183 64 0"), None);
        let known = [Known { oid, what: String::new() }];
        assert!(pattern(&known).contains(" )??((?:183|-73) 64 0 1) |"), "{}", pattern(&known));
    }
}
