//! bg_verify, and the verification before the swap of bg_run.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;

use crate::error::{Error, Result, rows};
use crate::failpoint;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::model::deployment::Deployment;
use crate::model::difference::Difference;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::lock::{self, Mode};
use crate::runner::begin;
use crate::state::differences;
use crate::state::restored;
use crate::state::store;
use crate::swap;
use crate::sync;
use crate::verify::{MAX_FOUND, Pass};

/// Time between two checks for interrupts and progress notices.
const INTERRUPT_EVERY: Duration = Duration::from_secs(1);

/// Compares the tables in the caller's transaction, while others write, and writes what is right to
/// blue when asked to. What it found, and whether it gave up because that is too much.
///
/// The deployment's lock is held only for the repair: others go on syncing meanwhile. The tables'
/// locks keep them in their roles.
pub(crate) fn whole(
    found: Member,
    settings: &Settings,
    repair: bool,
) -> Result<(Vec<Difference>, bool)> {
    if found.restored {
        return Err(restored::refusal(&found));
    }
    lock_tables(&found)?;
    let member = store::load(found.id)?;
    if member.phase != found.phase || !matches!(member.phase, Phase::Ready | Phase::Swapped) {
        let message = format!(
            "bg_verify of {} needs the phase ready or swapped, not {}",
            member.source.plain(),
            member.phase
        );
        return Err(Error::state(message).hint("Let CALL bg_run(table) copy it first."));
    }
    fingerprint::check_definitions(&member)?;
    let mut pass = if repair { Pass::repairing() } else { Pass::default() };
    let mut all = Vec::new();
    while !pass.step(&member, INTERRUPT_EVERY, |found| {
        all.extend(found);
        Ok(())
    })? {}
    if repair && !all.is_empty() {
        let mut d = begin::begin(member.id)?;
        let member = d.first_mut();
        sync::drain(member, settings)?;
        store::save(member)?;
        differences::forget(member.id)?;
    }
    Ok((all, pass.is_cut()))
}

/// Keeps the tables in their roles. Waits no longer than others wait for the deployment's lock.
fn lock_tables(member: &Member) -> Result<()> {
    let locked = guard_lock::beside_others(member.id, || {
        lock::relations(member.green_relations(), Mode::AccessShare);
        lock::relations(member.blue_relations(), Mode::AccessShare);
        Ok(())
    });
    match locked {
        // The server's own: it has no hint.
        Err(error)
            if error.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE && error.hint.is_none() =>
        {
            let tables: Vec<_> = member.relations().collect();
            Err(swap::lock_error(
                &member.source.plain(),
                member.progress.drain_xid,
                &tables,
                &error,
            )?)
        }
        locked => locked,
    }
}

/// The verification of a run, in committed batches, one member after the other.
pub(crate) struct Verification {
    parts: Vec<Part>,
}

/// That of a member.
struct Part {
    pass: Pass,
    began: Instant,
    found: i64,
    done: bool,
}

impl Verification {
    /// Begins one; what the last one found is forgotten.
    pub(crate) fn begin(d: &Deployment) -> Result<Self> {
        for member in d.members() {
            differences::forget(member.id)?;
        }
        failpoint::reach("verify_begun");
        let part = |_| Part { pass: Pass::default(), began: Instant::now(), found: 0, done: false };
        Ok(Self { parts: d.members().map(part).collect() })
    }

    /// A line about how far it is.
    pub(crate) fn progress(&self) -> String {
        let shares: f64 = self.parts.iter().map(|part| part.pass.progress()).sum();
        format!("verifying: {:.0} %", shares * 100.0 / self.parts.len().max(1) as f64)
    }

    /// The next batch; true when it was the last. The caller commits.
    pub(crate) fn step(&mut self, d: &Deployment, settings: &Settings) -> Result<bool> {
        let next = d.members().zip(&mut self.parts).find(|(_, part)| !part.done);
        let Some((member, part)) = next else { return Ok(true) };
        part.step(member, settings)?;
        Ok(self.parts.iter().all(|part| part.done))
    }

    /// The refusal to swap what differs.
    pub(crate) fn verdict(&self, d: &Deployment) -> Result<()> {
        d.members().zip(&self.parts).try_for_each(|(member, part)| part.verdict(member))
    }
}

impl Part {
    fn step(&mut self, member: &Member, settings: &Settings) -> Result<()> {
        let count = &mut self.found;
        self.done = self.pass.step(member, settings.batch_time, |found| {
            *count += i64::try_from(found.len()).unwrap_or(i64::MAX);
            differences::add(member.id, &found)
        })?;
        if self.done {
            let step = store::Step {
                name: "verify",
                seconds: self.began.elapsed().as_secs_f64(),
                count: Some(self.found),
                detail: Some("rows that differ".to_owned()),
                error: None,
            };
            store::record(member, &step)?;
            failpoint::reach("verify_done");
        }
        Ok(())
    }

    fn verdict(&self, member: &Member) -> Result<()> {
        if self.found == 0 {
            return Ok(());
        }
        let least = if self.pass.is_cut() { "at least " } else { "" };
        Err(Error::state(format!(
            "the verification found a difference in {least}{} of {}",
            rows(self.found),
            member.source.plain()
        ))
        .detail(differences::describe(member.id)?)
        .hint("bg_differences() has their keys, SELECT * FROM bg_verify(table, repair => true) writes them again. SET bluegreen.verify_before_swap = off swaps without."))
    }
}

/// What is said when a verification gave up.
pub(crate) fn cut_notice() -> String {
    format!("stopped after {MAX_FOUND} differences: there may be more")
}
