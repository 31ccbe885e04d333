//! Capture: the logs of both directions, and the triggers that write them.
//!
//! Both tables get all triggers at prepare; a table captures or is guarded, the other kind is
//! disabled, so that the swap only flips them. The logs belong to the extension; only the database's
//! owner may read them, because pg_dump reads every table.
//!
//! Locks: SHARE ROW EXCLUSIVE on the tables.

pub(crate) mod trigger;

use crate::catalog::{self, event_trigger::changed};
use crate::ddl::{self, shadow};
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::model::key::Key;
use crate::model::member::{Member, Side};
use crate::oid::RelationId;
use crate::pg::acl;
use crate::pg::lock::{self, Mode};
use crate::pg::security;
use crate::pg::spi;
use crate::state::{captured, truncation};

/// The two logs: the table that each is of, and its key.
fn logs(member: &Member) -> [(Side, &Key); 2] {
    [(Side::Origin, &member.plan.forward.from_key), (Side::Shadow, &member.plan.reverse.from_key)]
}

/// Makes both logs. Runs as the extension. `settle` sees to it that nothing else was put on one when it is
/// there: it is given the log, its name and its key.
pub(crate) fn make_logs(
    member: &Member,
    unlogged: bool,
    settle: impl Fn(RelationId, &QualifiedName, &Key) -> Result<()>,
) -> Result<()> {
    for (side, key) in logs(member) {
        let name = member.log_of(side);
        spi::run(&ddl::log::create(&name, unlogged, key), &[])?;
        let oid = catalog::relation_oid(&name)?.ok_or_else(|| {
            let fact = format!("the change log {} is not where it was made", name.plain());
            changed(fact, "CREATE TABLE")
        })?;
        settle(oid, &name, key)?;
        // Default privileges may have given it to others.
        let nobody = "SELECT 0::int2 AS attnum, NULL::pg_catalog.aclitem[] AS acl";
        acl::replace(oid, security::current_user(), nobody, &[])?;
        spi::run(&ddl::log::grant(&name), &[])?;
        settle(oid, &name, key)?;
    }
    Ok(())
}

/// Registers both logs and makes all triggers; green captures, blue is guarded. Runs as the extension.
pub(crate) fn install(member: &Member) -> Result<()> {
    for (side, key) in logs(member) {
        register(member, side, key, &member.log_of(side))?;
    }
    let blue = member.blue_name();
    for (table, capture) in [(&member.source, true), (&blue, false)] {
        for statement in shadow::create_triggers(table) {
            spi::run(&statement, &[])?;
        }
        spi::run(&shadow::set_triggers(table, capture, &[]), &[])?;
    }
    Ok(())
}

fn register(member: &Member, side: Side, key: &Key, log: &QualifiedName) -> Result<()> {
    let oid = catalog::relation_oid(log)?
        .ok_or_else(|| Error::internal(format!("the log {} was not made", log.plain())))?;
    let attnums: Vec<i64> = key.columns.iter().map(|k| k.attnum.into()).collect();
    captured::register(member.oid(side), oid, member.id, &attnums)
}

/// In which form a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As we made it.
    Intact,
    /// Something was put on it that changes what a statement does, or needs an entry for each row: or was
    /// once, a closer look tells.
    More,
    /// Its columns are others, which the trigger cannot write.
    Columns,
}

/// In which form the log of a side is. Quick: it is asked under the swap's lock.
pub(crate) fn form(member: &Member, side: Side) -> Result<Form> {
    let Some((_, key)) = logs(member).into_iter().find(|(s, _)| *s == side) else {
        return Ok(Form::Intact);
    };
    let types: Vec<i64> = key.columns.iter().map(|k| k.type_oid.into()).collect();
    Ok(match catalog::log_form(&member.log_of(side), &types)?.as_deref() {
        Some("columns") => Form::Columns,
        Some("more") => Form::More,
        _ => Form::Intact,
    })
}

/// Empties a log that was drained, under the swap's lock: nobody can be writing it. A small file is
/// kept, because a new one takes longer than the lock should last.
pub(crate) fn empty_log(name: &QualifiedName) -> Result<()> {
    const SMALL_BLOCKS: i64 = 128;
    let Some(oid) = catalog::relation_oid(name)? else { return Ok(()) };
    let large = catalog::blocks(oid)? > SMALL_BLOCKS;
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
pub(crate) fn remove(member: &Member, tables: &[QualifiedName]) -> Result<()> {
    for table in tables {
        for statement in shadow::drop_triggers(table) {
            spi::run(&statement, &[])?;
        }
    }
    for side in [Side::Origin, Side::Shadow] {
        spi::run(&ddl::log::drop(&member.log_of(side)), &[])?;
    }
    captured::unregister(member.id)?;
    truncation::take(member.id, None).map(drop)
}
