//! One batch of a deployment: what its phase asks for next.

use std::time::Instant;

use crate::backfill::anew;
use crate::backfill::copy::{self, Copied};
use crate::backfill::index::{self, Built};
use crate::backfill::purge;
use crate::error::Result;
use crate::failpoint;
use crate::model::deployment::Deployment;
use crate::model::hold::Hold;
use crate::model::phase::{self, Event, Phase};
use crate::model::settings::Settings;
use crate::pg::clock;
use crate::pg::xact;
use crate::plan::anew::MOST_TIMES;
use crate::runner::dependents;
use crate::runner::session;
use crate::state::chunks;
use crate::state::store;
use crate::sync;

/// What a batch did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// Nothing is left to do in this phase: blue is in step with green.
    pub in_step: bool,
    /// It changed something.
    pub worked: bool,
    /// The remaining work needs the exclusive deployment lock.
    pub alone: bool,
    /// It was copy, purge or sync, after which the throttle may make one rest.
    pub throttled: bool,
}

impl Batch {
    /// A batch that changed something.
    const WORKED: Self = Self { in_step: false, worked: true, alone: false, throttled: true };
}

/// Does the next batch and writes the state; the caller commits.
pub(crate) fn next(d: &mut Deployment, settings: &Settings, hold: Hold) -> Result<Batch> {
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
        d.progress.synced_at = Some(clock::now());
    }
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
    let (mark, end) = (d.progress.copy_mark, clock::now());
    d.progress.copy_seconds +=
        mark.map_or_else(|| began.elapsed().as_secs_f64(), |mark| (end - mark).max(0.0));
    d.progress.copy_mark = Some(end);
    match copied {
        Copied::Batch => {}
        Copied::Others => batch.worked = false,
        Copied::Done if renews(d, settings, hold, began, &mut batch)? => {}
        Copied::Done => {
            chunks::forget(d.id)?;
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

/// True once only the replay of the log remains in this phase.
pub(crate) fn syncs(d: &Deployment) -> bool {
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
pub(crate) fn build_index(d: &Deployment, settings: &Settings) -> Result<bool> {
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
