//! Access rights of blue and of a table that goes live, as queries for `pg::acl::replace`.
//!
//! Parameters: $1 the table that has the rights, $2 and $3 the names of the columns that correspond,
//! there and in the table that gets them, which is $4.

use crate::ident::{Ident, literal};
use crate::oid::RelationId;
use crate::pg::spi::Arg;

/// Exactly the rights of $1.
pub(crate) const LIVE: &str = "
    SELECT 0::int2 AS attnum, c.relacl AS acl FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT b.attnum, a.attacl
      FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS p (from_name, to_name)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attname = p.from_name
      JOIN pg_catalog.pg_attribute b ON b.attrelid = $4 AND b.attname = p.to_name";

/// Blue's rights: everything for the owner (a guard keeps writes out), the others' SELECT only, and
/// no grant option. No rights recorded means the owner's defaults.
pub(crate) const READ_ONLY: &str = "
    SELECT 0::int2 AS attnum, CASE WHEN c.relacl IS NOT NULL THEN (
               SELECT pg_catalog.array_agg(x.item)
                 FROM (SELECT pg_catalog.makeaclitem(e.grantee, e.grantor, 'SELECT', false) AS item
                         FROM pg_catalog.aclexplode(c.relacl) e
                        WHERE e.privilege_type = 'SELECT' AND e.grantee <> c.relowner
                        UNION ALL
                       SELECT o.item
                         FROM pg_catalog.unnest(pg_catalog.acldefault('r', c.relowner)) AS o (item)) x)
           END AS acl
      FROM pg_catalog.pg_class c WHERE c.oid = $1
    UNION ALL
    SELECT b.attnum, CASE WHEN a.attacl IS NOT NULL THEN (
               SELECT pg_catalog.array_agg(
                          pg_catalog.makeaclitem(e.grantee, e.grantor, 'SELECT', false))
                 FROM pg_catalog.aclexplode(a.attacl) e
                WHERE e.privilege_type = 'SELECT' AND e.grantee <> c.relowner) END
      FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS p (from_name, to_name)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = $1 AND a.attname = p.from_name
      JOIN pg_catalog.pg_class c ON c.oid = $1
      JOIN pg_catalog.pg_attribute b ON b.attrelid = $4 AND b.attname = p.to_name";

/// The parameters of either: `pairs` are the columns of `from` and of the table that gets the rights.
pub(crate) fn arguments<'a>(from: RelationId, pairs: &[(Ident, Ident)]) -> [Arg<'a>; 3] {
    let (theirs, ours) = pairs.iter().map(|(f, t)| (f.0.clone(), t.0.clone())).unzip();
    [Arg::oid(from), Arg::Texts(theirs), Arg::Texts(ours)]
}

/// Rights that were recorded as text, by attribute number, 0 for the table; none recorded means the
/// owner's defaults. Needs no parameters.
pub(crate) fn recorded(rights: &[(i16, Option<String>)]) -> String {
    let one = |(attnum, acl): &(i16, Option<String>)| {
        let acl = acl.as_deref().map_or("NULL".to_owned(), literal);
        format!("SELECT {attnum}::int2 AS attnum, {acl}::pg_catalog.aclitem[] AS acl")
    };
    rights.iter().map(one).collect::<Vec<_>>().join(" UNION ALL ")
}
