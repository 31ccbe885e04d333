//! The changes that a copy need not know of, and a copy that is better begun anew.
//!
//! A batch of the copy sees what was committed before it. So whatever the log holds when a copy begins is
//! forgotten: the rows will be copied as they are then. What is written by a transaction that is not over
//! yet is not seen, and stays.

use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::catalog;
use crate::ddl::log;
use crate::error::Result;
use crate::heap::receive;
use crate::model::member::Member;
use crate::oid::RelationId;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;
use crate::plan::anew;
use crate::plan::distinct::Distinct;
use crate::state::truncation;

/// Blocks from which on a log is cut rather than emptied row by row.
const LONG_BLOCKS: i64 = 1024;
/// How often that is tried, as long as writers have the log; nobody waits for the tries.
const TRIES: u32 = 200;
/// Between two of them.
const REST: Duration = Duration::from_millis(5);

/// Forgets what was logged before a copy begins. The caller has green locked against TRUNCATE, no row of
/// it was copied yet, and `soon` says that the caller commits at once.
pub(crate) fn forget_changes(member: &Member, soon: bool) -> Result<()> {
    let _us = Identity::extension()?;
    let name = member.log();
    let Some(oid) = catalog::relation_oid(&name)? else { return Ok(()) };
    truncation::take(member.id, None)?;
    let long = catalog::blocks(oid)? >= LONG_BLOCKS;
    if long && soon && is_free(oid) {
        spi::run(&log::truncate(&name), &[])?;
    } else {
        spi::run(&log::delete(&name), &[])?;
    }
    Ok(())
}

/// Locks the log in a moment in which nobody writes to it: then every change in it is committed.
fn is_free(log: RelationId) -> bool {
    (0..TRIES).any(|_| {
        let had = lock::relation_at_once(log, Mode::AccessExclusive);
        if !had {
            xact::sleep(REST);
        }
        had
    })
}

/// About how many rows changed while the table was copied, where they are so many that little of the copy
/// would be left.
pub(crate) fn many_changed(member: &Member) -> Result<Option<i64>> {
    let name = member.log();
    let many = anew::many(member.progress.rows_copied);
    let _us = Identity::extension()?;
    let rows = spi::one::<i64>(&log::count(&name), &[Arg::Int(many)])?.unwrap_or(0);
    if rows < many {
        return Ok(None);
    }
    // One row may have changed many times.
    let columns = member.mapping().from_key.columns.len();
    let mut keys = Distinct::default();
    let mut image = Vec::new();
    receive::each(&log::keys(&name, columns), columns, &Snapshot::now(), |key| {
        image.clear();
        key.image(&mut image);
        keys.add(XxHash3_64::oneshot(&image));
    })?;
    Ok(Some(keys.count()).filter(|count| *count >= many))
}
