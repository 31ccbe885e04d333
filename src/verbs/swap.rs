//! bg_swap and bg_revert: one machine, run with the roles as they are.

use std::fmt;
use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;

use crate::capture;
use crate::ddl;
use crate::dependent;
use crate::error::{Error, ErrorKind, Result, rows};
use crate::failpoint;
use crate::guard::access;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::model::deployment::Deployment;
use crate::model::member::{Member, Side};
use crate::model::phase::{Event, Phase};
use crate::model::settings::Settings;
use crate::model::zones::Zones;
use crate::oid::RelationId;
use crate::pg::security::Identity;
use crate::pg::spi;
use crate::pg::{lock, relation, xact};
use crate::plan::intrusion::Step;
use crate::shadow::remove;
use crate::state::rejected_rows;
use crate::state::store::{self, LockedDeployment};
use crate::swap;
use crate::sync;

/// What to do with rows that cannot be written to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfits {
    /// Refuse the swap.
    Refuse,
    /// Leave them in `bluegreen.misfit`.
    SetAside,
    /// … with rows that refer to one that no table has then.
    SetAsideWithChildren,
}

/// Log rows per millisecond that a drain takes at least, while all writers wait and leave it the
/// machine. Rounds beside busy writers measure less.
const MIN_RATE: f64 = 30.0;
/// Misfits that are tried once more under the locks: each costs a subtransaction.
const MAX_RETRIED: i64 = 20;
/// Time in which a log may always be read under the lock.
const QUICK_READ: Duration = Duration::from_millis(2);
/// A backlog that is always drained under the lock.
const MIN_BACKLOG: i64 = 50;

/// Swaps the roles, in the caller's transaction. The deployment is locked and checked; `alone` says that
/// this call is all that the transaction does.
pub(crate) fn swap(
    d: &mut LockedDeployment,
    settings: &Settings,
    event: Event,
    misfits: Misfits,
    alone: bool,
) -> Result<()> {
    let name = if event == Event::Swapped { "bg_swap" } else { "bg_revert" };
    access::require_to_write(name)?;
    let after = access::next_phase(d.first(), event)?;
    d.members().try_for_each(|member| access::next_phase(member, event).map(drop))?;
    if misfits == Misfits::SetAsideWithChildren {
        rejected_rows::require_children()?;
    }
    let call = Call { name, settings, after, misfits };
    let others = look_before(d, &call)?;
    let all: Vec<_> = d.relations().chain(others.iter().copied()).collect();
    guard_lock::require_not_in_use(&all, name)?;
    let until = Instant::now() + settings.retry_for;
    wait_before(d, &call, &all, until, alone)?;
    let began = Instant::now();
    let mut locked = LockTimings::since(began);
    let mut tries = 0;
    let synced = synced(d);
    let locks = xact::rolled_back(|| swap::locks(&d.read(), &others))?;
    let swapped = lock::retry(settings.lock_timeout, until, |limit| {
        tries += 1;
        let _limited = lock::limited(limit)?;
        // Clients take the other tables' locks in an order of their own: try it one way, then the other.
        let order = swap::in_order(&locks, &d.green_relations(), tries % 2 == 0);
        locked = LockTimings::since(lock::all_within(&order, limit)?);
        d.members().try_for_each(dependent::lock_functions)?;
        let mut copy = d.copied();
        let told = under_lock(&mut copy, &call, &mut locked)?;
        Ok((copy, told))
    });
    match swapped {
        Ok((copy, told)) => {
            *d = copy;
            told.iter().for_each(|line| xact::tell(line));
        }
        Err(caught) if caught.is_lock_failure() => {
            let relations: Vec<_> = locks.iter().map(|(oid, _)| *oid).collect();
            let (first, xid) = (d.first().source.plain(), d.drain_xid());
            return Err(swap::lock_error(&first, xid, &relations, &caught.error)?);
        }
        Err(caught) => return caught.raise(),
    }
    let synced = self::synced(d) - synced;
    let detail = format!("locks held {locked}, tries {tries}, synced {synced} under them");
    for member in d.members() {
        record(member, &call, began, &locked, detail.clone())?;
    }
    failpoint::reach(call.point("swap_committing", "revert_committing"));
    Ok(())
}

