//! bg_swap and bg_revert: one machine, run with the roles as they are.

use std::fmt;
use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;

use crate::capture;
use crate::catalog;
use crate::check;
use crate::ddl;
use crate::dependent;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::guard::access;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::model::deployment::{Deployment, Side};
use crate::model::phase::{Event, Phase};
use crate::model::settings::Settings;
use crate::model::zones::Zones;
use crate::pg::security::Identity;
use crate::pg::spi;
use crate::pg::{lock, relation, xact};
use crate::plan::intrusion::Step;
use crate::shadow::remove;
use crate::state::rejected_rows;
use crate::state::store;
use crate::swap;
use crate::sync;

/// What to do with rows that cannot be written to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfits {
    /// Refuse the exchange.
    Refuse,
    /// Leave them in `bluegreen.misfit`.
    SetAside,
    /// … with rows that refer to one that no table has then.
    SetAsideWithChildren,
}

/// Log rows per millisecond that a drain takes at least, while all writers wait and leave it the
/// machine. Rounds beside busy writers measure less.
const LEAST_RATE: f64 = 30.0;
/// A backlog that is always drained under the lock.
const LEAST_BACKLOG: i64 = 50;

/// Exchanges the roles, in the caller's transaction. The deployment is locked and checked; `alone` says that
/// this call is all that the transaction does.
pub(crate) fn swap(
    d: &mut Deployment,
    settings: &Settings,
    event: Event,
    misfits: Misfits,
    alone: bool,
) -> Result<()> {
    let call = if event == Event::Swapped { "bg_swap" } else { "bg_revert" };
    access::require_read_committed(call)?;
    let after = access::next_phase(d, event)?;
    require_committed_work(d, settings, call)?;
    let allowed = allowed_backlog(d, settings);
    let others = xact::looking(|| {
        refuse_misfits(d, misfits, call)?;
        refuse_backlog(d, allowed)?;
        swap::rehearse(d)?;
        let _us = Identity::extension()?;
        dependent::rehearse(d)?;
        dependent::locks(d)
    })?;
    let all: Vec<u32> = [d.green(), d.blue()].into_iter().chain(others.iter().copied()).collect();
    guard_lock::require_not_in_use(&all, call)?;
    let until = Instant::now() + settings.retry_for;
    if settings.wait_for_snapshots {
        swap::wait_for_snapshots(d, guard_lock::lock_table()?, &all, until, alone)?;
        swap::end_readers_on_standbys(d, until)?;
    }
    let began = Instant::now();
    let mut locked = Laps::since(began);
    let mut tries = 0;
    let synced = d.progress.synced;
    let locks = xact::looking(|| swap::locks(d, &others))?;
    let exchanged = lock::retry(settings.lock_timeout, until, |limit| {
        tries += 1;
        let _limited = lock::limited(limit)?;
        // Clients take the other tables' locks in an order of their own: try it one way, then the other.
        let order = swap::in_order(&locks, d.green(), tries % 2 == 0);
        locked = Laps::since(lock::all_within(&order, limit)?);
        dependent::lock_functions(d)?;
        let mut copy = d.clone();
        let told = under_lock(&mut copy, settings, after, misfits, allowed, call, &mut locked)?;
        Ok((copy, told))
    });
    match exchanged {
        Ok((copy, told)) => {
            *d = copy;
            told.iter().for_each(|line| xact::tell(line));
        }
        Err(caught) if caught.is_lock_failure() => {
            let locked: Vec<u32> = locks.iter().map(|(oid, _)| *oid).collect();
            return Err(swap::lock_error(d, &locked, &caught.error)?);
        }
        Err(caught) => return caught.raise(),
    }
    let name = d.source.plain();
    let (since, parts) = (locked.since, locked.to_string());
    xact::log_at_commit(move || {
        let held = since.elapsed().as_secs_f64() * 1000.0;
        format!("{call} of {name} held its locks for {held:.1} ms until its commit ({parts})")
    });
    store::record(
        d,
        &store::Step {
            name: if event == Event::Swapped { "swap" } else { "revert" },
            seconds: began.elapsed().as_secs_f64(),
            count: None,
            detail: Some(format!(
                "locks held {locked}, tries {tries}, synced {} under them",
                d.progress.synced - synced
            )),
            error: None,
        },
    )?;
    failpoint::reach(if after == Phase::Swapped { "swap_committing" } else { "revert_committing" });
    Ok(())
}

/// What clients should know of an exchange before it is made: nothing is sent to a client, who may be slow, under
/// the locks.
pub(crate) fn notice(d: &Deployment) -> Result<Option<String>> {
    let users = xact::looking(|| {
        let _us = Identity::extension()?;
        catalog::row_type::row_type_users(d.green())
    })?;
    Ok(check::row_type::notice(&d.source.plain(), &users))
}

/// The parts of the time under the lock, for the history.
struct Laps {
    since: Instant,
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Laps {
    /// Begins with the locks, the first of which was had at `since`.
    fn since(since: Instant) -> Self {
        let mut laps = Self { since, last: since, parts: Vec::new() };
        laps.lap("locks");
        laps
    }

    fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.parts.push((name, now - self.last));
        self.last = now;
    }
}

impl fmt::Display for Laps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let parts: Vec<_> =
            self.parts.iter().map(|(name, time)| format!("{name} {:.1}", ms(*time))).collect();
        write!(f, "{:.1} ms ({})", ms(self.last - self.since), parts.join(", "))
    }
}

/// Relations that a swap locks, sequences too.
pub(crate) fn relations(d: &Deployment) -> Result<Vec<u32>> {
    let _us = Identity::extension()?;
    let locks = swap::locks(d, &dependent::locks(d)?)?;
    Ok(locks.into_iter().map(|(oid, _)| oid).collect())
}

