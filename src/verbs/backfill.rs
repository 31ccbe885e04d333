//! bg_backfill: as many batches as fit in a time, in the caller's transaction.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::hold::Hold;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::clock;
use crate::pg::xact;
use crate::runner::begin;
use crate::runner::step::next;
use crate::runner::throttle::Throttle;
use crate::state::store;

/// As many batches as fit in `time`, in the caller's transaction. Ends at once where the throttle, or
/// a pause, would make it wait.
pub(crate) fn backfill(id: i64, settings: &Settings, time: Duration) -> Result<Phase> {
    let until = Instant::now() + time;
    let mut d = begin::begin(id)?;
    let mut throttle = Throttle::begin();
    d.progress.copy_mark = None;
    loop {
        if d.paused || !d.phase.is_open() {
            return Ok(d.phase);
        }
        let obstacle = throttle.obstacle(settings)?;
        // What a run waits for is for the run to say.
        if d.progress.runner.is_none() && d.progress.waiting.is_some() | obstacle.is_some() {
            d.progress.waiting = obstacle.as_ref().map(|o| (o.why.clone(), clock::now()));
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
