//! One batch of a deployment: what its phase asks for next.

use std::time::{Duration, Instant};

use crate::backfill::copy::{self, Copied};
use crate::backfill::index::{self, Built};
use crate::backfill::{anew, pieces, purge};
use crate::deployment::throttle::Throttle;
use crate::deployment::{dependents, guard, session, store};
use crate::error::Result;
use crate::failpoint;
use crate::model::deployment::Deployment;
use crate::model::phase::{self, Event, Phase};
use crate::model::settings::Settings;
use crate::pg::lock::Hold;
use crate::pg::xact;
use crate::plan::anew::MOST_TIMES;
use crate::sync;

/// How often the definitions are compared during the copy.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// What a batch did.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// Nothing is left to do in this phase: blue is in step with green.
    pub in_step: bool,
    /// It changed something.
    pub worked: bool,
    /// It left to be done what has to be done alone.
    pub alone: bool,
    /// It was copy, purge or sync, after which the throttle may make one rest.
    pub throttled: bool,
}

impl Batch {
    /// A batch that changed something.
    const WORKED: Self = Self { in_step: false, worked: true, alone: false, throttled: true };
}

/// Takes the deployment's lock, reads it again, checks both tables.
pub fn begin(id: i64) -> Result<Deployment> {
    begin_as(id, Hold::Alone, &mut Checked::default())
}

/// When a process that copies has last compared the tables' definitions.
#[derive(Debug, Default)]
pub struct Checked(Option<Instant>);

/// The same, with others who copy or alone. Batches of the copy compare the definitions about once a
/// second: it takes as long as the copy of a hundred blocks, and whatever comes after the copy
/// compares them again.
pub fn begin_as(id: i64, hold: Hold, checked: &mut Checked) -> Result<Deployment> {
    let deployment = guard::lock_as(id, hold)?;
    let lately = checked.0.is_some_and(|at| at.elapsed() < CHECK_EVERY);
    if deployment.phase.is_open() && !(lately && deployment.phase == Phase::Copying) {
        xact::looking(|| guard::check_definitions(&deployment))?;
        checked.0 = Some(Instant::now());
    }
    Ok(deployment)
}

/// Does the next batch and writes the state; the caller commits.
pub fn next(d: &mut Deployment, settings: &Settings, hold: Hold) -> Result<Batch> {
    let began = Instant::now();
    let mut batch = Batch::WORKED;
    // What several processes may do at the same time.
    let shared = d.phase == Phase::Copying || (d.phase == Phase::Indexing && d.progress.purged);
    if hold == Hold::Shared && !shared {
        return Ok(Batch { worked: false, alone: true, ..batch });
    }
    match d.phase {
        Phase::Prepared | Phase::Copying => batch = copy_batch(d, settings, hold, began)?,
        Phase::Indexing => batch = index_batch(d, settings, hold, began)?,
        Phase::Ready | Phase::Swapped => {
            let round = sync::step(d, settings)?;
            batch.in_step = round.in_step;
            batch.worked = round.read > 0 || round.wrote;
            if batch.in_step {
                sync::shorten_log(d, settings)?;
            }
            note_synced(d, &batch);
            failpoint::reach("sync_done");
        }
        Phase::Finished | Phase::Aborted => {
            return Ok(Batch { in_step: true, worked: false, ..batch });
        }
    }
    if batch.worked {
        d.progress.work_xid = xact::current_xid();
    } else if matches!(d.phase, Phase::Copying | Phase::Indexing) {
        // Others are at work: asked again and again, this must leave nothing behind.
        return Ok(batch);
    }
    store::save(d)?;
    Ok(batch)
}

fn note_synced(d: &mut Deployment, batch: &Batch) {
    if batch.in_step {
        d.progress.synced_at = Some(now());
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |time| time.as_secs_f64())
}

fn copy_batch(
    d: &mut Deployment,
    settings: &Settings,
    hold: Hold,
    began: Instant,
) -> Result<Batch> {
    if d.phase == Phase::Prepared {
        copy::begin(d, session::is_run_of_ours(d))?;
        d.phase = phase::next(d.phase, Event::CopyStarted)?;
        return Ok(Batch::WORKED);
    }
    let mut batch = Batch::WORKED;
    let copied = copy::step(d, settings, hold)?;
    // Rests between the batches count, pauses between runs do not.
    let (mark, end) = (d.progress.copy_mark, now());
    d.progress.copy_seconds +=
        mark.map_or_else(|| began.elapsed().as_secs_f64(), |mark| (end - mark).max(0.0));
    d.progress.copy_mark = Some(end);
    match copied {
        Copied::Batch => {}
        Copied::Others => batch.worked = false,
        Copied::Done if renews(d, settings, hold, began, &mut batch)? => {}
        Copied::Done => {
            pieces::forget(d.id)?;
            d.phase = phase::next(d.phase, Event::CopyDone)?;
            let how = Some(d.progress.copier.clone());
            record(d, "copy", d.progress.copy_seconds, Some(d.progress.rows_copied), how)?;
            failpoint::reach("copy_done");
        }
        Copied::Rewritten if hold == Hold::Shared => batch.alone = true,
        Copied::Rewritten => {
            copy::start_again(d, settings)?;
            d.phase = phase::next(d.phase, Event::CopyAgain)?;
            let why = "the table was rewritten (VACUUM FULL, CLUSTER, TRUNCATE …)".to_owned();
            record(d, "copy again", began.elapsed().as_secs_f64(), None, Some(why))?;
        }
    }
    Ok(batch)
}