/// Everything that happens while nobody else can touch either table. Returns what is to be told.
fn under_lock(
    d: &mut Deployment,
    settings: &Settings,
    after: Phase,
    misfits: Misfits,
    allowed: i64,
    call: &str,
    laps: &mut Laps,
) -> Result<Vec<String>> {
    failpoint::reach(if after == Phase::Swapped { "swap_locked" } else { "revert_locked" });
    // A bulk commit may have slipped in while we queued.
    refuse_backlog(d, allowed)?;
    fingerprint::check_definitions(d)?;
    relation::check_not_in_use(d.green(), call)?;
    relation::check_not_in_use(d.blue(), call)?;
    if settings.wait_for_snapshots {
        swap::refuse_first_copies(d)?;
        swap::refuse_serializable_readers(d)?;
    }
    laps.lap("check");
    sync::last_drain(d, settings, guard_lock::lock_table()?)?;
    refuse_misfits(d, misfits, call)?;
    let aside = match misfits {
        Misfits::SetAside | Misfits::SetAsideWithChildren => sync::aside::mark(d)?,
        Misfits::Refuse => None,
    };
    laps.lap("drain");
    failpoint::reach(if after == Phase::Swapped { "swap_drained" } else { "revert_drained" });
    {
        let _us = Identity::extension()?;
        let (from, to) = (d.green_side(), d.blue_side());
        dependent::take_off(d)?;
        failpoint::reach(if after == Phase::Swapped {
            "swap_taken_off"
        } else {
            "revert_taken_off"
        });
        swap::apply(d, &dependent::switch(d, to, true), &dependent::switch(d, from, false))?;
        dependent::swap_twins(d)?;
        dependent::put_on(d)?;
    }
    laps.lap("exchange");
    failpoint::reach(if after == Phase::Swapped { "swap_exchanged" } else { "revert_exchanged" });
    d.phase = after;
    d.progress.swapped_once = true;
    {
        let _us = Identity::extension()?;
        capture::empty_log(&d.log_of(Side::Origin))?;
        capture::empty_log(&d.log_of(Side::Shadow))?;
        d.progress.zones = Zones::default();
        if after == Phase::Swapped && !d.progress.autovacuum_restored {
            remove::restore_autovacuum(d, &d.source)?;
            d.progress.autovacuum_restored = true;
        }
    }
    let told = match aside {
        Some(aside) => sync::aside::leave(d, &aside, misfits == Misfits::SetAsideWithChildren)?,
        None => Vec::new(),
    };
    laps.lap("logs");
    d.progress.drain_xid = xact::current_xid();
    let keys: Vec<_> = dependent::moving_names(d);
    fingerprint::take_fingerprints(
        d,
        &Step::Exchanged(&keys.iter().map(String::as_str).collect::<Vec<_>>()),
    )?;
    store::save(d)?;
    laps.lap("record");
    failpoint::reach(if after == Phase::Swapped { "swap_recorded" } else { "revert_recorded" });
    Ok(told)
}

/// How many log rows a drain of `max_final_drain` can take.
fn allowed_backlog(d: &Deployment, settings: &Settings) -> i64 {
    let rows =
        d.progress.sync_rate.max(LEAST_RATE) * settings.max_final_drain.as_secs_f64() * 1000.0;
    (rows as i64).max(LEAST_BACKLOG)
}

fn refuse_backlog(d: &Deployment, allowed: i64) -> Result<()> {
    let waiting = sync::backlog(d, allowed + 1)?;
    if waiting <= allowed {
        return Ok(());
    }
    Err(Error::state(format!(
        "more than {allowed} changes of {} wait to be synced, too many for the swap's own transaction",
        d.source.plain()
    ))
    .hint("Sync in committed batches first: CALL bg_run(table), or let it swap too: CALL bg_run(table, 'swapped')."))
}

/// The error that [`refuse_backlog`] gives: another committed sync and a new try may do.
pub(crate) fn is_backlog(error: &Error) -> bool {
    error.message.ends_with("too many for the swap's own transaction")
}

fn refuse_misfits(d: &Deployment, misfits: Misfits, call: &str) -> Result<()> {
    if misfits != Misfits::Refuse {
        return Ok(());
    }
    let count = rejected_rows::count(d.id)?;
    if count == 0 {
        return Ok(());
    }
    let hint = if call == "bg_revert" {
        "Correct those rows, or leave them behind with misfits => 'set_aside'; see the view bg_misfits."
    } else {
        "Correct those rows in the live table and CALL bg_run(table); see the view bg_misfits."
    };
    Err(Error::state(format!(
        "{count} rows of {} cannot be written to the other table",
        d.source.plain()
    ))
    .detail(rejected_rows::describe(d.id)?)
    .hint(hint))
}

/// Rows that were brought to blue in the swap's own transaction are invisible to older snapshots,
/// which would then read the table without them. Harmless only where there are no rows.
fn require_committed_work(d: &Deployment, settings: &Settings, call: &str) -> Result<()> {
    let now = xact::current_xid();
    let same = d.progress.prepared_xid == now || d.progress.work_xid == now;
    if !same || settings.allow_single_transaction || is_empty(d)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        format!(
            "{call} of {}, which has rows, must not be in the transaction that prepared, copied or synced them: transactions that are older than its commit would read the table empty or stale",
            d.source.plain()
        ),
    )
    .hint("Commit before the swap. Where nobody else uses the database: SET bluegreen.allow_single_transaction = on."))
}

fn is_empty(d: &Deployment) -> Result<bool> {
    // As the owner, who may have put a view in its place meanwhile.
    let _owner = Identity::table_owner(d.owner, &d.plan.session)?;
    Ok(spi::one::<bool>(&ddl::table::has_rows(&d.source), &[])? == Some(false))
}
