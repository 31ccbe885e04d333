//! One batch of a deployment: what its phase asks for next.

use std::time::Instant;

use crate::backfill::copy::{self, Copied};
use crate::backfill::{index, purge};
use crate::deployment::{dependents, guard, store};
use crate::error::Result;
use crate::model::deployment::Deployment;
use crate::model::phase::{self, Event, Phase};
use crate::model::settings::Settings;
use crate::pg::xact;
use crate::sync;

/// What a batch did.
pub struct Batch {
    /// Nothing is left to do in this phase: blue is in step with green.
    pub in_step: bool,
    /// It changed something.
    pub worked: bool,
}

/// Takes the deployment's lock, reads it again, checks both tables.
pub fn begin(id: i64) -> Result<Deployment> {
    let deployment = guard::lock(id)?;
    if deployment.phase.is_open() {
        xact::looking(|| guard::check_definitions(&deployment))?;
    }
    Ok(deployment)
}

/// Does the next batch and writes the state; the caller commits.
pub fn next(d: &mut Deployment, settings: &Settings) -> Result<Batch> {
    let began = Instant::now();
    let mut batch = Batch { in_step: false, worked: true };
    match d.phase {
        Phase::Prepared | Phase::Copying => copy_batch(d, settings, began)?,
        Phase::Indexing => batch.in_step = index_batch(d, settings, began)?,
        Phase::Ready | Phase::Swapped => {
            let round = sync::step(d, settings)?;
            batch.in_step = round.in_step;
            batch.worked = round.read > 0;
            if batch.in_step {
                sync::shorten_log(d, settings)?;
            }
            note_synced(d, &batch);
        }
        Phase::Finished | Phase::Aborted => return Ok(Batch { in_step: true, worked: false }),
    }
    if batch.worked {
        d.progress.work_xid = xact::current_xid();
    }
    store::save(d)?;
    Ok(batch)
}

fn note_synced(d: &mut Deployment, batch: &Batch) {
    if batch.in_step {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        d.progress.synced_at = now.ok().map(|t| t.as_secs_f64());
    }
}

fn copy_batch(d: &mut Deployment, settings: &Settings, began: Instant) -> Result<()> {
    if d.phase == Phase::Prepared {
        d.phase = phase::next(d.phase, Event::CopyStarted)?;
    }
    match copy::step(d, settings)? {
        Copied::Batch(_) => {}
        Copied::Done(_) => {
            d.phase = phase::next(d.phase, Event::CopyDone)?;
            record(
                d,
                "copy",
                d.progress.copy_seconds,
                Some(d.progress.rows_copied),
                Some(d.progress.copier.clone()),
            )?;
        }
        Copied::Again => {
            d.phase = phase::next(d.phase, Event::CopyAgain)?;
            let why = "the table was rewritten (VACUUM FULL, CLUSTER, TRUNCATE …)".to_owned();
            record(d, "copy again", began.elapsed().as_secs_f64(), None, Some(why))?;
        }
    }
    Ok(())
}

/// Purge, indexes, ANALYZE, first sync. True when blue is in step.
fn index_batch(d: &mut Deployment, settings: &Settings, began: Instant) -> Result<bool> {
    if !d.progress.purged {
        let (done, count) = purge::step(d, settings)?;
        let count = i64::try_from(count).ok();
        if done || count != Some(0) {
            record(d, "purge", began.elapsed().as_secs_f64(), count, None)?;
        }
        return Ok(false);
    }
    if let Some(what) = index::step(d, settings)? {
        record(d, &what, began.elapsed().as_secs_f64(), None, None)?;
        return Ok(false);
    }
    if !d.progress.dependents_made {
        dependents::take_along(d, settings)?;
        record(d, "dependents", began.elapsed().as_secs_f64(), None, None)?;
        return Ok(false);
    }
    let round = sync::step(d, settings)?;
    if !round.in_step {
        return Ok(false);
    }
    if let Some(name) = dependents::refresh(d)? {
        record(d, "refresh", began.elapsed().as_secs_f64(), None, Some(name))?;
        return Ok(false);
    }
    d.phase = phase::next(d.phase, Event::InStep)?;
    note_synced(d, &Batch { in_step: true, worked: true });
    record(d, "first sync complete", began.elapsed().as_secs_f64(), Some(round.read), None)?;
    Ok(true)
}

fn record(
    d: &Deployment,
    name: &str,
    seconds: f64,
    count: Option<i64>,
    detail: Option<String>,
) -> Result<()> {
    store::record(d, &store::Step { name, seconds, count, detail, error: None })
}

/// As many batches as fit in `time`, in the caller's transaction.
pub fn backfill(id: i64, settings: &Settings, time: std::time::Duration) -> Result<Phase> {
    let until = Instant::now() + time;
    let mut d = begin(id)?;
    loop {
        let batch = xact::with_memory(|| next(&mut d, settings))?;
        let idle = batch.in_step && matches!(d.phase, Phase::Ready | Phase::Swapped);
        if idle || !d.phase.is_open() || Instant::now() >= until {
            return Ok(d.phase);
        }
        xact::check_for_interrupts();
    }
}
