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
//! `plan::event_fold`); rows of the log are consumed by one runner at a time, which holds the
//! deployment's lock.
//! Locks: ACCESS SHARE on green, ROW EXCLUSIVE on blue and the log; ACCESS EXCLUSIVE on blue, in short tries,
//! after a TRUNCATE of green, and if nobody is there in a round that keeps history; on a long log, if nobody is
//! there, when it is given back.

mod apply;
pub(crate) mod aside;
mod batch;
mod children;
mod history;
mod left_behind;
mod log;
mod misfit;
mod tables;

use std::time::{Duration, Instant};

use crate::catalog;
use crate::ddl;
use crate::ddl::rows::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::model::zones::{LogBlockRange, ScanWindow, Zones, zone_blocks};
use crate::oid::RelationId;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::snapshot::{self, Snapshot};
use crate::pg::spi::{self, Arg, Options};
use crate::pg::xact;
use crate::plan::batch::next_size;
use crate::state::change_log;
use crate::state::rejected_rows;
use crate::state::truncation;
use crate::sync::tables::Tables;

/// Log rows of the first batch.
const FIRST_ROWS: i64 = 5_000;
/// Log rows in a batch at least: rows that exchange values had better be in one batch.
const MIN_ROWS: u32 = 200;
/// Log rows in a batch at most: they are held in memory.
const MAX_ROWS: u32 = 50_000;

/// Log rows in a batch for each block of the log, at least: where the log is not divided into zones, all
/// of it is read for each batch, and where that alone takes a batch's time the clock would let the batches
/// shrink.
const ROWS_PER_LOG_BLOCK: u32 = 4;

/// Log rows of the largest batch by which an ordinary round keeps history. It costs about half as much again
/// as the batch itself, and an index entry more for each row: too much for a backlog.
const MAX_ROWS_WITH_HISTORY: i64 = 2000;
/// The same where a swap is tried next, which would wait for every snapshot older than a round without history:
/// among readers that overlap it would never be made.
const MAX_ROWS_BEFORE_SWAP: i64 = 20_000;

/// How long a round that keeps history may take before a swap: blue is locked meanwhile.
const LONG_ROUND: Duration = Duration::from_secs(1);

/// Rounds that do not try to keep history after one that could not, or took long.
const PLAIN_ROUNDS: u32 = 20;
/// How long a round that keeps history waits for a lock while it has blue locked.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Longer than most statements of applications.
const A_STATEMENT: Duration = Duration::from_millis(2);

/// Blocks from which on a log is long.
const LONG_BLOCKS: i64 = 1024;

/// Complete rounds that were not short, one after the other, until that has to do: writers that are
/// as fast as sync are not chased for ever.
const MAX_CHASES: u32 = 20;

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
    /// History was kept.
    kept: bool,
    /// The newest transaction that ended a version which a snapshot of a standby may lack; 0 for none.
    left_out: u64,
}

/// Which rounds keep history, so that a swap need not wait for who has an older snapshot. The caller commits
/// at once after one that does. With `bluegreen.deployment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepHistory {
    /// None.
    Never,
    /// Short ones.
    OfShort(RelationId),
    /// All but those of a long backlog: a swap is tried next.
    OfMost(RelationId),
}

