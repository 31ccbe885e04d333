//! What bg_status and the notices tell.

use std::time::Duration;

use pgrx::PgSqlErrorCode;

use crate::catalog;
use crate::error::Result;
use crate::guard::fingerprint;
use crate::guard::gone;
use crate::guard::lock as guard_lock;
use crate::model::deployment::Deployment;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::clock;
use crate::pg::lock;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::next_step::{self, Situation, prepare_call};
use crate::runner::dependents;
use crate::runner::session;
use crate::state::rejected_rows;
use crate::state::restored;
use crate::state::store;
use crate::sync;
use crate::verbs::swap;

/// Changes are counted up to here.
const COUNT_UP_TO: i64 = 100_000;

/// A row of bg_status; times as seconds.
pub(crate) struct Status {
    /// The deployment.
    pub member: Member,
    /// 0 to 1.
    pub progress: f64,
    /// Rows copied in a second.
    pub rows_per_second: i64,
    /// Seconds to the end of the copy.
    pub eta: Option<f64>,
    /// Log rows that wait; None while somebody ends the deployment.
    pub pending: Option<i64>,
    /// Seconds since the last complete sync.
    pub lag: Option<f64>,
    /// Misfits.
    pub misfits: i64,
    /// Constraints to validate.
    pub not_valid: i64,
    /// The backend that drives it, if it lives.
    pub worker: Option<i32>,
    /// What it waits for, and since when, in seconds since 1970.
    pub waiting: Option<(String, f64)>,
    /// What stands in its way, or the last run's error.
    pub last_error: Option<String>,
    /// The statement that leads on, or what somebody has to decide.
    pub next_step: String,
    /// Seconds since 1970.
    pub created_at: f64,
    /// Seconds since 1970.
    pub updated_at: f64,
}

/// How long a look at the definitions waits for a lock.
const LOOK: Duration = Duration::from_millis(100);

/// Everything about one deployment. Waits for nobody.
pub(crate) fn status(member: Member, settings: &Settings) -> Result<Status> {
    let now = clock::now();
    let is_open = member.phase.is_open();
    let (mut pending, mut misfits, mut not_valid) = (Some(0), 0, 0);
    if is_open {
        pending = sync::backlog_at_once(&member, COUNT_UP_TO)?;
        misfits = rejected_rows::count(member.id)?;
        not_valid = dependents::not_valid(&member)?.len() as i64;
    }
    let (created_at, updated_at) = store::times(member.id)?;
    let runner = member.progress.runner.clone();
    let worker = match &runner {
        Some((pid, since)) if session::is_alive(*pid, since)? => Some(*pid),
        _ => None,
    };
    // A standby does not know the sessions of its primary.
    let is_known = !xact::is_in_recovery() && xact::is_read_committed();
    let died = runner.filter(|_| worker.is_none() && is_known).map(|(pid, _)| pid);
    let known = Known { worker, died, pending, misfits };
    let (next_step, last_error) = leads_on(&member, &known, settings)?;
    Ok(Status {
        progress: progress(&member),
        rows_per_second: rows_per_second(&member),
        eta: eta(&member),
        pending,
        lag: member.progress.synced_at.filter(|_| is_open).map(|at| (now - at).max(0.0)),
        misfits,
        not_valid,
        worker,
        // A run that was killed leaves what it waited for: ignore it.
        waiting: member.progress.waiting.clone().filter(|_| died.is_none()),
        last_error,
        next_step,
        created_at,
        updated_at,
        member,
    })
}

/// What is known of a deployment when its next step is asked for.
struct Known {
    /// The session that works on it.
    worker: Option<i32>,
    /// The one that was ended while it did.
    died: Option<i32>,
    pending: Option<i64>,
    misfits: i64,
}

/// The next step, and what stands in its way.
fn leads_on(
    member: &Member,
    known: &Known,
    settings: &Settings,
) -> Result<(String, Option<String>)> {
    if member.restored {
        return Ok((restored::statement(member), Some(restored::refusal(member).message)));
    }
    if let Some(gone) = gone::look(member)? {
        return Ok((gone.statement(member), Some(gone.refusal(member).message)));
    }
    let is_open = member.phase.is_open();
    let changed = if is_open { changed(member)? } else { None };
    let table = member.source.plain();
    let allowed = swap::allowed_backlog(member, settings);
    let prepared = guard_lock::prepared_holder(member.id)?;
    let next = next_step::next_step(&Situation {
        id: member.id,
        table: &table,
        phase: member.phase,
        paused: member.paused,
        prepared: prepared.as_deref(),
        runner: known.worker,
        misfits: known.misfits,
        backlog: known.pending.is_some_and(|rows| rows > allowed.min(COUNT_UP_TO - 1)),
        changed: changed.as_ref().map(|(_, followed)| *followed),
        prepare: &prepare_call(&table, &member.arguments),
    });
    let died = known.died.filter(|_| is_open).map(died_silently);
    let changed = changed.map(|(message, _)| message);
    Ok((next, changed.or_else(|| member.last_error.clone()).or(died)))
}

/// The error of a run that could not write one.
fn died_silently(pid: i32) -> String {
    format!(
        "the session with pid {pid}, which was in CALL bg_run, is gone: it was terminated or disconnected, or the server restarted"
    )
}

