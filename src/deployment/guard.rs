//! What every verb asks first: who calls, which deployment, is it as we left it, is it free.

use std::time::Duration;

use pgrx::PgSqlErrorCode;

use crate::catalog::{self, event_trigger};
use crate::deployment::{gone, intrusion, restored, store};
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::model::deployment::{Deployment, Side};
use crate::model::phase::{self, Event, Phase};
use crate::pg::lock::{self, Hold};
use crate::pg::relation;
use crate::pg::security::{self, Identity};
use crate::pg::spi::{self, Arg};
use crate::pg::xact;
use crate::plan::difference;
use crate::plan::intrusion::Step;
use crate::shadow::meaning;

/// How long a verb waits for another that works on the same deployment.
const WAIT: Duration = Duration::from_secs(10);

/// OID of `bluegreen.deployment`, the class of our locks.
pub fn lock_table() -> Result<u32> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&QualifiedName::new("bluegreen", "deployment"))?
        .ok_or_else(|| Error::internal("bluegreen.deployment does not exist"))
}

/// OID of `bluegreen.capture`, the class of the locks of tables that are being prepared.
pub fn prepare_class() -> Result<u32> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&QualifiedName::new("bluegreen", "capture"))?
        .ok_or_else(|| Error::internal("bluegreen.capture does not exist"))
}

/// Refuses callers who see the database as it was.
pub fn require_read_committed(call: &str) -> Result<()> {
    if xact::is_read_committed() {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        format!("{call} cannot run in a REPEATABLE READ or SERIALIZABLE transaction: it has to see what is committed now"),
    )
    .hint("SET TRANSACTION ISOLATION LEVEL READ COMMITTED first."))
}

/// Refuses a caller without the rights of the table's owner.
pub fn require_owner(caller: u32, owner: u32, table: &str) -> Result<()> {
    let _us = Identity::extension()?;
    if catalog::is_owner(caller, owner)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("must be owner of table {table}"),
    )
    .hint("Call it as the table's owner, as a member of that role, or as a superuser."))
}

/// The deployment that a table (or a deployment's number, for a table that is gone) stands for, for
/// a caller who may act on it.
pub fn find(relation: u32, caller: u32) -> Result<Deployment> {
    let table = {
        let _us = Identity::extension()?;
        catalog::table(relation)?
    };
    if let Some(table) = &table {
        require_owner(caller, table.owner, &table.qualified().plain())?;
    }
    if let Some(deployment) = store::find(relation)? {
        require_owner(caller, deployment.owner, &deployment.source.plain())?;
        return Ok(deployment);
    }
    // A restored dump, where the tables have other OIDs and the same names, or a table that was dropped and
    // made anew.
    if let Some(table) = &table
        && let Some(deployment) = store::open_by_name(&table.qualified())?
    {
        if !deployment.restored {
            gone::require_owner(&deployment, caller)?;
        }
        return Ok(deployment);
    }
    if let Some(deployment) = store::by_id(relation.into())?.filter(|_| table.is_none()) {
        require_owner(caller, deployment.owner, &deployment.source.plain())?;
        return Ok(deployment);
    }
    let message = match table {
        Some(table) => format!("there is no deployment of {}", table.qualified().plain()),
        None => {
            format!("there is neither a table with OID {relation} nor a deployment of that number")
        }
    };
    Err(Error::state(message).hint("Begin one with SELECT bg_prepare(table, changes)."))
}

/// Takes the deployment's lock until the transaction ends, and reads the state again under it.
pub fn lock(id: i64) -> Result<Deployment> {
    lock_as(id, Hold::Alone)
}

/// The same, with others who copy or alone.
pub fn lock_as(id: i64, hold: Hold) -> Result<Deployment> {
    let class = lock_table()?;
    if !lock::deployment(class, id, hold, WAIT)? {
        let _us = Identity::extension()?;
        let sql = "SELECT pg_catalog.string_agg(l.pid::text, ', ') FROM pg_catalog.pg_locks l
                    WHERE l.locktype = 'object' AND l.classid = $1 AND l.objid = $2::int8::oid
                      AND l.granted";
        let pids: Option<String> = spi::one(sql, &[Arg::Oid(class), Arg::Int(id)])?;
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!(
                "another session is working on deployment {id} (pid {})",
                pids.unwrap_or_default()
            ),
        )
        .hint("Wait until its batch or transaction ends, then call again."));
    }
    store::load(id)
}

