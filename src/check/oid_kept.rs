//! OIDs of the table and of what hangs on it that somebody keeps: the new table has others.

use crate::catalog::kept::{Column, Keeper, Known, MAX_ROWS};
use crate::ident::plain;
use crate::model::finding::Finding;
use crate::oid::ObjectId;

const CODE: &str = "oid_kept";
const HINT: &str = "Keep a name and look it up when it is needed (to_regclass), or write the new OID in the transaction of the swap, and the old one in that of a revert.";

/// `column` of a table holds these OIDs.
pub(crate) fn in_column(column: &Column, oids: &[ObjectId], known: &[Known]) -> Finding {
    let (table, name) = (column.table().plain(), plain(column.column_name.as_str()));
    let of = names(oids, known);
    warning(
        format!("{table}.{name}"),
        format!(
            "column {name} of {table} holds the OID of {of}: after the swap it means what is offline then, after bg_finish nothing"
        ),
    )
}

/// A trigger has one as an argument.
pub(crate) fn in_argument(keeper: &Keeper, known: &[Known]) -> Finding {
    let (what, of) = (&keeper.what, names(&[keeper.oid], known));
    warning(
        what.clone(),
        format!(
            "{what} has the OID of {of} as an argument: after the swap it means what is offline then, where a write fails with 25006, after bg_finish nothing"
        ),
    )
}

/// A stored tree has one as a constant.
pub(crate) fn in_constant(keeper: &Keeper, known: &[Known]) -> Finding {
    let (what, of) = (&keeper.what, names(&[keeper.oid], known));
    warning(
        what.clone(),
        format!(
            "{what} has the OID of {of} as a constant: where it goes with the table it means the new one after the swap, and rows that keep the old OID do not match; else it means the old one"
        ),
    )
}

fn warning(object: String, fact: String) -> Finding {
    Finding::warning(CODE, object, fact, HINT)
}

/// A column that nobody looked at, and why.
pub(crate) fn not_looked_at(column: &Column, why: &str) -> Finding {
    let (table, name) = (column.table().plain(), plain(column.column_name.as_str()));
    Finding::note(
        CODE,
        format!("{table}.{name}"),
        format!(
            "column {name} of {table}, which may hold OIDs of the table, was not looked at: {why}"
        ),
        "Look yourself for the OIDs of the table, its row type, indexes, views and functions.",
    )
}

/// Why a large table was not looked at.
pub(crate) fn too_large() -> String {
    format!("the table has more than {MAX_ROWS} rows, or 100 MB, and no index on the column")
}

fn names(oids: &[ObjectId], known: &[Known]) -> String {
    let names = known.iter().filter(|k| oids.contains(&k.oid)).map(|k| k.what.as_str());
    names.collect::<Vec<_>>().join(", ")
}