/// One round of a size that the clock gave. The caller holds the deployment's lock and commits.
pub(crate) fn step(member: &mut Member, settings: &Settings, keep: KeepHistory) -> Result<Round> {
    let known = member.progress.sync_rows;
    let mut limit = if known > 0 { known } else { FIRST_ROWS };
    let writes = how_to_write(member, settings, keep);
    if let Writes::KeepIfEasy { most, .. } = writes {
        limit = limit.max(most.min(rows_of_a_long_round(member)));
    }
    let window = member.progress.zones.window(limit);
    let scope = Scope { limit, window, again: Misfits::Touched, writes };
    let round = self::round(member, settings, scope)?;
    if round.read == limit {
        let size = u32::try_from(limit).unwrap_or(MAX_ROWS);
        let blocks = log::blocks(member)?;
        let next = next_size(size, round.took, settings.batch_time)
            .clamp(MIN_ROWS.max(blocks.saturating_mul(ROWS_PER_LOG_BLOCK)).min(MAX_ROWS), MAX_ROWS);
        member.progress.sync_rows = next.into();
        // Of a transaction that ends while zones are consumed some events would come too early: that
        // matters only for the order of events by which columns of blue's own find their row.
        if window.is_none() && member.mapping().side_only.is_empty() {
            look(member)?;
        }
    }
    if let Some(window) = window {
        member.progress.zones.consumed(window, round.read, round.complete);
        return Ok(Round { complete: false, in_step: false, ..round });
    }
    let short = round.read == 0 || round.took * 4 <= settings.batch_time;
    if round.kept && !short {
        // Writers are fast: catch up with them first.
        member.progress.plain_rounds = PLAIN_ROUNDS;
    }
    let chased = &mut member.progress.chased;
    *chased = if round.complete && !short { *chased + 1 } else { 0 };
    let caught_up = round.complete && (short || *chased >= MAX_CHASES);
    if !caught_up {
        return Ok(round);
    }
    *chased = 0;
    if short && member.progress.plain_rounds < PLAIN_ROUNDS {
        // Caught up without a try that failed: the next sync may keep history again.
        member.progress.plain_rounds = 0;
    }
    if !rejected_rows::is_any(member.id)? {
        return Ok(Round { in_step: true, ..round });
    }
    // However long that takes: there was hardly anything else left to do. So blue must not be locked for it.
    let scope = Scope { window: None, again: Misfits::All, writes: Writes::AsNow, ..scope };
    let last = self::round(member, settings, scope)?;
    let (read, wrote) = (round.read + last.read, round.wrote || last.wrote);
    Ok(Round { read, wrote, in_step: last.complete, ..last })
}

/// Whether the next round keeps history: a swap then need not wait for who has a snapshot that is older than it.
/// What another round of this transaction has written plainly is waited for in any case.
fn how_to_write(member: &mut Member, settings: &Settings, keep: KeepHistory) -> Writes {
    let progress = &mut member.progress;
    let is_tried = progress.plain_rounds == 0;
    progress.plain_rounds = progress.plain_rounds.saturating_sub(1);
    let keeps = settings.wait_for_snapshots && progress.drain_xid != xact::current_xid();
    match keep {
        KeepHistory::OfShort(class) if keeps && is_tried && is_worth_it(class) => {
            Writes::KeepIfEasy { class, most: MAX_ROWS_WITH_HISTORY }
        }
        KeepHistory::OfMost(class) if keeps && is_worth_it(class) => {
            Writes::KeepIfEasy { class, most: MAX_ROWS_BEFORE_SWAP }
        }
        _ => Writes::AsNow,
    }
}

/// Log rows that a round brings in within [`LONG_ROUND`], as far as is known.
fn rows_of_a_long_round(member: &Member) -> i64 {
    (member.progress.sync_rate * LONG_ROUND.as_secs_f64() * 1000.0) as i64
}

/// What a round takes, and how it writes it.
#[derive(Debug, Clone, Copy)]
struct Scope {
    /// Log rows at most.
    limit: i64,
    /// Of this part of the log only.
    window: Option<ScanWindow>,
    again: Misfits,
    writes: Writes,
}