/// What a step would refuse because a definition is not as the deployment left it, and whether bg_prepare may
/// bring the offline table up to date. None also where somebody has locked what it consists of, and where it
/// cannot be known: to a transaction that sees the database as it was, and beside a step that is committing.
/// Gives back every lock that it takes.
fn changed(member: &Member) -> Result<Option<(String, bool)>> {
    if !xact::is_read_committed() {
        return Ok(None);
    }
    let checked = xact::trial(|| {
        let _limited = lock::limited(LOOK)?;
        match fingerprint::check_definitions(member) {
            Ok(_) => Ok(None),
            Err(error) if error.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE => Err(error),
            Err(error) => Ok(Some((error.message, is_followed(member)?))),
        }
    });
    let found = match checked {
        Ok(found) => found,
        Err(caught) if caught.is_lock_failure() => None,
        Err(caught) if matches!(caught.class().as_str(), "57" | "53" | "58" | "XX") => {
            return caught.raise();
        }
        Err(caught) => Some((caught.error.message, false)),
    };
    if found.is_none() {
        return Ok(None);
    }
    let now = store::load(member.id)?;
    let same = now.phase == member.phase
        && now.fingerprint_origin == member.fingerprint_origin
        && now.fingerprint_shadow == member.fingerprint_shadow;
    Ok(found.filter(|_| same))
}

/// Only the live table has changed, under its name, and the offline one was not made by hand.
fn is_followed(member: &Member) -> Result<bool> {
    if member.arguments.target.is_some() {
        return Ok(false);
    }
    let named = {
        let _us = Identity::extension()?;
        catalog::relation_oid(&member.source)?
    };
    Ok(named == Some(member.green())
        && !fingerprint::differences(member, member.green_side())?.is_empty()
        && fingerprint::differences(member, member.blue_side())?.is_empty())
}

fn copied(member: &Member) -> f64 {
    let p = &member.progress;
    if p.end_block == 0 { 0.0 } else { f64::from(p.copied_blocks) / f64::from(p.end_block) }
}

/// The copy counts for 0.7, the indexes for the rest.
fn progress(member: &Member) -> f64 {
    match member.phase {
        Phase::Prepared => 0.0,
        Phase::Copying => 0.7 * copied(member),
        Phase::Indexing => {
            let all = member.plan.indexes.len() + 3;
            let done = indexes_made(member)
                + usize::from(member.progress.purged)
                + usize::from(member.progress.analyzed);
            0.7 + 0.3 * done as f64 / all as f64
        }
        Phase::Ready | Phase::Swapped | Phase::Finished | Phase::Aborted => 1.0,
    }
}

fn indexes_made(member: &Member) -> usize {
    member.progress.indexes_built.max(member.progress.indexes_made as usize)
}

fn rows_per_second(member: &Member) -> i64 {
    if member.progress.copy_seconds <= 0.0 {
        return 0;
    }
    (member.progress.rows_copied as f64 / member.progress.copy_seconds) as i64
}

/// Seconds that the rest of the copy takes at the speed so far.
fn eta(member: &Member) -> Option<f64> {
    let done = copied(member);
    (member.phase == Phase::Copying && done > 0.0)
        .then(|| member.progress.copy_seconds * (1.0 - done) / done)
}

/// A line for each member; `in_step` says that nothing is left to bring in.
pub(crate) fn progress_lines(d: &Deployment, in_step: bool) -> String {
    d.members().map(|member| progress_line(member, in_step)).collect::<Vec<_>>().join("\n")
}

/// One line for the progress NOTICE: what is being done, how far it is, how long it will take.
fn progress_line(member: &Member, in_step: bool) -> String {
    let share = progress(member);
    let filled = (share * 20.0) as usize;
    let bar: String = (0..20).map(|i| if i < filled { '#' } else { '.' }).collect();
    let head = format!("{} [{bar}] {:3.0}% {}", member.source.plain(), share * 100.0, member.phase);
    match member.phase {
        Phase::Copying => {
            let eta =
                eta(member).map_or(String::new(), |s| format!(", {} of copying left", duration(s)));
            format!(
                "{head}: {} rows copied, {} rows/s{eta}",
                member.progress.rows_copied,
                rows_per_second(member)
            )
        }
        Phase::Indexing if !member.progress.purged => format!("{head}: removing rows that changed"),
        Phase::Indexing if member.progress.indexes_built < member.plan.indexes.len() => {
            format!(
                "{head}: {} of {} indexes built",
                indexes_made(member),
                member.plan.indexes.len()
            )
        }
        Phase::Indexing => format!("{head}: bringing changes in"),
        Phase::Ready | Phase::Swapped if in_step => format!("{head}: in step"),
        Phase::Ready | Phase::Swapped => format!("{head}: bringing changes in"),
        Phase::Prepared | Phase::Finished | Phase::Aborted => head,
    }
}

fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    if s >= 3600 {
        format!("{} h {} min", s / 3600, s % 3600 / 60)
    } else if s >= 60 {
        format!("{} min {} s", s / 60, s % 60)
    } else {
        format!("{s} s")
    }
}
