//! Whoever holds ACCESS EXCLUSIVE on a table keeps out also those who only look at its definition. A call that has
//! to look waits for no longer than `bluegreen.retry_for` says, or lock_timeout where that is shorter, and names who
//! stands in the way.

use std::time::Duration;

use crate::blueprint::build::Request;
use crate::catalog;
use crate::error::Result;
use crate::guard::access;
use crate::guard::lock as guard_lock;
use crate::model::settings::Settings;
use crate::oid::RelationId;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::xact::{self, SubtransactionError};
use crate::state::store;
use crate::swap;

/// Waits until the tables can be read, and gives the locks back: who waits for a stronger one with this in hand
/// may make the server cancel an application. `name` is what messages call the first one.
///
/// # Errors
/// 55P03 with the holders.
pub(crate) fn wait(tables: &[RelationId], name: &str, retry_for: Duration) -> Result<()> {
    named(tables, name, xact::trial(|| take(tables, retry_for)))
}

fn take(tables: &[RelationId], retry_for: Duration) -> Result<()> {
    let limit = lock::timeout().map_or(retry_for, |timeout| timeout.min(retry_for));
    let _limited = lock::limited(limit)?;
    lock::relations(tables.iter().copied(), Mode::AccessShare);
    Ok(())
}

fn named(
    tables: &[RelationId],
    name: &str,
    tried: std::result::Result<(), SubtransactionError>,
) -> Result<()> {
    match tried {
        Err(caught) if caught.is_lock_failure() => {
            Err(swap::lock_error(name, 0, tables, &caught.error)?)
        }
        Err(caught) => caught.raise(),
        Ok(()) => Ok(()),
    }
}

/// The same for the table of a call of bg_check or bg_prepare, and its target; keeps the locks, which the call takes
/// anyway: somebody else may be queued.
///
/// `prepares`: an open deployment is gone on with, and whoever works on it is told of first.
///
/// # Errors
/// Also 42501 for a caller who may not deploy it: he may not wait for it either.
pub(crate) fn wait_for_request(
    request: &Request,
    settings: &Settings,
    prepares: bool,
) -> Result<()> {
    let found = {
        let _us = Identity::extension()?;
        catalog::table(request.source)?
    };
    let Some(table) = found else { return Ok(()) };
    let name = table.qualified().plain();
    access::require_owner(request.caller, table.owner, &name)?;
    match store::find(request.source)?.filter(|member| member.phase.is_open()) {
        Some(open) if prepares => drop(guard_lock::lock(open.id)?),
        // bg_check says no more than that.
        Some(_) => return Ok(()),
        None => {}
    }
    let tables: Vec<_> = [Some(request.source), request.target].into_iter().flatten().collect();
    named(&tables, &name, xact::subtransaction(|| take(&tables, settings.retry_for)))
}
