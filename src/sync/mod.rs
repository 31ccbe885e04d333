//! Sync: making blue equal to green for the keys in the log.
//!
//! One round: one registered snapshot. Read the first log rows that it sees, in the order of their
//! events; make blue show green's rows as that snapshot sees them for those keys; delete exactly the
//! log rows that were read. Green's rows are read again, so a repeated round does no harm.
//!
//! A statement over the whole batch is tried first (delete what is gone, upsert the rest). If rows
//! collide (two of them exchange a unique value) all rows of the batch are taken out before they are
//! written, and those that collide with a row outside of the batch are set aside. Any other row that
//! makes the batch fail is found by halves. What is set aside is a misfit: its key stays in the log,
//! marked, and is tried again with each batch that touches it, when the log is drained but for misfits,
//! and before a swap.
//!
//! Invariants: blue's columns that green has no value for are never overwritten (see
//! `plan::provenance`); rows of the log are consumed by one runner at a time, which holds the
//! deployment's lock.
//! Locks: ACCESS SHARE on green, ROW EXCLUSIVE on blue and the log; ACCESS EXCLUSIVE on blue, in
//! short tries, after a TRUNCATE of green.

mod apply;
pub(crate) mod aside;
mod batch;
mod children;
mod history;
mod left_behind;
mod log;
mod misfit;

use std::time::{Duration, Instant};

use crate::catalog;
use crate::ddl;
use crate::ddl::rows::Rows;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::model::deployment::Deployment;
use crate::model::settings::Settings;
use crate::model::zones::{Window, Zone, Zones, zone_blocks};
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::snapshot::{self, Snapshot};
use crate::pg::spi::{self, Arg, Options};
use crate::pg::xact;
use crate::plan::batch::next_size;
use crate::state::change_log;
use crate::state::rejected_rows;
use crate::state::truncation;

/// Log rows of the first batch.
const FIRST_ROWS: i64 = 5_000;
/// Log rows in a batch at least: rows that exchange values had better be in one batch.
const LEAST_ROWS: u32 = 200;
/// Log rows in a batch at most: they are held in memory.
const MOST_ROWS: u32 = 50_000;

/// Log rows in a batch for each block of the log, at least: where the log is not divided into zones, all
/// of it is read for each batch, and where that alone takes a batch's time the clock would let the batches
/// shrink.
const ROWS_PER_LOG_BLOCK: u32 = 4;

/// Blocks from which on a log is long.
const LONG_BLOCKS: i64 = 1024;
/// Blocks from which on a log is too long to be looked through under a lock.
const MUCH_TOO_LONG_BLOCKS: i64 = 16_384;

/// Complete rounds that were not short, one after the other, until that has to do: writers that are
/// as fast as sync are not chased for ever.
const MOST_CHASES: u32 = 20;

/// What a round did.
pub(crate) struct Round {
    /// Log rows consumed.
    pub read: i64,
    /// Rows were written to blue.
    pub wrote: bool,
    /// The log had no more rows for this snapshot.
    pub complete: bool,
    /// Complete, and short: not much can have come in meanwhile.
    pub in_step: bool,
    /// How long it took.
    pub took: Duration,
    /// The newest transaction that ended a version which a snapshot of a standby may lack; 0 for none.
    left_out: u64,
}

/// One round of a size that the clock gave. The caller holds the deployment's lock and commits.
pub(crate) fn step(deployment: &mut Deployment, settings: &Settings) -> Result<Round> {
    let known = deployment.progress.sync_rows;
    let limit = if known > 0 { known } else { FIRST_ROWS };
    let window = deployment.progress.zones.window(limit);
    let scope = Scope { limit, window, again: Misfits::Touched, writes: Writes::AsNow };
    let round = self::round(deployment, settings, scope)?;
    if round.read == limit {
        let size = u32::try_from(limit).unwrap_or(MOST_ROWS);
        let blocks = log::blocks(deployment)?;
        let next = next_size(size, round.took, settings.batch_time).clamp(
            LEAST_ROWS.max(blocks.saturating_mul(ROWS_PER_LOG_BLOCK)).min(MOST_ROWS),
            MOST_ROWS,
        );
        deployment.progress.sync_rows = next.into();
        // Of a transaction that ends while zones are consumed some events would come too early: that
        // matters only for the order of events by which columns of blue's own find their row.
        if window.is_none() && deployment.mapping().side_only.is_empty() {
            look(deployment)?;
        }
    }
    if let Some(window) = window {
        deployment.progress.zones.consumed(window, round.read, round.complete);
        return Ok(Round { complete: false, in_step: false, ..round });
    }
    let short = round.read == 0 || round.took * 4 <= settings.batch_time;
    let chased = &mut deployment.progress.chased;
    *chased = if round.complete && !short { *chased + 1 } else { 0 };
    let caught_up = round.complete && (short || *chased >= MOST_CHASES);
    if !caught_up {
        return Ok(round);
    }
    *chased = 0;
    if !rejected_rows::is_any(deployment.id)? {
        return Ok(Round { in_step: true, ..round });
    }
    // However long that takes: there was hardly anything else left to do.
    let scope = Scope { window: None, again: Misfits::All, ..scope };
    let last = self::round(deployment, settings, scope)?;
    let (read, wrote) = (round.read + last.read, round.wrote || last.wrote);
    Ok(Round { read, wrote, in_step: last.complete, ..last })
}

