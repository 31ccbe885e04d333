//! The lock of a deployment, and whether its tables are free.

use std::time::Duration;

use pgrx::PgSqlErrorCode;

use crate::catalog;
use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::model::deployment::Deployment;
use crate::model::hold::Hold;
use crate::pg::lock;
use crate::pg::relation;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;
use crate::state::lock as state_lock;
use crate::state::store;

/// How long a verb waits for another that works on the same deployment.
const WAIT: Duration = Duration::from_secs(10);

/// OID of `bluegreen.deployment`, the class of our locks.
pub(crate) fn lock_table() -> Result<u32> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&QualifiedName::new("bluegreen", "deployment"))?
        .ok_or_else(|| Error::internal("bluegreen.deployment does not exist"))
}

/// OID of `bluegreen.capture`, the class of the locks of tables that are being prepared.
pub(crate) fn prepare_class() -> Result<u32> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&QualifiedName::new("bluegreen", "capture"))?
        .ok_or_else(|| Error::internal("bluegreen.capture does not exist"))
}

/// Takes the deployment's lock until the transaction ends, and reads the state again under it.
pub(crate) fn lock(id: i64) -> Result<Deployment> {
    lock_as(id, Hold::Alone)
}

/// Locks the deployment in the given mode and reads its state again.
pub(crate) fn lock_as(id: i64, hold: Hold) -> Result<Deployment> {
    let class = lock_table()?;
    if !state_lock::deployment(class, id, hold, WAIT)? {
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

/// Refuses when a statement or a deferred event of the caller's own transaction still needs the
/// tables. PostgreSQL's own error (55006), with a hint.
pub(crate) fn require_not_in_use(tables: &[u32], call: &str) -> Result<()> {
    let checked = xact::subtransaction(|| {
        // If another session's lock keeps us out, our own transaction does not use the table.
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
