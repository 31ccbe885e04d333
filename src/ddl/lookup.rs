//! Rows of a table looked up by key, one look into the key's index for each row of the other side.
//!
//! OFFSET keeps the planner from making a join of the subquery: whatever it thinks of the tables' sizes,
//! there is no other way to run it than by the key, again for each row. `pg::lookup` sees to it that this
//! way is the key's index.

use std::fmt::Display;

use crate::ident::QualifiedName;

/// The place of a row that is to be deleted or updated.
pub(crate) const PLACE: &str = "bluegreen.place";

/// For each row before it, in a list of FROM, the rows of `table`, called `alias`, that `condition` finds:
/// their `columns`, under the same alias.
pub(crate) fn each(
    columns: impl Display,
    table: &QualifiedName,
    alias: &str,
    condition: impl Display,
) -> String {
    format!("CROSS JOIN LATERAL {}", rows(columns, table, alias, condition))
}

/// The same, where a row before it that finds none stays, with NULLs.
pub(crate) fn each_or_none(
    columns: impl Display,
    table: &QualifiedName,
    alias: &str,
    condition: impl Display,
) -> String {
    format!("LEFT JOIN LATERAL {} ON true", rows(columns, table, alias, condition))
}

/// That `condition` finds no row of `table`.
pub(crate) fn none(table: &QualifiedName, alias: &str, condition: impl Display) -> String {
    format!("NOT EXISTS (SELECT FROM ONLY {table} AS {alias} WHERE {condition} OFFSET 0)")
}

fn rows(
    columns: impl Display,
    table: &QualifiedName,
    alias: &str,
    condition: impl Display,
) -> String {
    format!("(SELECT {columns} FROM ONLY {table} AS {alias} WHERE {condition} OFFSET 0) AS {alias}")
}
