//! bg_backfill: as many batches as fit in a time, in the caller's transaction.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::hold::Hold;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::clock;
use crate::pg::xact;
use crate::runner::begin;
use crate::runner::failure;
use crate::runner::session;
use crate::runner::step::{Commit, next};
use crate::runner::throttle::Throttle;
use crate::state::store;

/// As many batches as fit in `time`, in the caller's transaction. Ends at once where the throttle, or
/// a pause, would make it wait. A failure is told to the deployment.
pub(crate) fn backfill(id: i64, settings: &Settings, time: Duration) -> Result<Phase> {
    xact::subtransaction(|| batches(id, settings, time)).or_else(|caught| {
        failure::tell(id, &caught.error);
        caught.raise()
    })
}

fn batches(id: i64, settings: &Settings, time: Duration) -> Result<Phase> {
    let until = Instant::now() + time;
    let mut d = begin::begin(id)?;
    session::forget_dead(&mut d)?;
    let mut throttle = Throttle::begin(id);
    d.members_mut().for_each(|member| member.progress.copy_mark = None);
    loop {
        if d.is_paused() || !d.is_open() {
            return Ok(d.phase());
        }
        let obstacle = if d.phase() < Phase::Ready {
            throttle.obstacle(settings)?
        } else {
            throttle.load(settings)?
        };
        let waiting = obstacle.as_ref().map(|o| (o.why.clone(), clock::now()));
        for member in d.members_mut() {
            // What a run waits for is for the run to say.
            let p = &mut member.progress;
            if p.runner.is_none() && p.waiting.is_some() | waiting.is_some() {
                p.waiting = waiting.clone();
                store::save(member)?;
            }
        }
        if obstacle.is_some() {
            return Ok(d.phase());
        }
        let batch = xact::with_memory(|| next(&mut d, settings, Hold::Alone, Commit::ByCaller))?;
        let idle = batch.in_step && matches!(d.phase(), Phase::Ready | Phase::Swapped);
        if idle || !d.is_open() || Instant::now() >= until {
            return Ok(d.phase());
        }
        xact::check_for_interrupts();
    }
}
