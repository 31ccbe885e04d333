//! Deleting from blue every key that the log holds.

use std::time::Instant;

use crate::backfill::copy;
use crate::catalog;
use crate::ddl::log;
use crate::ddl::rows::{self, Rows};
use crate::error::Result;
use crate::failpoint;
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::oid::BlockNumber;
use crate::pg::executor;
use crate::pg::lookup::Planned;
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::transient_relation::Work;
use crate::pg::xact;
use crate::plan::batch;
use crate::state::key_rows;
use crate::state::truncation;

/// Blocks of blue in the first range; then their number follows the clock.
const FIRST_BLOCKS: BlockNumber = 4096;
/// Blocks of blue in a range for each block of the log, at least: the keys are read again for each range,
/// and where they alone take a batch's time the clock would let the ranges shrink.
const BLOCKS_PER_LOG_BLOCK: u32 = 16;

/// Purges all of blue once more.
pub(crate) fn whole(member: &mut Member, settings: &Settings) -> Result<()> {
    member.progress.purge_next = 0;
    while !step(member, settings)? {}
    Ok(())
}

/// Purges the next range of blue's blocks; true when it was the last.
pub(crate) fn step(member: &mut Member, settings: &Settings) -> Result<bool> {
    let began = Instant::now();
    let (blocks, log_blocks, truncated) = {
        let _us = Identity::extension()?;
        let log = catalog::relation_oid(&member.log())?;
        let log_blocks = match log {
            Some(oid) => catalog::blocks(oid)?,
            None => 0,
        };
        let truncated = truncation::take(member.id, None)?;
        (catalog::blocks(member.blue())?, log_blocks, truncated)
    };
    if truncated > 0 {
        // Every row that green has is younger than the TRUNCATE, and in the log.
        copy::empty_blue(member, settings)?;
        member.progress.purged = true;
        member.progress.purge_seconds += began.elapsed().as_secs_f64();
        return Ok(true);
    }
    let from = member.progress.purge_next;
    let least = u32::try_from(log_blocks).unwrap_or(u32::MAX).saturating_mul(BLOCKS_PER_LOG_BLOCK);
    let range = match member.progress.purge_blocks {
        0 => FIRST_BLOCKS,
        blocks => blocks,
    }
    .max(least);
    let to = from.saturating_add(range);
    let to_name = member.blue_name();
    let statements = Rows { mapping: member.mapping(), from: &member.source, to: &to_name };
    let snapshot = Snapshot::now();
    let mapping = member.mapping();
    let logged = {
        let _us = Identity::extension()?;
        let sql = log::keys(&member.log(), mapping.from_key.columns.len());
        key_rows::read_keys(rows::WORK, &mapping.from_key, rows::batch_key, &sql, &snapshot)?
    };
    let mut count = 0;
    if !logged.is_empty() {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let mut keys =
            Work::new(rows::KEYS, &key_rows::key_columns(&mapping.to_key, rows::mapped_name))?;
        // A key whose expression fails cannot be in blue: it is left out.
        key_rows::fill_what_can_be(&mut keys, &statements.map_keys(), &logged)?;
        let _planned = Planned::by_hash(member.blue())?;
        let sql = statements.purge(from, to);
        count = executor::delete(&sql, member.blue(), &keys)?
            .ok_or_else(|| super::rewritten(&to_name))?;
        failpoint::reach("purge_range");
    }
    drop(snapshot);
    let done = logged.is_empty() || i64::from(to) >= blocks;
    let (progress, took) = (&mut member.progress, began.elapsed());
    progress.purge_next = to;
    progress.purge_blocks = batch::next_size(range, took, settings.batch_time);
    progress.rows_purged += i64::try_from(count).unwrap_or(i64::MAX);
    progress.purge_seconds += took.as_secs_f64();
    progress.purged = done;
    progress.drain_xid = xact::current_xid();
    Ok(done)
}