/// Refuses to go on when either table is not as we left it, naming what changed.
pub fn check_definitions(d: &Deployment) -> Result<()> {
    [Side::Origin, Side::Shadow].into_iter().try_for_each(|side| check_definition(d, side))?;
    if !d.plan.session.contains_key("search_path") {
        return Ok(());
    }
    let _owner = Identity::table_owner(d.owner, &d.plan.session)?;
    meaning::require_mapping(&d.plan.forward, d.origin)?;
    meaning::require_mapping(&d.plan.reverse, d.shadow)
}

/// The same for one of them.
pub fn check_definition(d: &Deployment, side: Side) -> Result<()> {
    if d.restored {
        return Err(restored::refusal(d));
    }
    let _us = Identity::extension()?;
    let is_green = side == d.green_side();
    let name = if is_green { d.source.plain() } else { d.blue_name().plain() };
    if catalog::table(d.oid(side))?.is_none()
        && let Some(gone) = gone::look(d)?
    {
        return Err(gone.refusal(d));
    }
    if is_green {
        intrusion::check_log(d, side)?;
    }
    let found = differences(d, side)?;
    if found.is_empty() {
        return Ok(());
    }
    let what = found.join("; ");
    let error = if is_green && difference::capture_is_broken(&found) {
        Error::state(format!(
                "capture on {name} was interrupted ({what}): writes may be missing from the copy"
            ))
            .hint(if d.phase == Phase::Swapped {
                "The old table cannot be trusted any more: keep the new one with SELECT bg_finish(table)."
            } else {
                "The copy cannot be trusted. Run SELECT bg_abort(table) and begin again."
            })
    } else {
        Error::state(format!("the definition of {name} changed during the deployment: {what}"))
                .hint(if d.phase == Phase::Swapped {
                    "Undo that change to go on or to revert, or keep the new table with SELECT bg_finish(table)."
                } else {
                    "Call bg_prepare again with the same arguments, which brings the offline table up to date where it can; or undo that change, or run SELECT bg_abort(table) and begin again."
                })
    };
    Err(match event_trigger::suspects(None)? {
        Some(who) => {
            error.detail(format!("Commands of the deployment fire {who}, which may have done it."))
        }
        None => error,
    })
}

