//! Access rights of blue and of a table that goes live, as queries for `pg::acl::replace`.

use crate::ident::{Ident, literal};

/// The columns that correspond, as rows `(from_name, to_name)`.
fn pairs_sql(pairs: &[(Ident, Ident)]) -> String {
    let rows: Vec<_> = pairs
        .iter()
        .map(|(from, to)| format!("({}, {})", literal(from.as_str()), literal(to.as_str())))
        .collect();
    format!("(VALUES {}) AS p (from_name, to_name)", rows.join(", "))
}

/// Exactly the rights of `from`, for `to`.
pub fn live(from: u32, to: u32, pairs: &[(Ident, Ident)]) -> String {
    format!(
        "SELECT 0::int2 AS attnum, c.relacl AS acl FROM pg_catalog.pg_class c WHERE c.oid = {from}
         UNION ALL
         SELECT b.attnum, a.attacl
           FROM {}
           JOIN pg_catalog.pg_attribute a ON a.attrelid = {from} AND a.attname = p.from_name
           JOIN pg_catalog.pg_attribute b ON b.attrelid = {to} AND b.attname = p.to_name",
        pairs_sql(pairs)
    )
}

/// Blue's rights: everything for the owner (a guard keeps writes out), the others' SELECT only, and
/// no grant option. No rights recorded means the owner's defaults.
pub fn read_only(from: u32, to: u32, pairs: &[(Ident, Ident)]) -> String {
    let reduced = |acl: &str, owner: &str| {
        format!(
            "CASE WHEN {acl} IS NOT NULL THEN (
                 SELECT pg_catalog.array_agg(x.item)
                   FROM (SELECT pg_catalog.makeaclitem(e.grantee, e.grantor, 'SELECT', false) AS item
                           FROM pg_catalog.aclexplode({acl}) e
                          WHERE e.privilege_type = 'SELECT' AND e.grantee <> c.relowner
                         {owner}) x) END"
        )
    };
    let owner = "UNION ALL
                 SELECT o.item FROM pg_catalog.unnest(pg_catalog.acldefault('r', c.relowner)) AS o(item)";
    format!(
        "SELECT 0::int2 AS attnum, {} AS acl FROM pg_catalog.pg_class c WHERE c.oid = {from}
         UNION ALL
         SELECT b.attnum, {}
           FROM {}
           JOIN pg_catalog.pg_attribute a ON a.attrelid = {from} AND a.attname = p.from_name
           JOIN pg_catalog.pg_class c ON c.oid = {from}
           JOIN pg_catalog.pg_attribute b ON b.attrelid = {to} AND b.attname = p.to_name",
        reduced("c.relacl", owner),
        reduced("a.attacl", ""),
        pairs_sql(pairs)
    )
}