/// What a round takes, and how it writes it.
#[derive(Debug, Clone, Copy)]
struct Scope {
    /// Log rows at most.
    limit: i64,
    /// Of this part of the log only.
    window: Option<Window>,
    again: Misfits,
    writes: Writes,
}

/// For whom a round writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// For those who see our transaction.
    AsNow,
    /// For all who do not, too; with the OID of `bluegreen.deployment`.
    ForAllSnapshots(u32),
}

/// Which misfits a round tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misfits {
    /// Those whose rows its events touch.
    Touched,
    /// All, if it comes to the end of the log.
    All,
}

/// Looks once where in a long log the events are, so that the batches to come need not read all of it.
fn look(deployment: &mut Deployment) -> Result<()> {
    // Before the size and the look: what is written after this comes later.
    let below = change_log::order_now();
    let blocks = log::blocks(deployment)?;
    if i64::from(blocks) < LONG_BLOCKS {
        return Ok(());
    }
    let _us = Identity::extension()?;
    let sql = ddl::log::zone(&deployment.log());
    let size = zone_blocks(blocks);
    let mut zones = Vec::new();
    for first in (0..blocks).step_by(size as usize) {
        let end = first.saturating_add(size);
        let (from, to) = (format!("({first},0)"), format!("({end},0)"));
        // A statement for each: no snapshot is held for the whole look.
        let args = [Arg::Text(&from), Arg::Text(&to)];
        let zone = spi::with_rows(&sql, &args, Options::default(), |rows, _| {
            Ok(Zone {
                first,
                end,
                low: rows.get(0, 1).unwrap_or_default(),
                high: rows.get(0, 2).unwrap_or_default(),
                count: rows.get(0, 3).unwrap_or_default(),
            })
        })?;
        zones.push(zone);
    }
    deployment.progress.zones = Zones::new(zones, below);
    Ok(())
}

/// Gives a long log back to the system once it is drained: each round reads it whole, dead rows too.
/// Only when nobody is writing at this moment; the few rows that came in last are synced before.
pub(crate) fn shorten_log(deployment: &mut Deployment, settings: &Settings) -> Result<()> {
    let oid = log::oid(deployment)?;
    let blocks = {
        let _us = Identity::extension()?;
        catalog::existing_table(oid)?.blocks
    };
    // A very long one would take too long to look through while writers wait: a vacuum cuts it.
    if !(LONG_BLOCKS..MUCH_TOO_LONG_BLOCKS).contains(&blocks)
        || !lock::relation_at_once(oid, Mode::AccessExclusive)
    {
        return Ok(());
    }
    let scope = Scope {
        limit: MOST_ROWS.into(),
        window: None,
        again: Misfits::Touched,
        writes: Writes::AsNow,
    };
    let rest = round(deployment, settings, scope)?;
    let _us = Identity::extension()?;
    let log = deployment.log();
    if rest.complete && spi::one::<bool>(&ddl::log::is_empty(&log), &[])? == Some(true) {
        spi::run(&ddl::log::truncate(&log), &[])?;
        deployment.progress.zones = Zones::default();
    }
    Ok(())
}

/// Everything that is in the log now, whatever it takes.
pub(crate) fn drain(deployment: &mut Deployment, settings: &Settings) -> Result<()> {
    drain_as(deployment, settings, Writes::AsNow).map(drop)
}

/// The same under the swap's lock, after a count. What it brings is seen by older snapshots as it was in
/// green ([`history`]), unless the settings say that nobody minds; `class` is the OID of
/// `bluegreen.deployment`.
pub(crate) fn last_drain(
    deployment: &mut Deployment,
    settings: &Settings,
    class: u32,
) -> Result<()> {
    if !settings.wait_for_snapshots {
        return drain(deployment, settings);
    }
    let left_out = drain_as(deployment, settings, Writes::ForAllSnapshots(class))?;
    // Snapshots of standbys are not waited for. The record goes out with our commit.
    snapshot::end_older_on_standbys(left_out);
    Ok(())
}

fn drain_as(deployment: &mut Deployment, settings: &Settings, writes: Writes) -> Result<u64> {
    let scope = Scope { limit: MOST_ROWS.into(), window: None, again: Misfits::All, writes };
    let mut left_out = 0;
    loop {
        let round = round(deployment, settings, scope)?;
        left_out = round.left_out.max(left_out);
        if round.complete {
            return Ok(left_out);
        }
    }
}

/// The same as [`backlog`], for those who must not wait: None while somebody has the log locked.
pub(crate) fn backlog_at_once(deployment: &Deployment, limit: i64) -> Result<Option<i64>> {
    if !lock::relation_at_once(log::oid(deployment)?, Mode::AccessShare) {
        return Ok(None);
    }
    backlog(deployment, limit).map(Some)
}