/// Begins the copy anew where most rows have changed while it ran; whether it does, or has to be left to
/// who works alone.
fn renews(
    d: &mut Deployment,
    settings: &Settings,
    hold: Hold,
    began: Instant,
    batch: &mut Batch,
) -> Result<bool> {
    let Some(changed) = anew::many_changed(d)? else { return Ok(false) };
    let copied = d.progress.rows_copied;
    let what = format!("about {changed} rows changed while {copied} were copied");
    if d.progress.renewals >= MOST_TIMES {
        let detail = Some(format!("{what}, once more: they are brought in one by one"));
        record(d, "changed", began.elapsed().as_secs_f64(), Some(changed), detail)?;
        return Ok(false);
    }
    if hold == Hold::Shared {
        batch.alone = true;
        return Ok(true);
    }
    copy::start_again(d, settings)?;
    d.progress.renewals += 1;
    d.phase = phase::next(d.phase, Event::CopyAgain)?;
    let detail =
        Some(format!("{what}: the copy begins anew ({} of {MOST_TIMES})", d.progress.renewals));
    record(d, "copy again", began.elapsed().as_secs_f64(), Some(changed), detail)?;
    Ok(true)
}

/// Whether what is left to do is to bring changes in.
pub fn syncs(d: &Deployment) -> bool {
    match d.phase {
        Phase::Indexing => d.progress.dependents_made,
        Phase::Ready | Phase::Swapped => true,
        Phase::Prepared | Phase::Copying | Phase::Finished | Phase::Aborted => false,
    }
}

/// Purge, indexes, ANALYZE, first sync.
fn index_batch(
    d: &mut Deployment,
    settings: &Settings,
    hold: Hold,
    began: Instant,
) -> Result<Batch> {
    let built = Batch { throttled: false, ..Batch::WORKED };
    if !d.progress.purged {
        if purge::step(d, settings)? {
            index::lay_out(d)?;
            failpoint::reach("purge_done");
            record(d, "purge", d.progress.purge_seconds, Some(d.progress.rows_purged), None)?;
        }
        return Ok(Batch::WORKED);
    }
    match index::step(d, settings, hold)? {
        Built::Done(what) => {
            record(d, &what, began.elapsed().as_secs_f64(), None, None)?;
            return Ok(built);
        }
        Built::Others => return Ok(Batch { worked: false, ..built }),
        Built::Alone => return Ok(Batch { worked: false, alone: true, ..built }),
        Built::Nothing => {}
    }
    if hold == Hold::Shared {
        return Ok(Batch { worked: false, alone: true, ..built });
    }
    if !d.progress.dependents_made {
        dependents::take_along(d, settings)?;
        record(d, "dependents", began.elapsed().as_secs_f64(), None, None)?;
        failpoint::reach("dependents_made");
        return Ok(built);
    }
    let round = sync::step(d, settings)?;
    failpoint::reach("first_sync_round");
    // As soon as the log was read to its end: writers are chased from there.
    if round.complete && index::analyze_again(d)? {
        record(d, "analyze", began.elapsed().as_secs_f64(), None, None)?;
        return Ok(built);
    }
    if !round.in_step {
        return Ok(Batch::WORKED);
    }
    if let Some(name) = dependents::refresh(d)? {
        record(d, "refresh", began.elapsed().as_secs_f64(), None, Some(name))?;
        failpoint::reach("dependents_refreshed");
        return Ok(built);
    }
    d.phase = phase::next(d.phase, Event::InStep)?;
    let batch = Batch { in_step: true, ..Batch::WORKED };
    note_synced(d, &batch);
    record(d, "first sync complete", began.elapsed().as_secs_f64(), Some(round.read), None)?;
    failpoint::reach("first_sync_done");
    Ok(batch)
}

/// Builds an index as a worker does, beside its runner; whether there was one to build.
pub fn build_index(d: &Deployment, settings: &Settings) -> Result<bool> {
    let began = Instant::now();
    match index::build(d, settings, Hold::Shared)? {
        Some(Ok(what)) => {
            let by = Some("by a background worker".to_owned());
            record(d, &what, began.elapsed().as_secs_f64(), None, by)?;
            Ok(true)
        }
        Some(Err(caught)) => caught.raise(),
        None => Ok(false),
    }
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

/// As many batches as fit in `time`, in the caller's transaction. Ends at once where the throttle, or
/// a pause, would make it wait.
pub fn backfill(id: i64, settings: &Settings, time: Duration) -> Result<Phase> {
    let until = Instant::now() + time;
    let mut d = begin(id)?;
    let mut throttle = Throttle::begin();
    d.progress.copy_mark = None;
    loop {
        if d.paused || !d.phase.is_open() {
            return Ok(d.phase);
        }
        let obstacle = throttle.obstacle(settings)?;
        // What a run waits for is for the run to say.
        if d.progress.runner.is_none() && d.progress.waiting.is_some() | obstacle.is_some() {
            d.progress.waiting = obstacle.as_ref().map(|o| (o.why.clone(), now()));
            store::save(&d)?;
        }
        if obstacle.is_some() {
            return Ok(d.phase);
        }
        let batch = xact::with_memory(|| next(&mut d, settings, Hold::Alone))?;
        let idle = batch.in_step && matches!(d.phase, Phase::Ready | Phase::Swapped);
        if idle || !d.phase.is_open() || Instant::now() >= until {
            return Ok(d.phase);
        }
        xact::check_for_interrupts();
    }
}