/// For whom a round writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// For those who see our transaction.
    AsNow,
    /// For all who do not, too ([`history`]), where the batch has fewer than so many rows, it is the end of the
    /// log, and nothing stands in the way; with `bluegreen.deployment`.
    KeepIfEasy { class: RelationId, most: i64 },
    /// For all who do not, too.
    Keep(history::Means),
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
fn look(member: &mut Member) -> Result<()> {
    // Before the size and the look: what is written after this comes later.
    let below = change_log::order_now();
    let blocks = log::blocks(member)?;
    if i64::from(blocks) < LONG_BLOCKS {
        return Ok(());
    }
    let _us = Identity::extension()?;
    let sql = ddl::log::zone(&member.log());
    let size = zone_blocks(blocks);
    let mut zones = Vec::new();
    for first in (0..blocks).step_by(size as usize) {
        let end = first.saturating_add(size);
        let (from, to) = (format!("({first},0)"), format!("({end},0)"));
        // A statement for each: no snapshot is held for the whole look.
        let args = [Arg::Text(&from), Arg::Text(&to)];
        let zone = spi::with_rows(&sql, &args, Options::default(), |rows, _| {
            Ok(LogBlockRange {
                first,
                end,
                low: rows.get(0, 1).unwrap_or_default(),
                high: rows.get(0, 2).unwrap_or_default(),
                count: rows.get(0, 3).unwrap_or_default(),
            })
        })?;
        zones.push(zone);
    }
    member.progress.zones = Zones::new(zones, below);
    Ok(())
}

/// Gives a long log back to the system once it is drained: each round reads it whole, dead rows too.
/// Only when nobody is writing at this moment; the few rows that came in last are synced before. The caller
/// commits at once: nobody can write until then. `took` is the time of the round before, which has read all of it.
pub(crate) fn shorten_log(member: &mut Member, settings: &Settings, took: Duration) -> Result<()> {
    let oid = log::oid(member)?;
    // It is read twice while writers wait. A vacuum sees to one that is too long for that.
    if !is_log_long(member)?
        || took * 2 > settings.max_final_drain
        || !lock::relation_at_once(oid, Mode::AccessExclusive)
    {
        return Ok(());
    }
    let scope = Scope {
        limit: MAX_ROWS.into(),
        window: None,
        again: Misfits::Touched,
        writes: Writes::AsNow,
    };
    let rest = round(member, settings, scope)?;
    let _us = Identity::extension()?;
    let log = member.log();
    if rest.complete && spi::one::<bool>(&ddl::log::is_empty(&log), &[])? == Some(true) {
        spi::run(&ddl::log::truncate(&log), &[])?;
        member.progress.zones = Zones::default();
    }
    Ok(())
}

/// Whether the log has so many blocks that their dead rows may count.
pub(crate) fn is_log_long(member: &Member) -> Result<bool> {
    let oid = log::oid(member)?;
    let _us = Identity::extension()?;
    Ok(catalog::blocks(oid)? >= LONG_BLOCKS)
}

/// Everything that is in the log now, whatever it takes.
pub(crate) fn drain(member: &mut Member, settings: &Settings) -> Result<()> {
    drain_as(member, settings, Writes::AsNow).map(drop)
}

/// The same under the swap's lock, after a count. What it brings is seen by older snapshots as it was in
/// green ([`history`]), unless the settings say that nobody minds; `class` is `bluegreen.deployment`.
pub(crate) fn last_drain(
    member: &mut Member,
    settings: &Settings,
    class: RelationId,
) -> Result<()> {
    if !settings.wait_for_snapshots {
        return drain(member, settings);
    }
    let keep = Writes::Keep(history::Means { class, last: true });
    let left_out = drain_as(member, settings, keep)?;
    // Snapshots of standbys are not waited for. The record goes out with our commit.
    snapshot::end_older_on_standbys(left_out);
    Ok(())
}

fn drain_as(member: &mut Member, settings: &Settings, writes: Writes) -> Result<u64> {
    let scope = Scope { limit: MAX_ROWS.into(), window: None, again: Misfits::All, writes };
    let mut left_out = 0;
    loop {
        let round = round(member, settings, scope)?;
        left_out = round.left_out.max(left_out);
        if round.complete {
            return Ok(left_out);
        }
    }
}

/// The same as [`backlog`], for those who must not wait: None while somebody has the log locked.
pub(crate) fn backlog_at_once(member: &Member, limit: i64) -> Result<Option<i64>> {
    if !lock::relation_at_once(log::oid(member)?, Mode::AccessShare) {
        return Ok(None);
    }
    backlog(member, limit).map(Some)
}

