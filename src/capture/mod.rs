//! Capture: the logs of both directions, and the triggers that write them.
//!
//! Both tables get all triggers at prepare; a table captures or is guarded, the other kind is
//! disabled, so that the swap only flips them. The logs belong to the extension; only the database's
//! owner may read them, because pg_dump reads every table.
//!
//! Locks: SHARE ROW EXCLUSIVE on the tables.

use crate::catalog;
use crate::ddl::{self, shadow};
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::model::deployment::{Deployment, Side};
use crate::model::key::Key;
use crate::pg::acl;
use crate::pg::lock::{self, Mode};
use crate::pg::security;
use crate::pg::spi::{self, Arg};

/// Creates both logs and all triggers; green captures, blue is guarded. Runs as the extension.
pub fn install(deployment: &Deployment, unlogged: bool) -> Result<()> {
    for (side, key) in [
        (Side::Origin, &deployment.plan.forward.from_key),
        (Side::Shadow, &deployment.plan.reverse.from_key),
    ] {
        let name = deployment.log_of(side);
        spi::run(&ddl::log::create(&name, unlogged, key), &[])?;
        register(deployment, side, key, &name)?;
    }
    let blue = deployment.blue_name();
    for (table, capture) in [(&deployment.source, true), (&blue, false)] {
        for statement in shadow::create_triggers(table) {
            spi::run(&statement, &[])?;
        }
        spi::run(&shadow::set_triggers(table, capture, &[]), &[])?;
    }
    Ok(())
}

fn register(deployment: &Deployment, side: Side, key: &Key, log: &QualifiedName) -> Result<()> {
    let oid = catalog::relation_oid(log)?
        .ok_or_else(|| Error::internal(format!("the log {} was not made", log.plain())))?;
    // Default privileges may have given it to others.
    let nobody = "SELECT 0::int2 AS attnum, NULL::pg_catalog.aclitem[] AS acl";
    acl::replace(oid, security::current_user(), nobody, &[])?;
    spi::run(&ddl::log::grant(log), &[])?;
    let attnums: Vec<i64> = key.columns.iter().map(|k| k.attnum.into()).collect();
    spi::run(
        "INSERT INTO bluegreen.capture (relation, log, deployment, key) VALUES ($1, $2, $3, $4::int2[])",
        &[
            Arg::Oid(deployment.oid(side)),
            Arg::Oid(oid),
            Arg::Int(deployment.id),
            Arg::Ints(&attnums),
        ],
    )?;
    Ok(())
}

/// Empties a log that was drained, under the swap's lock: nobody can be writing it. A small file is
/// kept, because a new one takes longer than the lock should last.
pub fn empty_log(name: &QualifiedName) -> Result<()> {
    const SMALL_BLOCKS: i64 = 128;
    let Some(oid) = catalog::relation_oid(name)? else { return Ok(()) };
    let large = catalog::existing_table(oid)?.blocks > SMALL_BLOCKS;
    // Never wait for a reader of the log while everyone waits for us.
    let sql = if large && lock::relation_at_once(oid, Mode::AccessExclusive) {
        ddl::log::truncate(name)
    } else {
        ddl::log::delete(name)
    };
    spi::run(&sql, &[])?;
    Ok(())
}

/// Takes capture off: the triggers of the tables that still exist, the logs, our records.
pub fn remove(deployment: &Deployment, tables: &[QualifiedName]) -> Result<()> {
    for table in tables {
        for statement in shadow::drop_triggers(table) {
            spi::run(&statement, &[])?;
        }
    }
    for side in [Side::Origin, Side::Shadow] {
        spi::run(&ddl::log::drop(&deployment.log_of(side)), &[])?;
    }
    for sql in [
        "DELETE FROM bluegreen.capture WHERE deployment = $1",
        "DELETE FROM bluegreen.truncation WHERE deployment = $1",
    ] {
        spi::run(sql, &[Arg::Int(deployment.id)])?;
    }
    Ok(())
}
