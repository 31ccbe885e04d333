//! The lock of a deployment: an object lock of the class `bluegreen.deployment`.

use std::time::Duration;

use crate::error::Result;
use crate::model::hold::Hold;
use crate::oid::RelationId;
use crate::pg::lock::{self, ObjectMode};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;

/// What an object lock of the class is for, beside 1, by which a swap announces that it waits
/// ([`crate::pg::snapshot::announce`]).
const WORK: u16 = 0;

/// Takes the deployment's lock until the end of the transaction, waiting at most `wait`; with number 0 that of
/// the blue schemas. `class` is `bluegreen.deployment`. It queues, so that it comes after the batch
/// of a run that is under way.
pub(crate) fn deployment(class: RelationId, id: i64, hold: Hold, wait: Duration) -> Result<bool> {
    let locked = xact::subtransaction(|| {
        let _limited = lock::limited(wait)?;
        let mode = match hold {
            Hold::Alone => ObjectMode::Exclusive,
            Hold::Shared => ObjectMode::Share,
        };
        lock::object(&lock::tag(class, id as u32, WORK), mode);
        Ok(())
    });
    match locked {
        Ok(()) => Ok(true),
        Err(caught) if caught.is_lock_failure() => Ok(false),
        Err(caught) => caught.raise(),
    }
}

/// Who has a lock that [`deployment`] takes, in brackets: sessions by their pid, prepared transactions by their name.
pub(crate) fn holders(class: RelationId, id: i64) -> Result<String> {
    let _us = Identity::extension()?;
    let sql = include_str!("queries/holders.sql");
    let holders: Option<String> = spi::one(sql, &[Arg::oid(class), Arg::Int(id)])?;
    Ok(holders.map_or(String::new(), |who| format!(" ({who})")))
}