/// How many log rows there are, counted up to `limit`.
pub(crate) fn backlog(member: &Member, limit: i64) -> Result<i64> {
    let _us = Identity::extension()?;
    let sql = ddl::log::count(&member.log());
    Ok(spi::one::<i64>(&sql, &[Arg::Int(limit)])?.unwrap_or(0))
}

/// How many log rows there are: counted up to `limit`, beyond it estimated on so many of the log's pages. For those
/// who must not wait, as [`backlog_at_once`].
pub(crate) fn backlog_estimate(member: &Member, limit: i64, pages: usize) -> Result<Option<i64>> {
    let counted = backlog_at_once(member, limit)?;
    if counted.is_none_or(|rows| rows < limit) {
        return Ok(counted);
    }
    let percent = (100.0 * pages as f64 / f64::from(log::blocks(member)?.max(1))).min(100.0);
    let _us = Identity::extension()?;
    let sql = ddl::log::sample(&member.log());
    let sampled = spi::one::<i64>(&sql, &[Arg::Float(percent)])?.unwrap_or(0);
    let estimate = (sampled as f64 * 100.0 / percent / 1000.0).round() as i64 * 1000;
    Ok(counted.map(|rows| rows.max(estimate)))
}

/// Whether a misfit is as it was at the last sync: none of the waiting changes is of its row.
pub(crate) fn has_untouched_misfit(member: &Member) -> Result<bool> {
    let _us = Identity::extension()?;
    let columns = member.mapping().from_key.columns.len();
    let sql = ddl::log::has_untouched_misfit(&member.log(), columns);
    Ok(spi::one::<bool>(&sql, &[])?.unwrap_or(false))
}

fn round(member: &mut Member, settings: &Settings, scope: Scope) -> Result<Round> {
    let began = Instant::now();
    lock::relations(member.green_relations(), Mode::AccessShare);
    let snapshot = Snapshot::now();
    follow_truncate(member, settings, &snapshot)?;
    let mut scope = scope;
    let done = loop {
        match xact::subtransaction(|| attempt(member, &snapshot, scope)) {
            Ok(done) => break done,
            Err(caught) if caught.error.kind == ErrorKind::Cut && scope.window.is_some() => {
                // What it belongs together with is behind the window.
                scope.window = None;
                member.progress.zones = Zones::default();
            }
            Err(caught) if caught.error.kind == ErrorKind::Cut => {
                scope.limit = (scope.limit * 4).min(MAX_ROWS.into());
                member.progress.sync_rows = scope.limit;
            }
            Err(caught)
                if matches!(scope.writes, Writes::KeepIfEasy { .. }) && is_not_kept(&caught) =>
            {
                scope.writes = Writes::AsNow;
                member.progress.plain_rounds = PLAIN_ROUNDS;
            }
            Err(caught) => return caught.raise(),
        }
    };
    drop(snapshot);
    let took = began.elapsed();
    let progress = &mut member.progress;
    let Attempt { read, wrote, kept, left_out } = done;
    progress.synced += read;
    if kept {
        // Every snapshot of this server sees these; one of a standby may not.
        progress.drain_xid = progress.drain_xid.max(left_out);
    } else if read > 0 || wrote {
        progress.drain_xid = xact::current_xid();
    }
    if read >= 500 {
        let rate = read as f64 / (took.as_secs_f64() * 1000.0).max(0.001);
        progress.sync_rate =
            if progress.sync_rate > 0.0 { (progress.sync_rate + rate) / 2.0 } else { rate };
    }
    let complete = read < scope.limit;
    Ok(Round { read, wrote, complete, in_step: false, took, kept, left_out })
}

/// Whether anybody has a snapshot now, and keeps it for longer than a statement takes. Without, a swap will not
/// have to wait because of this round; and rows that are updated in place leave less behind in blue.
fn is_worth_it(class: RelationId) -> bool {
    let look = || xact::with_memory(|| snapshot::holders_older_than(class, xact::current_xid()));
    let there = look();
    if there.is_empty() {
        return false;
    }
    xact::sleep(A_STATEMENT);
    look().iter().any(|holder| there.contains(holder))
}

