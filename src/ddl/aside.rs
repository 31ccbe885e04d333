//! Statements about rows that a revert leaves behind.

use crate::ddl::rows::{ID, Rows, WORK, batch_key, goes_key, mapped_name};
use crate::ident::{Ident, QualifiedName};
use crate::model::key::Key;

/// The misfits' keys in the other table's terms, with their numbers.
pub(crate) const NOW: &str = "bluegreen_now";
/// The same for the keys that the other table still has their rows under.
pub(crate) const BEFORE: &str = "bluegreen_before";
/// Entries for the log of the table that goes live.
pub(crate) const AGAIN: &str = "bluegreen_again";
/// The column of [`AGAIN`] with the operation.
pub(crate) const OPERATION: &str = "bluegreen.op";

fn columns(alias: &str, name: fn(usize) -> String, count: usize) -> String {
    let all: Vec<_> = (0..count).map(|i| format!("{alias}.{}", Ident::new(name(i)))).collect();
    all.join(", ")
}

/// The misfits in a log: number, key, and the key that blue still has the row under.
pub(crate) fn misfits(log: &QualifiedName, count: usize) -> String {
    let keys: Vec<_> =
        ["k", "o"].iter().flat_map(|p| (1..=count).map(move |i| format!("{p}{i}"))).collect();
    let keys = keys.join(", ");
    format!("SELECT pg_catalog.row_number() OVER (), {keys} FROM {log} WHERE op = 'M'")
}

/// The keys of [`WORK`] in `column` in blue's terms, with their numbers.
pub(crate) fn mapped(rows: &Rows<'_>, column: fn(usize) -> String) -> String {
    let first = Ident::new(column(0));
    let there = format!("(SELECT * FROM {WORK} x WHERE x.{first} IS NOT NULL)");
    let keys = columns("k", mapped_name, rows.mapping.to_key.columns.len());
    format!("SELECT k.{}, {keys} FROM {} k", Ident::new(ID), rows.with_mapped_key(&there, column))
}

/// The numbers in `name` whose keys a table has.
pub(crate) fn present(name: &str, table: &QualifiedName, key: &Key) -> String {
    let same = Rows::join(key, "t", "x", |i| Ident::new(mapped_name(i)));
    format!("SELECT DISTINCT x.{} FROM {name} x JOIN ONLY {table} t ON {same}", Ident::new(ID))
}

/// The numbers in `name`.
pub(crate) fn numbers(name: &str) -> String {
    format!("SELECT DISTINCT x.{} FROM {name} x", Ident::new(ID))
}

/// The places of the rows that a table has under the keys in `name`.
pub(crate) fn places(name: &str, table: &QualifiedName, key: &Key) -> String {
    let same = Rows::join(key, "t", "x", |i| Ident::new(mapped_name(i)));
    format!("SELECT DISTINCT t.ctid FROM {name} x JOIN ONLY {table} t ON {same}")
}

/// Deletes the rows under the keys of [`WORK`] whose numbers are not in `$1`.
pub(crate) fn leave(table: &QualifiedName, key: &Key) -> String {
    let same = Rows::join(key, "g", "w", |i| Ident::new(batch_key(i)));
    let id = Ident::new(ID);
    format!(
        "DELETE FROM ONLY {table} AS g USING {WORK} w WHERE {same} AND w.{id} <> ALL ($1::int8[])"
    )
}

/// What the offline table has to look at again: [`NOW`] for the numbers in `$1`; [`BEFORE`], with what
/// is under the present key going there, for those in `$2`.
pub(crate) fn again(key: &Key) -> String {
    let (id, count) = (Ident::new(ID), key.columns.len());
    let none: Vec<_> = key.columns.iter().map(|k| format!("NULL::{}", k.type_sql)).collect();
    let (now, before, none) =
        (columns("n", mapped_name, count), columns("b", mapped_name, count), none.join(", "));
    format!(
        "SELECT 'U'::pg_catalog.\"char\", {now}, {none} FROM {NOW} n WHERE n.{id} = ANY ($1::int8[])
         UNION ALL
         SELECT CASE WHEN n.{id} IS NULL THEN 'I' ELSE 'U' END::pg_catalog.\"char\", {before}, {now}
           FROM {BEFORE} b LEFT JOIN {NOW} n ON n.{id} = b.{id} WHERE b.{id} = ANY ($2::int8[])"
    )
}

/// Appends [`AGAIN`] to a log at position `$1`.
pub(crate) fn log(log: &QualifiedName, count: usize) -> String {
    let names: Vec<_> =
        ["k", "o"].iter().flat_map(|p| (1..=count).map(move |i| format!("{p}{i}"))).collect();
    format!(
        "INSERT INTO {log} (position, n, op, {}) SELECT $1, 0, a.{}, {}, {} FROM {AGAIN} a",
        names.join(", "),
        Ident::new(OPERATION),
        columns("a", batch_key, count),
        columns("a", goes_key, count)
    )
}