/// What is different from what was recorded of a table, in words.
pub fn differences(d: &Deployment, side: Side) -> Result<Vec<String>> {
    let _us = Identity::extension()?;
    let recorded = match side {
        Side::Origin => &d.fingerprint_origin,
        Side::Shadow => &d.fingerprint_shadow,
    };
    // The server names objects as they are this moment, and finds them as the statement's snapshot has
    // them: while another swap commits, the two do not fit together. Look again.
    let mut found = Vec::new();
    for _ in 0..3 {
        let now = if side == d.green_side() {
            catalog::fingerprint(d.oid(side))?
        } else {
            blue_fingerprint(d)?
        };
        found = difference::differences(recorded, &now);
        if found.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// Blue's definition without what we build and change on it ourselves.
pub fn blue_fingerprint(d: &Deployment) -> Result<serde_json::Value> {
    Ok(without_ours(d, catalog::fingerprint(d.blue())?))
}

fn without_ours(d: &Deployment, mut now: serde_json::Value) -> serde_json::Value {
    let Some(parts) = now.as_object_mut() else { return now };
    let ours: Vec<String> = d
        .plan
        .indexes
        .iter()
        .flat_map(|i| {
            let constraint = i.constraint.as_ref().map(|c| &c.name);
            [format!("index {}", i.name.as_str())]
                .into_iter()
                .chain(constraint.map(|c| format!("constraint {}", c.as_str())))
        })
        .chain(d.plan.not_valid.iter().map(|c| format!("constraint {}", c.name.as_str())))
        .collect();
    parts.retain(|part, _| !ours.contains(part));
    now
}

/// The phase after `event`, or a refusal that names the table.
pub fn next_phase(d: &Deployment, event: Event) -> Result<Phase> {
    phase::next(d.phase, event)
        .map_err(|e| Error { message: format!("{}: {}", d.source.plain(), e.message), ..e })
}

/// Refuses when a statement or a deferred event of the caller's own transaction still needs the
/// tables. PostgreSQL's own error (55006), with a hint.
pub fn require_not_in_use(tables: &[u32], call: &str) -> Result<()> {
    let checked = xact::subtransaction(|| {
        // Who is kept out by another session's lock does not use the table himself.
        let _limited = lock::limited(Duration::from_millis(100))?;
        tables.iter().try_for_each(|table| relation::check_not_in_use(*table, call))
    });
    if checked.as_ref().is_err_and(xact::Caught::is_lock_failure) {
        return Ok(());
    }
    checked.map_err(|caught| match caught.error.hint {
        None if caught.error.code == PgSqlErrorCode::ERRCODE_OBJECT_IN_USE => caught.error.hint(
            "Call it in a statement of its own; close cursors on the table, SET CONSTRAINTS ALL IMMEDIATE, or COMMIT first.",
        ),
        _ => caught.error,
    })
}

/// Takes both fingerprints again, after a change of our own, which must have done no more to a table than it
/// was meant to; green's at first is compared by the caller.
pub fn take_fingerprints(d: &mut Deployment, step: &Step<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    let green = catalog::fingerprint(d.green())?;
    let blue = blue_fingerprint(d)?;
    let (green_before, blue_before) = match d.green_side() {
        Side::Origin => (&d.fingerprint_origin, &d.fingerprint_shadow),
        Side::Shadow => (&d.fingerprint_shadow, &d.fingerprint_origin),
    };
    let ours = |of: &serde_json::Value| without_ours(d, of.clone());
    let (live, offline) = (d.source.plain(), d.blue_name().plain());
    intrusion::require_capture(&live, &green, true)?;
    intrusion::require_capture(&offline, &blue, false)?;
    intrusion::require_meant(&live, &ours(green_before), &ours(&green), step)?;
    intrusion::require_meant(&offline, &ours(blue_before), &blue, step)?;
    match d.green_side() {
        Side::Origin => (d.fingerprint_origin, d.fingerprint_shadow) = (green, blue),
        Side::Shadow => (d.fingerprint_shadow, d.fingerprint_origin) = (green, blue),
    }
    store::save_fingerprints(d)
}

/// Takes `green` as the live table's fingerprint, as it was when what we made of it was begun: whatever
/// somebody has added since is found by the next step. Takes blue's again.
pub fn take_seen(d: &mut Deployment, green: serde_json::Value, step: &Step<'_>) -> Result<()> {
    match d.green_side() {
        Side::Origin => d.fingerprint_origin = green,
        Side::Shadow => d.fingerprint_shadow = green,
    }
    take_blue_fingerprint(d, step)
}

/// Takes blue's fingerprint again, after a change of our own, which must have done no more to it than it was
/// meant to.
pub fn take_blue_fingerprint(d: &mut Deployment, step: &Step<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    let blue = blue_fingerprint(d)?;
    let before = match d.green_side() {
        Side::Origin => &d.fingerprint_shadow,
        Side::Shadow => &d.fingerprint_origin,
    };
    let before = without_ours(d, before.clone());
    intrusion::require_meant(&d.blue_name().plain(), &before, &blue, step)?;
    match d.green_side() {
        Side::Origin => d.fingerprint_shadow = blue,
        Side::Shadow => d.fingerprint_origin = blue,
    }
    store::save_fingerprints(d)
}

/// Who calls, before any identity of ours.
pub fn caller() -> u32 {
    security::current_user()
}