/// An error because of which a batch is written without history.
fn is_not_kept(caught: &xact::SubtransactionError) -> bool {
    caught.is_lock_failure() || caught.may_be_a_rows()
}

/// What one try did.
struct Attempt {
    /// Log rows consumed.
    read: i64,
    /// Rows were written to blue.
    wrote: bool,
    /// Every snapshot sees in blue what it sees in green.
    kept: bool,
    /// As in [`Round`].
    left_out: u64,
}

fn attempt(member: &Member, snapshot: &Snapshot, scope: Scope) -> Result<Attempt> {
    let Scope { limit, window, again, writes } = scope;
    let part = batch::Part { limit, window, all_misfits: again == Misfits::All };
    batch::with_events(member, snapshot, part, |batch| {
        if batch.items.is_empty() && batch.events == 0 {
            return Ok(Attempt { read: 0, wrote: false, kept: false, left_out: 0 });
        }
        let blue = member.blue_name();
        let rows = Rows { mapping: member.mapping(), from: &member.source, to: &blue };
        let tables = Tables { member, rows: &rows, snapshot };
        let batch = history::with_rows_there(member, &rows, snapshot, batch)?;
        let suspects = batch.misfits.iter().map(|marked| marked.key).collect();
        // A batch that is not complete may have one of two events of a row.
        let is_easy = |most| batch.events < limit.min(most) && window.is_none();
        let keeps = match writes {
            Writes::Keep(means) => Some(means),
            Writes::KeepIfEasy { class, most }
                if is_easy(most)
                    && history::needs_only_stored(member)?
                    && history::lock_at_once(member) =>
            {
                Some(history::Means { class, last: false })
            }
            Writes::KeepIfEasy { .. } | Writes::AsNow => None,
        };
        let how = match keeps {
            None => apply::Writes::Updates,
            Some(means) if means.last => apply::Writes::LastRows,
            Some(_) => apply::Writes::NewRows,
        };
        let _limited = match keeps {
            Some(means) if !means.last => Some(lock::limited(LONGEST_WAIT)?),
            _ => None,
        };
        let failed = apply::apply(tables, &batch.items, &suspects, how)?;
        failpoint::reach("sync_applied");
        // The other half of an exchange may be in the log behind the batch.
        let cut = window.is_some() || (batch.events == limit && limit < MAX_ROWS.into());
        if cut && failed.iter().any(apply::Failed::is_collision) {
            return Err(Error::signal(ErrorKind::Cut));
        }
        let wrote = failed.len() < batch.items.len();
        // Blue's row of one that failed may be gone, for which there is no history.
        let all_fit = failed.is_empty();
        let history = match keeps {
            None => None,
            Some(means) => Some(history::keep(tables, &batch, &failed, means)?),
        };
        misfit::record(member, &rows, &batch, failed)?;
        batch::consume(member, &batch)?;
        failpoint::reach("sync_consumed");
        if let Some(history) = &history {
            history.stamp();
        }
        let (kept, left_out) = history.map_or((false, 0), |history| (all_fit, history.left_out));
        Ok(Attempt { read: batch.events, wrote, kept, left_out })
    })
}

/// Empties blue when green was truncated: every row of green is younger, and in the log.
fn follow_truncate(member: &mut Member, settings: &Settings, snapshot: &Snapshot) -> Result<()> {
    if truncation::take(member.id, Some(snapshot))? == 0 {
        return Ok(());
    }
    // As the owner: TRUNCATE fires triggers that the owner may have put on blue.
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    let (blue, name) = (member.blue(), member.blue_name());
    let until = Instant::now() + settings.retry_for;
    lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(blue, Mode::AccessExclusive)], limit)?;
        spi::run(&ddl::table::truncate(&name), &[])
    })
    .or_else(xact::SubtransactionError::raise)?;
    member.progress.drain_xid = xact::current_xid();
    Ok(())
}
