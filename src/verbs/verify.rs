//! bg_verify, and the verification before the swap of bg_run.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::failpoint;
use crate::guard::fingerprint;
use crate::model::deployment::Deployment;
use crate::model::difference::Difference;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::lock::{self, Mode};
use crate::runner::begin;
use crate::state::differences;
use crate::state::restored;
use crate::state::store;
use crate::sync;
use crate::verify::{MOST_FOUND, Pass};

/// Time between two checks for interrupts and progress notices.
const PART: Duration = Duration::from_secs(1);

/// Compares the tables in the caller's transaction, while others write, and writes what is right to
/// blue when asked to. What it found, and whether it gave up because that is too much.
///
/// The deployment's lock is held only for the repair: others go on syncing meanwhile. The tables'
/// locks keep them in their roles.
pub(crate) fn whole(
    found: Deployment,
    settings: &Settings,
    repair: bool,
) -> Result<(Vec<Difference>, bool)> {
    if found.restored {
        return Err(restored::refusal(&found));
    }
    lock::relation(found.green(), Mode::AccessShare);
    lock::relation(found.blue(), Mode::AccessShare);
    let d = store::load(found.id)?;
    if d.phase != found.phase || !matches!(d.phase, Phase::Ready | Phase::Swapped) {
        let message = format!(
            "bg_verify of {} needs the phase ready or swapped, not {}",
            d.source.plain(),
            d.phase
        );
        return Err(Error::state(message).hint("Let CALL bg_run(table) copy it first."));
    }
    fingerprint::check_definitions(&d)?;
    let mut pass = if repair { Pass::repairing() } else { Pass::default() };
    let mut all = Vec::new();
    while !pass.step(&d, PART, |found| {
        all.extend(found);
        Ok(())
    })? {}
    if repair && !all.is_empty() {
        let mut d = begin::begin(d.id)?;
        sync::drain(&mut d, settings)?;
        store::save(&d)?;
        differences::forget(d.id)?;
    }
    Ok((all, pass.is_cut()))
}

/// The verification of a run, in committed batches.
pub(crate) struct Verification {
    pass: Pass,
    began: Instant,
    found: i64,
}

impl Verification {
    /// Begins one; what the last one found is forgotten.
    pub(crate) fn begin(d: &Deployment) -> Result<Self> {
        differences::forget(d.id)?;
        failpoint::reach("verify_begun");
        Ok(Self { pass: Pass::default(), began: Instant::now(), found: 0 })
    }

    /// A line about how far it is.
    pub(crate) fn progress(&self) -> String {
        format!("verifying: {:.0} %", self.pass.progress() * 100.0)
    }

    /// The next batch; true when it was the last. The caller commits.
    pub(crate) fn step(&mut self, d: &Deployment, settings: &Settings) -> Result<bool> {
        let count = &mut self.found;
        let done = self.pass.step(d, settings.batch_time, |found| {
            *count += i64::try_from(found.len()).unwrap_or(i64::MAX);
            differences::add(d.id, &found)
        })?;
        if done {
            let step = store::Step {
                name: "verify",
                seconds: self.began.elapsed().as_secs_f64(),
                count: Some(self.found),
                detail: Some("rows that differ".to_owned()),
                error: None,
            };
            store::record(d, &step)?;
            failpoint::reach("verify_done");
        }
        Ok(done)
    }

    /// The refusal to swap what differs.
    pub(crate) fn verdict(&self, d: &Deployment) -> Result<()> {
        if self.found == 0 {
            return Ok(());
        }
        let more = if self.pass.is_cut() { " or more" } else { "" };
        Err(Error::state(format!(
            "the verification found {}{more} rows of {} that differ from the new table",
            self.found,
            d.source.plain()
        ))
        .detail(differences::describe(d.id)?)
        .hint("The view bg_differences has their keys, SELECT * FROM bg_verify(table, repair => true) writes them again. SET bluegreen.verify_before_swap = off swaps without."))
    }
}

/// What is said when a verification gave up.
pub(crate) fn cut_notice() -> String {
    format!("stopped after {MOST_FOUND} differences: there may be more")
}