/// Refuses what would be refused under the locks, and returns what else will be locked.
fn look_before(d: &LockedDeployment, call: &Call<'_>) -> Result<Vec<RelationId>> {
    for member in d.members() {
        require_committed_work(member, call)?;
    }
    let mut others = Vec::new();
    for member in d.members() {
        others.extend(xact::rolled_back(|| {
            refuse_backlog(member, call)?;
            refuse_lasting_misfits(member, call)?;
            rehearse(member)
        })?);
    }
    Ok(others)
}

/// Waits for what nobody may be made to wait for under the locks.
fn wait_before(
    d: &LockedDeployment,
    call: &Call<'_>,
    relations: &[RelationId],
    until: Instant,
    alone: bool,
) -> Result<()> {
    if call.settings.wait_for_snapshots {
        swap::wait_for_snapshots(&d.read(), guard_lock::lock_table()?, relations, until, alone)?;
        swap::end_readers_on_standbys(&d.read(), until)?;
    }
    // Who has ended meanwhile may have kept dead rows from being removed.
    d.members().try_for_each(|member| xact::rolled_back(|| refuse_long_log(member, call)))
}

/// Log rows that were brought in so far.
fn synced(d: &LockedDeployment) -> i64 {
    d.members().map(|member| member.progress.synced).sum()
}

/// Asks what will be asked under the locks, and returns what else will be locked.
fn rehearse(member: &Member) -> Result<Vec<RelationId>> {
    swap::rehearse(member)?;
    let _us = Identity::extension()?;
    dependent::rehearse(member)?;
    dependent::locks(member)
}

/// A call of bg_swap or bg_revert.
struct Call<'a> {
    /// The function.
    name: &'static str,
    settings: &'a Settings,
    /// The phase to which it leads.
    after: Phase,
    misfits: Misfits,
}

impl Call<'_> {
    /// One of two failpoints.
    fn point(&self, swap: &'static str, revert: &'static str) -> &'static str {
        if self.after == Phase::Swapped { swap } else { revert }
    }
}

/// Writes how it went into the history, and into the server's log once it is committed.
fn record(
    member: &Member,
    call: &Call<'_>,
    began: Instant,
    locked: &LockTimings,
    detail: String,
) -> Result<()> {
    let (name, function) = (member.source.plain(), call.name);
    let (since, parts) = (locked.since, locked.to_string());
    xact::log_at_commit(move || {
        let held = since.elapsed().as_secs_f64() * 1000.0;
        format!("{function} of {name} held its locks for {held:.1} ms until its commit ({parts})")
    });
    let step = store::Step {
        name: call.point("swap", "revert"),
        seconds: began.elapsed().as_secs_f64(),
        count: None,
        detail: Some(detail),
        error: None,
    };
    store::record(member, &step)
}

/// The parts of the time under the lock, for the history.
struct LockTimings {
    since: Instant,
    last: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl LockTimings {
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

impl fmt::Display for LockTimings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let parts: Vec<_> =
            self.parts.iter().map(|(name, time)| format!("{name} {:.1}", ms(*time))).collect();
        write!(f, "{:.1} ms ({})", ms(self.last - self.since), parts.join(", "))
    }
}

/// Relations that a swap locks, sequences too.
pub(crate) fn relations(d: &Deployment) -> Result<Vec<RelationId>> {
    let _us = Identity::extension()?;
    let mut others = Vec::new();
    for member in d.members() {
        others.extend(dependent::locks(member)?);
    }
    let locks = swap::locks(d, &others)?;
    Ok(locks.into_iter().map(|(oid, _)| oid).collect())
}

