//! What bg_status and the notices tell.

use crate::error::Result;
use crate::guard::gone;
use crate::guard::gone::Gone;
use crate::model::deployment::Deployment;
use crate::model::phase::Phase;
use crate::pg::clock;
use crate::runner::dependents;
use crate::runner::session;
use crate::state::rejected_rows;
use crate::state::store;
use crate::sync;

/// Changes are counted up to here.
const COUNT_UP_TO: i64 = 100_000;

/// A row of bg_status; times as seconds.
pub(crate) struct Status {
    /// The deployment.
    pub deployment: Deployment,
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
    /// What is missing of it.
    pub gone: Option<Gone>,
    /// Seconds since 1970.
    pub created_at: f64,
    /// Seconds since 1970.
    pub updated_at: f64,
}

/// Everything about one deployment.
pub(crate) fn status(d: Deployment) -> Result<Status> {
    let now = clock::now();
    let (mut pending, mut misfits, mut not_valid) = (Some(0), 0, 0);
    if d.phase.is_open() {
        pending = sync::backlog_at_once(&d, COUNT_UP_TO)?;
        misfits = rejected_rows::count(d.id)?;
        not_valid = dependents::not_valid(&d)?.len() as i64;
    }
    let (created_at, updated_at) = store::times(d.id)?;
    let worker = match &d.progress.runner {
        Some((pid, since)) if session::is_alive(*pid, since)? => Some(*pid),
        _ => None,
    };
    // A run that was killed leaves what it waited for: ignore it.
    let died = d.progress.runner.is_some() && worker.is_none();
    Ok(Status {
        progress: progress(&d),
        rows_per_second: rows_per_second(&d),
        eta: eta(&d),
        pending,
        lag: d.progress.synced_at.filter(|_| d.phase.is_open()).map(|at| (now - at).max(0.0)),
        misfits,
        not_valid,
        worker,
        gone: gone::look(&d)?,
        waiting: if died { None } else { d.progress.waiting.clone() },
        created_at,
        updated_at,
        deployment: d,
    })
}

fn copied(d: &Deployment) -> f64 {
    let p = &d.progress;
    if p.end_block == 0 { 0.0 } else { f64::from(p.copied_blocks) / f64::from(p.end_block) }
}

/// The copy counts for 0.7, the indexes for the rest.
fn progress(d: &Deployment) -> f64 {
    match d.phase {
        Phase::Prepared => 0.0,
        Phase::Copying => 0.7 * copied(d),
        Phase::Indexing => {
            let all = d.plan.indexes.len() + 3;
            let done =
                indexes_made(d) + usize::from(d.progress.purged) + usize::from(d.progress.analyzed);
            0.7 + 0.3 * done as f64 / all as f64
        }
        Phase::Ready | Phase::Swapped | Phase::Finished | Phase::Aborted => 1.0,
    }
}

fn indexes_made(d: &Deployment) -> usize {
    d.progress.indexes_built.max(d.progress.indexes_made as usize)
}

fn rows_per_second(d: &Deployment) -> i64 {
    if d.progress.copy_seconds <= 0.0 {
        return 0;
    }
    (d.progress.rows_copied as f64 / d.progress.copy_seconds) as i64
}

/// Seconds that the rest of the copy takes at the speed so far.
fn eta(d: &Deployment) -> Option<f64> {
    let done = copied(d);
    (d.phase == Phase::Copying && done > 0.0).then(|| d.progress.copy_seconds * (1.0 - done) / done)
}

/// One line for the progress NOTICE: what is being done, how far it is, how long it will take.
pub(crate) fn progress_line(d: &Deployment) -> String {
    let share = progress(d);
    let filled = (share * 20.0) as usize;
    let bar: String = (0..20).map(|i| if i < filled { '#' } else { '.' }).collect();
    let head = format!("{} [{bar}] {:3.0}% {}", d.source.plain(), share * 100.0, d.phase);
    match d.phase {
        Phase::Copying => {
            let eta = eta(d).map_or(String::new(), |s| format!(", {} left", duration(s)));
            format!(
                "{head}: {} rows copied, {} rows/s{eta}",
                d.progress.rows_copied,
                rows_per_second(d)
            )
        }
        Phase::Indexing if !d.progress.purged => format!("{head}: removing rows that changed"),
        Phase::Indexing if d.progress.indexes_built < d.plan.indexes.len() => {
            format!("{head}: {} of {} indexes built", indexes_made(d), d.plan.indexes.len())
        }
        Phase::Indexing => format!("{head}: bringing changes in"),
        Phase::Ready | Phase::Swapped => format!("{head}: in step"),
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
