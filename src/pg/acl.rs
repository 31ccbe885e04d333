//! Exact access rights, with their grantors, on tables and columns, functions and row types.

use pgrx::pg_sys;

use crate::error::Result;
use crate::oid::{FunctionId, RelationId, RoleId};
use crate::pg::{spi, spi::Arg};

/// Plans what [`replace`] will run, so that it takes no time under a lock.
pub(crate) fn prepare(source: &str, args: &[Arg<'_>]) -> Result<()> {
    let (sql, args) = statement(RelationId::INVALID, source, args);
    spi::prepare(&sql, &args)
}

/// The statement; the table is the argument after those of `source`.
fn statement<'a>(table: RelationId, source: &str, args: &[Arg<'a>]) -> (String, Vec<Arg<'a>>) {
    let n = args.len() + 1;
    let sql = format!(
        "WITH want AS ({source}),
         tables AS (
             UPDATE pg_catalog.pg_class c SET relacl = w.acl
               FROM want w, pg_catalog.pg_class old
              WHERE w.attnum = 0 AND c.oid = ${n} AND old.oid = c.oid
                AND c.relacl IS DISTINCT FROM w.acl
          RETURNING 0::smallint AS attnum, old.relacl AS before, c.relacl AS after),
         columns AS (
             UPDATE pg_catalog.pg_attribute a SET attacl = w.acl
               FROM want w, pg_catalog.pg_attribute old
              WHERE w.attnum <> 0 AND a.attrelid = ${n} AND a.attnum = w.attnum
                AND old.attrelid = a.attrelid AND old.attnum = a.attnum
                AND a.attacl IS DISTINCT FROM w.acl
          RETURNING a.attnum, old.attacl AS before, a.attacl AS after)
         SELECT * FROM tables UNION ALL SELECT * FROM columns"
    );
    (sql, args.iter().cloned().chain([Arg::oid(table)]).collect())
}

/// Writes what `pg_class.relacl` and `pg_attribute.attacl` say, for one table, from SQL: `source`
/// is a query that returns (attnum smallint, acl aclitem[]), attnum 0 for the table itself; the table
/// is its parameter after `args`. A column that it leaves out keeps its rights.
///
/// GRANT cannot do this: the grantor would be the owner. So the catalog rows are written as
/// ALTER TABLE OWNER writes them, and the dependencies of roles with them.
///
/// Locks: the caller holds ACCESS EXCLUSIVE on the table.
pub(crate) fn replace(
    table: RelationId,
    owner: RoleId,
    source: &str,
    args: &[Arg<'_>],
) -> Result<()> {
    let (sql, args) = statement(table, source, args);
    let options = spi::Options { keep_plan: true, ..spi::Options::default() };
    spi::with_rows(&sql, &args, options, |rows, _| {
        for row in 0..rows.len() {
            let attnum: i16 = rows.get(row, 1).unwrap_or(0);
            let (before, after) = (rows.datum(row, 2), rows.datum(row, 3));
            depend(
                pg_sys::RelationRelationId,
                table.get(),
                attnum,
                pg_sys::Oid::from(owner),
                before,
                after,
            );
        }
        Ok(())
    })?;
    // SAFETY: tells all backends that the table's rights changed.
    unsafe {
        pg_sys::CacheInvalidateRelcacheByRelid(pg_sys::Oid::from(table));
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Writes which roles an object depends on, as GRANT and REVOKE do.
// Parameters: those of the server's function.
fn depend(
    class: pg_sys::Oid,
    object: u32,
    attnum: i16,
    owner: pg_sys::Oid,
    before: Option<pg_sys::Datum>,
    after: Option<pg_sys::Datum>,
) {
    // SAFETY: both datums are aclitem arrays of rows that SPI still holds; the member lists are
    // palloc'd by aclmembers as updateAclDependencies wants them.
    unsafe {
        let (mut old, mut new) = (std::ptr::null_mut(), std::ptr::null_mut());
        let old_count = members(before, &mut old);
        let new_count = members(after, &mut new);
        let (object, column) = (pg_sys::Oid::from(object), attnum.into());
        pg_sys::updateAclDependencies(class, object, column, owner, old_count, old, new_count, new);
    }
}

/// Gives a function exactly the rights of another one of the same owner.
pub(crate) fn copy_function(from: FunctionId, to: FunctionId) -> Result<()> {
    let sql = "UPDATE pg_catalog.pg_proc p SET proacl = f.proacl
                 FROM pg_catalog.pg_proc f, pg_catalog.pg_proc old
                WHERE p.oid = $2 AND f.oid = $1 AND old.oid = p.oid
                  AND p.proacl IS DISTINCT FROM f.proacl
            RETURNING p.proowner, old.proacl, p.proacl";
    let options = spi::Options::default();
    spi::with_rows(sql, &[Arg::oid(from), Arg::oid(to)], options, |rows, _| {
        for row in 0..rows.len() {
            let owner = rows.get::<pg_sys::Oid>(row, 1).unwrap_or(pg_sys::InvalidOid);
            let (before, after) = (rows.datum(row, 2), rows.datum(row, 3));
            depend(pg_sys::ProcedureRelationId, to.get(), 0, owner, before, after);
        }
        Ok(())
    })?;
    // SAFETY: inside a transaction.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(())
}

/// Gives the row type of a relation exactly the rights of that of another one of the same owner.
pub(crate) fn copy_row_type(from: RelationId, to: RelationId) -> Result<()> {
    let sql = "WITH pair AS (
                   SELECT o.reltype AS original, c.reltype AS copy
                     FROM pg_catalog.pg_class o, pg_catalog.pg_class c
                    WHERE o.oid = $1 AND c.oid = $2)
               UPDATE pg_catalog.pg_type t SET typacl = f.typacl
                 FROM pair p
                 JOIN pg_catalog.pg_type f ON f.oid = p.original
                 JOIN pg_catalog.pg_type old ON old.oid = p.copy
                WHERE t.oid = p.copy AND t.typacl IS DISTINCT FROM f.typacl
            RETURNING t.oid, t.typowner, old.typacl, t.typacl";
    let options = spi::Options::default();
    spi::with_rows(sql, &[Arg::oid(from), Arg::oid(to)], options, |rows, _| {
        for row in 0..rows.len() {
            let oid = |column| rows.get::<pg_sys::Oid>(row, column).unwrap_or(pg_sys::InvalidOid);
            let (before, after) = (rows.datum(row, 3), rows.datum(row, 4));
            depend(pg_sys::TypeRelationId, oid(1).to_u32(), 0, oid(2), before, after);
        }
        Ok(())
    })?;
    // SAFETY: inside a transaction.
    unsafe { pg_sys::CommandCounterIncrement() };
    Ok(())
}

unsafe fn members(acl: Option<pg_sys::Datum>, roles: &mut *mut pg_sys::Oid) -> i32 {
    match acl {
        None => 0,
        // SAFETY: an aclitem array, detoasted; aclmembers checks its form.
        Some(acl) => unsafe {
            let array = pg_sys::pg_detoast_datum_copy(acl.cast_mut_ptr());
            pg_sys::aclmembers(array.cast(), roles)
        },
    }
}