/// Everything that happens while nobody else can touch any of the tables. Returns what is to be told.
fn under_lock(
    d: &mut LockedDeployment,
    call: &Call<'_>,
    laps: &mut LockTimings,
) -> Result<Vec<String>> {
    failpoint::reach(call.point("swap_locked", "revert_locked"));
    for member in d.members() {
        check_under_lock(member, call)?;
    }
    laps.lap("check");
    let mut aside = Vec::new();
    for member in d.members_mut() {
        sync::last_drain(member, call.settings, guard_lock::lock_table()?)?;
        refuse_misfits(member, call)?;
        aside.push(match call.misfits {
            Misfits::SetAside | Misfits::SetAsideWithChildren => sync::aside::mark(member)?,
            Misfits::Refuse => None,
        });
    }
    laps.lap("drain");
    failpoint::reach(call.point("swap_drained", "revert_drained"));
    exchange(d, call)?;
    laps.lap("exchange");
    failpoint::reach(call.point("swap_exchanged", "revert_exchanged"));
    let with_children = call.misfits == Misfits::SetAsideWithChildren;
    let mut told = Vec::new();
    for (member, aside) in d.members_mut().zip(aside) {
        begin_after(member, call.after)?;
        if let Some(aside) = aside {
            told.extend(sync::aside::leave(member, &aside, with_children)?);
        }
    }
    laps.lap("logs");
    for member in d.members_mut() {
        member.progress.drain_xid = xact::current_xid();
        let names = dependent::moving_names(member);
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        fingerprint::take_fingerprints(member, &Step::Swapped(&names))?;
        store::save(member)?;
    }
    laps.lap("record");
    failpoint::reach(call.point("swap_recorded", "revert_recorded"));
    Ok(told)
}

/// What may have changed while we queued for the locks.
fn check_under_lock(member: &Member, call: &Call<'_>) -> Result<()> {
    // A bulk commit may have slipped in.
    refuse_backlog(member, call)?;
    fingerprint::check_definitions(member)?;
    for table in member.relations() {
        relation::check_not_in_use(table, call.name)?;
    }
    if call.settings.wait_for_snapshots {
        swap::refuse_first_copies(member)?;
        swap::refuse_serializable_readers(member)?;
    }
    Ok(())
}

/// The tables change places, with what hangs on them: what others say is off while they do.
fn exchange(d: &LockedDeployment, call: &Call<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    d.members().try_for_each(dependent::take_off)?;
    failpoint::reach(call.point("swap_taken_off", "revert_taken_off"));
    for member in d.members() {
        let (from, to) = (member.green_side(), member.blue_side());
        dependent::same_array_names(member)?;
        let live = dependent::switch(member, to, true);
        swap::apply(member, &live, &dependent::switch(member, from, false))?;
        dependent::swap_twins(member)?;
    }
    d.members().try_for_each(dependent::put_on)
}

/// The phase after it, with empty logs.
fn begin_after(member: &mut Member, after: Phase) -> Result<()> {
    member.phase = after;
    member.progress.swapped_once = true;
    let _us = Identity::extension()?;
    capture::empty_log(&member.log_of(Side::Origin))?;
    capture::empty_log(&member.log_of(Side::Shadow))?;
    member.progress.zones = Zones::default();
    dependent::note_contents(member)?;
    if after == Phase::Swapped && !member.progress.autovacuum_restored {
        remove::restore_autovacuum(member, &member.source)?;
        member.progress.autovacuum_restored = true;
    }
    Ok(())
}

/// How many log rows a drain of `max_final_drain` can take.
pub(crate) fn allowed_backlog(member: &Member, settings: &Settings) -> i64 {
    let rows =
        member.progress.sync_rate.max(MIN_RATE) * settings.max_final_drain.as_secs_f64() * 1000.0;
    (rows as i64).max(MIN_BACKLOG)
}

