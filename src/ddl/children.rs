//! Statements about rows that refer to rows which a revert leaves behind.

use crate::catalog::reference::Reference;
use crate::ddl::picture::Picture;
use crate::ddl::rows::{Rows, WORK, batch_key};
use crate::ident::{Ident, QualifiedName, literal};
use crate::model::key::Key;

/// Rows of a child as JSON, to be kept for people.
pub(crate) const CHILDREN: &str = "bluegreen_children";
/// The column of [`CHILDREN`] with the referencing columns as JSON.
pub(crate) const KEY_TEXT: &str = "bluegreen.key";
/// The column of [`CHILDREN`] with the row as JSON.
pub(crate) const ROW_TEXT: &str = "bluegreen.row";

/// Values by which rows are referred to, which the owner of one table has read for that of the other: neither
/// need be allowed to read both.
pub(crate) const REFERENCES: &str = "bluegreen_references";
/// The column of [`REFERENCES`] with the place of the referring row.
const PLACE: &str = "bluegreen.place";

/// Column `i` of [`REFERENCES`], from 0.
fn referred(i: usize) -> Ident {
    Ident::new(format!("bluegreen.r{}", i + 1))
}

/// Some columns, as those of [`REFERENCES`].
fn as_references(alias: &str, columns: &[Ident]) -> String {
    let all = columns.iter().enumerate().map(|(i, c)| format!("{alias}.{c} AS {}", referred(i)));
    all.collect::<Vec<_>>().join(", ")
}

/// `parent.column = child.column` over all columns.
fn refers(reference: &Reference, parent: &str, child: &str) -> String {
    let columns = reference.referenced.iter().zip(&reference.equals).zip(&reference.columns);
    let all: Vec<_> = columns
        .map(|((referenced, equals), column)| {
            format!("{parent}.{referenced} {equals} {child}.{column}")
        })
        .collect();
    all.join(" AND ")
}

/// [`REFERENCES`] of the rows of the parent whose keys are in [`WORK`].
pub(crate) fn referred_of_work(reference: &Reference, key: &Key) -> String {
    format!(
        "SELECT {} FROM {WORK} w JOIN ONLY {} AS g ON {}",
        as_references("g", &reference.referenced),
        reference.parent_name(),
        Rows::join(key, "g", "w", |i| Ident::new(batch_key(i))),
    )
}

/// [`REFERENCES`] of the rows of the parent at the places `$1`.
pub(crate) fn referred_at(reference: &Reference) -> String {
    format!(
        "SELECT {} FROM ONLY {} AS p WHERE p.ctid = ANY ($1::pg_catalog.tid[])",
        as_references("p", &reference.referenced),
        reference.parent_name()
    )
}

/// The places of rows of the child that refer to [`REFERENCES`].
pub(crate) fn referring(reference: &Reference) -> String {
    let columns = reference.columns.iter().zip(&reference.equals).enumerate();
    let equal =
        columns.map(|(i, (column, equals))| format!("r.{} {equals} c.{column}", referred(i)));
    format!(
        "SELECT DISTINCT c.ctid FROM {REFERENCES} r JOIN ONLY {} AS c ON {}",
        reference.child_name(),
        equal.collect::<Vec<_>>().join(" AND ")
    )
}

/// Of a table that refers to itself: the keys of rows that refer to those whose keys are in [`WORK`].
pub(crate) fn keys_of_work(reference: &Reference, key: &Key) -> String {
    let keys: Vec<_> = key.columns.iter().map(|k| format!("c.{}", k.name)).collect();
    format!(
        "SELECT DISTINCT {} FROM {WORK} w JOIN ONLY {} AS g ON {} JOIN ONLY {} AS c ON {}",
        keys.join(", "),
        reference.parent_name(),
        Rows::join(key, "g", "w", |i| Ident::new(batch_key(i))),
        reference.child_name(),
        refers(reference, "g", "c")
    )
}

/// [`REFERENCES`] of the child's rows at the places `$1`, with their places.
pub(crate) fn references_at(reference: &Reference) -> String {
    let refer: Vec<_> =
        reference.columns.iter().map(|c| format!(" AND c.{c} IS NOT NULL")).collect();
    format!(
        "SELECT c.ctid AS {}, {} FROM ONLY {} AS c WHERE c.ctid = ANY ($1::pg_catalog.tid[]){}",
        Ident::new(PLACE),
        as_references("c", &reference.columns),
        reference.child_name(),
        refer.concat(),
    )
}

/// The places of those of [`REFERENCES`] that refer to a row which is not there.
pub(crate) fn orphans(reference: &Reference) -> String {
    let columns = reference.referenced.iter().zip(&reference.equals).enumerate();
    let equal =
        columns.map(|(i, (column, equals))| format!("p.{column} {equals} r.{}", referred(i)));
    format!(
        "SELECT r.{} FROM {REFERENCES} r WHERE NOT EXISTS (SELECT FROM {}{} AS p WHERE {})",
        Ident::new(PLACE),
        if reference.parent_is_partitioned { "" } else { "ONLY " },
        reference.parent_name(),
        equal.collect::<Vec<_>>().join(" AND ")
    )
}

/// What the rows at the places `$1` refer to, as the server says it: `(a, b)=(1, 2)`.
pub(crate) fn describe(reference: &Reference) -> String {
    let values: Vec<_> =
        reference.columns.iter().map(|c| format!("pg_catalog.format('%s', c.{c})")).collect();
    let names: Vec<_> = reference.columns.iter().map(|c| crate::ident::plain(c.as_str())).collect();
    format!(
        "SELECT {} || pg_catalog.concat_ws(', ', {}) || ')' FROM ONLY {} AS c WHERE c.ctid = ANY ($1::pg_catalog.tid[]) LIMIT 5",
        literal(&format!("({})=(", names.join(", "))),
        values.join(", "),
        reference.child_name()
    )
}

/// The rows at the places `$1`, for [`CHILDREN`].
pub(crate) fn pictures(reference: &Reference, picture: Picture) -> String {
    format!(
        "SELECT {}, {} FROM ONLY {} AS c WHERE c.ctid = ANY ($1::pg_catalog.tid[])",
        picture.key(reference.columns.iter().map(|c| (c, format!("c.{c}")))),
        picture.row("c"),
        reference.child_name()
    )
}

/// Deletes the rows at the places `$1`.
pub(crate) fn delete(table: &QualifiedName) -> String {
    format!("DELETE FROM ONLY {table} AS c WHERE c.ctid = ANY ($1::pg_catalog.tid[])")
}

/// Takes the references out of the rows at the places `$1`.
pub(crate) fn unset<'a>(
    table: &QualifiedName,
    null: impl IntoIterator<Item = &'a Ident>,
    default: impl IntoIterator<Item = &'a Ident>,
) -> String {
    let mut sets: Vec<_> = null.into_iter().map(|c| format!("{c} = NULL")).collect();
    sets.extend(default.into_iter().map(|c| format!("{c} = DEFAULT")));
    format!(
        "UPDATE ONLY {table} AS c SET {} WHERE c.ctid = ANY ($1::pg_catalog.tid[])",
        sets.join(", ")
    )
}

/// Whether role `$1` may delete rows of table `$2`.
pub(crate) fn may_delete() -> &'static str {
    "SELECT pg_catalog.has_table_privilege($1::oid, $2::oid, 'DELETE')"
}
