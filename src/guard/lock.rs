//! The lock of a deployment, and whether its tables are free.

use std::time::Duration;

use pgrx::PgSqlErrorCode;

use crate::catalog;
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::model::hold::Hold;
use crate::oid::RelationId;
use crate::pg::lock;
use crate::pg::relation;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact::{self, SubtransactionError};
use crate::state::lock as state_lock;
use crate::state::store::{self, LockedDeployment};

/// How long a verb waits for another that works on the same deployment.
const WAIT: Duration = Duration::from_secs(10);
/// How long it waits before it says so.
const SILENT: Duration = Duration::from_secs(1);

/// `bluegreen.deployment`, the class of our locks.
pub(crate) fn lock_table() -> Result<RelationId> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&QualifiedName::new("bluegreen", "deployment"))?
        .ok_or_else(|| Error::internal("bluegreen.deployment does not exist"))
}

/// `bluegreen.capture`, the class of the locks of tables that are being prepared.
pub(crate) fn prepare_class() -> Result<RelationId> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&QualifiedName::new("bluegreen", "capture"))?
        .ok_or_else(|| Error::internal("bluegreen.capture does not exist"))
}

/// Takes the deployment's lock until the transaction ends, and reads the state again under it.
pub(crate) fn lock(id: i64) -> Result<LockedDeployment> {
    lock_as(id, Hold::Alone)
}

/// Locks the deployment in the given mode and reads its state again.
pub(crate) fn lock_as(id: i64, hold: Hold) -> Result<LockedDeployment> {
    let class = lock_table()?;
    if let Some(locked) = store::lock(class, id, hold, SILENT)? {
        return Ok(locked);
    }
    tell_of_holders(class, id)?;
    match store::lock(class, id, hold, WAIT.saturating_sub(SILENT))? {
        Some(locked) => Ok(locked),
        None => Err(taken(class, id)?),
    }
}

/// Runs `work`, which writes to a deployment or locks its tables without its lock, and waits as long as for the lock
/// for others who have done so and not ended.
pub(crate) fn beside_others(id: i64, work: impl Fn() -> Result<()>) -> Result<()> {
    let class = lock_table()?;
    let within = |limit| {
        xact::subtransaction(|| {
            let _limited = lock::limited(lock::timeout().map_or(limit, |own| own.min(limit)))?;
            work()
        })
    };
    match within(SILENT) {
        Err(caught) if caught.is_lock_failure() => tell_of_holders(class, id)?,
        done => return done.or_else(SubtransactionError::raise),
    }
    match within(WAIT.saturating_sub(SILENT)) {
        Err(caught) if caught.is_lock_failure() && is_taken(class, id)? => Err(taken(class, id)?),
        done => done.or_else(SubtransactionError::raise),
    }
}

/// Whether anybody works on the deployment.
fn is_taken(class: RelationId, id: i64) -> Result<bool> {
    state_lock::holders(class, id).map(|who| !who.is_empty())
}

fn tell_of_holders(class: RelationId, id: i64) -> Result<()> {
    let (table, who) = (store::load(id)?.source.plain(), state_lock::holders(class, id)?);
    if who.is_empty() {
        xact::tell(&format!("waiting for the locks on {table} and its offline table"));
    } else {
        xact::tell(&format!(
            "waiting for another session that works on the deployment of {table}{who}"
        ));
    }
    Ok(())
}

/// The error where others have the lock: who they are.
fn taken(class: RelationId, id: i64) -> Result<Error> {
    let (table, who) = (store::load(id)?.source.plain(), state_lock::holders(class, id)?);
    Ok(Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("another session is working on the deployment of {table}{who}"),
    )
    .hint("Wait until its batch or transaction ends, or COMMIT PREPARED or ROLLBACK PREPARED it, then call again."))
}

/// The name of the prepared transaction that has the deployment's lock: it has swapped or changed it, and is
/// not ended yet.
pub(crate) fn prepared_holder(id: i64) -> Result<Option<String>> {
    let class = lock_table()?;
    let _us = Identity::extension()?;
    let sql = include_str!("queries/prepared_holder.sql");
    spi::one(sql, &[Arg::oid(class), Arg::Int(id)])
}

/// Refuses when a statement or a deferred event of the caller's own transaction still needs the
/// tables. PostgreSQL's own error (55006), with a hint.
pub(crate) fn require_not_in_use(tables: &[RelationId], call: &str) -> Result<()> {
    let checked = xact::subtransaction(|| {
        // If another session's lock keeps us out, our own transaction does not use the table.
        let _limited = lock::limited(Duration::from_millis(100))?;
        tables.iter().try_for_each(|table| relation::check_not_in_use(*table, call))
    });
    if checked.as_ref().is_err_and(SubtransactionError::is_lock_failure) {
        return Ok(());
    }
    checked.map_err(|caught| match caught.error.hint {
        None if caught.error.code == PgSqlErrorCode::ERRCODE_OBJECT_IN_USE => caught.error.hint(
            "Call it in a statement of its own; close cursors on the table, SET CONSTRAINTS ALL IMMEDIATE, or COMMIT first.",
        ),
        _ => caught.error,
    })
}
