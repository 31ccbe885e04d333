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
use crate::pg::text;
use crate::pg::xact;
use crate::plan::difference::{self, Way};
use crate::plan::eta::Foretold;
use crate::plan::next_step::{self, Situation, prepare_call};
use crate::plan::progress_line::Line;
use crate::runner::dependents;
use crate::runner::session;
use crate::state::rejected_rows;
use crate::state::restored;
use crate::state::store;
use crate::sync;
use crate::verbs::eta::{self, Seen};
use crate::verbs::swap;

/// Changes are counted up to here, and estimated beyond.
const COUNT_UP_TO: i64 = 100_000;
/// The same for a NOTICE, which comes once a second.
const NOTICE_COUNTS: i64 = 10_000;
/// Pages of the log that an estimate reads, and that of a NOTICE.
const SAMPLED_PAGES: usize = 2000;
const NOTICE_PAGES: usize = 200;

/// A row of bg_status; times as seconds.
pub(crate) struct Status {
    /// The deployment.
    pub member: Member,
    /// 0 to 1.
    pub progress: f64,
    /// Rows copied in a second.
    pub rows_per_second: i64,
    /// Seconds to ready; None where nobody knows, and when it is.
    pub eta: Option<f64>,
    /// Log rows that wait, estimated where they are many; None while somebody ends the deployment.
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
        pending = sync::backlog_estimate(&member, COUNT_UP_TO, SAMPLED_PAGES)?;
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
    let is_standby = xact::is_in_recovery();
    let is_known = !is_standby && xact::is_read_committed();
    let runner = runner.map(|(pid, _)| pid);
    let died = runner.filter(|_| worker.is_none() && is_known);
    let since = if worker.is_some() { (now - updated_at).max(0.0) } else { 0.0 };
    let seen = Seen { pending: pending.unwrap_or(0), since };
    let Foretold { left: eta, progress } = eta::foretell(&member, settings, seen)?;
    // A run that was killed leaves what it waited for: ignore it.
    let waiting = if member.paused {
        store::paused_by(member.id)?
            .map(|(who, at)| (format!("bg_resume: {who} called bg_pause"), at))
    } else {
        member.progress.waiting.clone().filter(|_| died.is_none())
    };
    let waits_for = waiting.as_ref().map(|(what, _)| what.clone());
    let known = Known { worker, died, pending, misfits, waits_for };
    let (mut next_step, last_error) = leads_on(&member, &known, settings)?;
    if is_standby && is_open {
        next_step = next_step::on_primary(&next_step, runner);
    }
    Ok(Status {
        progress,
        rows_per_second: rows_per_second(&member),
        // Where a run ended before its end nobody brings it nearer.
        eta: eta.filter(|_| worker.is_some() || (died.is_none() && member.last_error.is_none())),
        pending,
        lag: member.progress.synced_at.filter(|_| is_open).map(|at| (now - at).max(0.0)),
        misfits,
        not_valid,
        worker,
        waiting,
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
    /// What that session waits for.
    waits_for: Option<String>,
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
        waits_for: known.waits_for.as_deref(),
        misfits: known.misfits,
        backlog: known.pending.is_some_and(|rows| rows > allowed.min(COUNT_UP_TO - 1)),
        changed: changed.as_ref().map(|(_, way)| *way),
        prepare: &prepare_call(&table, &member.arguments),
        failed: member.progress.failed.as_ref().filter(|_| member.last_error.is_some()),
        rewritten: member.progress.restarts.saturating_sub(member.progress.renewals).into(),
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

/// What a step would refuse because a definition is not as the deployment left it, and the way out: bg_prepare may
/// bring the offline table up to date. None also where somebody has locked what it consists of, and where it
/// cannot be known: to a transaction that sees the database as it was, and beside a step that is committing.
/// Gives back every lock that it takes.
fn changed(member: &Member) -> Result<Option<(String, Way)>> {
    if !xact::is_read_committed() {
        return Ok(None);
    }
    let checked = xact::trial(|| {
        let _limited = lock::limited(LOOK)?;
        match fingerprint::check_definitions(member) {
            Ok(_) => Ok(None),
            Err(error) if error.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE => Err(error),
            Err(error) => Ok(Some((error.with_detail(), way(member)?))),
        }
    });
    let found = match checked {
        Ok(found) => found,
        Err(caught) if caught.is_lock_failure() => None,
        Err(caught) if matches!(caught.class().as_str(), "57" | "53" | "58" | "XX") => {
            return caught.raise();
        }
        Err(caught) => Some((caught.error.with_detail(), Way::Undo)),
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

/// The way out of what has changed. bg_prepare follows the live table under its name alone, and not where the offline
/// one was made by hand.
fn way(member: &Member) -> Result<Way> {
    let named = {
        let _us = Identity::extension()?;
        catalog::relation_oid(&member.source)?
    };
    let found = fingerprint::differences(member, member.green_side())?;
    let is_alone = !found.is_empty()
        && named == Some(member.green())
        && fingerprint::differences(member, member.blue_side())?.is_empty();
    Ok(match difference::way(&found, is_alone) {
        Way::Prepare if member.arguments.target.is_some() => Way::Undo,
        way => way,
    })
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

/// A line for each member, for the NOTICEs of the session that works on it; `in_step` says that nothing is left
/// to bring in.
pub(crate) fn progress_lines(d: &Deployment, settings: &Settings, in_step: bool) -> Result<String> {
    let lines: Result<Vec<_>> =
        d.members().map(|member| notice_line(member, settings, in_step)).collect();
    Ok(lines?.join("\n"))
}

fn notice_line(member: &Member, settings: &Settings, in_step: bool) -> Result<String> {
    let is_open = member.phase.is_open() && !in_step;
    let pending =
        if is_open { sync::backlog_estimate(member, NOTICE_COUNTS, NOTICE_PAGES)? } else { None };
    let pending = pending.unwrap_or(0);
    let Foretold { left, progress } =
        eta::foretell(member, settings, Seen { pending, since: 0.0 })?;
    let is_copied = member.phase == Phase::Copying;
    let line = Line {
        table: &member.source.plain(),
        phase: member.phase,
        progress,
        doing: doing(member, in_step),
        rate: is_copied.then(|| rows_per_second(member)),
        left,
        pending,
        misfits: 0,
        lag: None,
        waits_for: None,
    };
    Ok(line.text(text::columns))
}

/// What is being done, where the phase does not say it.
fn doing(member: &Member, in_step: bool) -> Option<String> {
    let all = member.plan.indexes.len();
    match member.phase {
        Phase::Copying => Some(format!("{} rows copied", member.progress.rows_copied)),
        Phase::Indexing if !member.progress.purged => Some("removing rows that changed".to_owned()),
        Phase::Indexing if member.progress.indexes_built < all => {
            Some(format!("{} of {all} indexes built", indexes_made(member)))
        }
        Phase::Ready | Phase::Swapped if in_step => Some("in step".to_owned()),
        Phase::Indexing | Phase::Ready | Phase::Swapped => Some("bringing changes in".to_owned()),
        Phase::Prepared | Phase::Finished | Phase::Aborted => None,
    }
}

/// The line of `bg_progress`.
pub(crate) fn progress_line(status: &Status) -> String {
    let member = &status.member;
    let is_before = matches!(member.phase, Phase::Prepared | Phase::Copying | Phase::Indexing);
    let doing = if member.paused {
        Some("paused".to_owned())
    } else if status.worker.is_none() && is_before && !xact::is_in_recovery() {
        Some("nobody works".to_owned())
    } else if member.phase == Phase::Indexing {
        doing(member, false)
    } else {
        None
    };
    let line = Line {
        table: &member.source.plain(),
        phase: member.phase,
        progress: status.progress,
        doing,
        rate: (member.phase == Phase::Copying).then_some(status.rows_per_second),
        left: status.eta,
        pending: status.pending.unwrap_or(0),
        misfits: status.misfits,
        lag: status.lag,
        waits_for: status.waiting.as_ref().map(|(why, _)| why.as_str()),
    };
    line.text(text::columns)
}