/// How many log rows there are, counted up to `limit`.
pub(crate) fn backlog(deployment: &Deployment, limit: i64) -> Result<i64> {
    let _us = Identity::extension()?;
    let sql = ddl::log::count(&deployment.log());
    Ok(spi::one::<i64>(&sql, &[Arg::Int(limit)])?.unwrap_or(0))
}

fn round(deployment: &mut Deployment, settings: &Settings, scope: Scope) -> Result<Round> {
    let began = Instant::now();
    lock::relation(deployment.green(), Mode::AccessShare);
    let snapshot = Snapshot::now();
    follow_truncate(deployment, settings, &snapshot)?;
    let mut scope = scope;
    let done = loop {
        match xact::subtransaction(|| attempt(deployment, &snapshot, scope)) {
            Ok(done) => break done,
            Err(caught) if caught.error.message == CUT && scope.window.is_some() => {
                // What it belongs together with is behind the window.
                scope.window = None;
                deployment.progress.zones = Zones::default();
            }
            Err(caught) if caught.error.message == CUT => {
                scope.limit = (scope.limit * 4).min(MOST_ROWS.into());
                deployment.progress.sync_rows = scope.limit;
            }
            Err(caught) => return caught.raise(),
        }
    };
    drop(snapshot);
    let took = began.elapsed();
    let progress = &mut deployment.progress;
    let Attempt { read, wrote, left_out } = done;
    progress.synced += read;
    if read > 0 || wrote {
        progress.drain_xid = xact::current_xid();
    }
    if read >= 500 {
        let rate = read as f64 / (took.as_secs_f64() * 1000.0).max(0.001);
        progress.sync_rate =
            if progress.sync_rate > 0.0 { (progress.sync_rate + rate) / 2.0 } else { rate };
    }
    Ok(Round { read, wrote, complete: read < scope.limit, in_step: false, took, left_out })
}

/// The error by which a batch that was cut in an unfortunate place is rolled back.
const CUT: &str = "the batch parts rows that exchange values";

/// What one try did.
struct Attempt {
    /// Log rows consumed.
    read: i64,
    /// Rows were written to blue.
    wrote: bool,
    /// As in [`Round`].
    left_out: u64,
}

fn attempt(deployment: &Deployment, snapshot: &Snapshot, scope: Scope) -> Result<Attempt> {
    let Scope { limit, window, again, writes } = scope;
    let all = again == Misfits::All;
    batch::with_events(deployment, snapshot, limit, window, all, |batch| {
        if batch.items.is_empty() && batch.events == 0 {
            return Ok(Attempt { read: 0, wrote: false, left_out: 0 });
        }
        let blue = deployment.blue_name();
        let rows = Rows { mapping: deployment.mapping(), from: &deployment.source, to: &blue };
        let batch = history::with_rows_there(deployment, &rows, snapshot, batch)?;
        let suspects = batch.misfits.iter().map(|marked| marked.key).collect();
        let how = match writes {
            Writes::AsNow => apply::Writes::Updates,
            Writes::ForAllSnapshots(_) => apply::Writes::NewRows,
        };
        let failed = apply::apply(deployment, &rows, snapshot, &batch.items, &suspects, how)?;
        failpoint::reach("sync_applied");
        // The other half of an exchange may be in the log behind the batch.
        let cut = window.is_some() || (batch.events == limit && limit < MOST_ROWS.into());
        if cut && failed.iter().any(apply::Failed::is_collision) {
            return Err(Error::internal(CUT));
        }
        let wrote = failed.len() < batch.items.len();
        let history = match writes {
            Writes::AsNow => None,
            Writes::ForAllSnapshots(class) => {
                Some(history::keep(deployment, &rows, &batch, &failed, class)?)
            }
        };
        misfit::record(deployment, &rows, &batch, failed)?;
        batch::consume(deployment, &batch)?;
        failpoint::reach("sync_consumed");
        if let Some(history) = &history {
            history.stamp();
        }
        let left_out = history.map_or(0, |history| history.left_out);
        Ok(Attempt { read: batch.events, wrote, left_out })
    })
}

/// Empties blue when green was truncated: every row of green is younger, and in the log.
fn follow_truncate(
    deployment: &mut Deployment,
    settings: &Settings,
    snapshot: &Snapshot,
) -> Result<()> {
    if truncation::take(deployment.id, Some(snapshot))? == 0 {
        return Ok(());
    }
    // As the owner: TRUNCATE fires triggers that the owner may have put on blue.
    let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
    let (blue, name) = (deployment.blue(), deployment.blue_name());
    let until = Instant::now() + settings.retry_for;
    lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(blue, Mode::AccessExclusive)], limit)?;
        spi::run(&ddl::table::truncate(&name), &[])
    })
    .or_else(xact::Caught::raise)?;
    deployment.progress.drain_xid = xact::current_xid();
    Ok(())
}