fn refuse_backlog(member: &Member, call: &Call<'_>) -> Result<()> {
    let allowed = allowed_backlog(member, call.settings);
    let waiting = sync::backlog(member, allowed + 1)?;
    if waiting <= allowed {
        return Ok(());
    }
    Err(Error::state(format!(
        "more than {allowed} changes of {} wait to be synced, too many for the swap's own transaction",
        member.source.plain()
    ))
    .kind(ErrorKind::Backlog)
    .hint("Sync in committed batches first: CALL bg_run(table), or let it swap too: CALL bg_run(table, 'swapped')."))
}

/// Before the locks: the log is read twice under them, and what is there of consumed rows counts too.
fn refuse_long_log(member: &Member, call: &Call<'_>) -> Result<()> {
    if !sync::is_log_long(member)? {
        return Ok(());
    }
    let began = Instant::now();
    sync::backlog(member, i64::MAX)?;
    let took = began.elapsed();
    if took <= (call.settings.max_final_drain / 2).max(QUICK_READ) {
        return Ok(());
    }
    Err(Error::state(format!(
        "the change log of {} is too long to be read while everybody waits",
        member.source.plain()
    ))
    .kind(ErrorKind::LongLog)
    .detail(format!(
        "Reading it took {:.0} ms, and the swap reads it twice within bluegreen.max_final_drain.",
        took.as_secs_f64() * 1000.0
    ))
    .hint("CALL bg_run(table), which has it vacuumed, and call again. If that does not help: end transactions that are older than the last changes, which keep dead rows in it, or give the swap longer with SET bluegreen.max_final_drain."))
}

/// Another committed sync, or a vacuum of the log, and a new try may do.
pub(crate) fn is_backlog(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Backlog | ErrorKind::LongLog)
}

/// Before the locks: a few misfits whose rows have changed since the last sync are looked at again under them.
fn refuse_lasting_misfits(member: &Member, call: &Call<'_>) -> Result<()> {
    if call.misfits != Misfits::Refuse || !rejected_rows::is_any(member.id)? {
        return Ok(());
    }
    if rejected_rows::count(member.id)? <= MAX_RETRIED && !sync::has_untouched_misfit(member)? {
        return Ok(());
    }
    refuse_misfits(member, call)
}

fn refuse_misfits(member: &Member, call: &Call<'_>) -> Result<()> {
    if call.misfits != Misfits::Refuse {
        return Ok(());
    }
    let count = rejected_rows::count(member.id)?;
    if count == 0 {
        return Ok(());
    }
    let hint = if call.name == "bg_revert" {
        "Correct those rows and CALL bg_run(table), or leave them behind with misfits => 'set_aside'; see bg_misfits()."
    } else {
        "Correct those rows in the live table and CALL bg_run(table); see bg_misfits()."
    };
    Err(Error::state(format!(
        "{} of {} cannot be written to the other table",
        rows(count),
        member.source.plain()
    ))
    .detail(rejected_rows::describe(member.id)?)
    .hint(hint))
}

/// Rows that were brought to blue in the swap's own transaction are invisible to older snapshots,
/// which would then read the table without them. Harmless only where there are no rows.
fn require_committed_work(member: &Member, call: &Call<'_>) -> Result<()> {
    let now = xact::current_xid();
    let same = member.progress.prepared_xid == now || member.progress.work_xid == now;
    if !same || call.settings.allow_single_transaction || is_empty(member)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        format!(
            "{} of {}, which has rows, must not be in the transaction that prepared, copied or synced them: transactions that are older than its commit would read the table empty or stale",
            call.name,
            member.source.plain()
        ),
    )
    .hint("Commit before the swap. Where nobody else uses the database: SET bluegreen.allow_single_transaction = on."))
}

fn is_empty(member: &Member) -> Result<bool> {
    // As the owner, who may have put a view in its place meanwhile.
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    Ok(spi::one::<bool>(&ddl::table::has_rows(&member.source), &[])? == Some(false))
}
