//! One batch of a deployment: what its phase asks for next.

use std::time::Instant;

use crate::backfill::anew;
use crate::backfill::copy::{self, Copied};
use crate::backfill::index::{self, Built};
use crate::backfill::purge;
use crate::error::Result;
use crate::failpoint;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::phase::{self, Event, Phase};
use crate::model::settings::Settings;
use crate::pg::clock;
use crate::pg::xact;
use crate::plan::anew::MAX_TIMES;
use crate::runner::dependents;
use crate::runner::session;
use crate::state::chunks;
use crate::state::store::{self, LockedDeployment, LockedMember};
use crate::sync::{self, KeepHistory};

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
    /// What the batch of no member did.
    const NONE: Self = Self { in_step: true, worked: false, alone: false, throttled: false };

    /// Those of several members.
    fn and(self, other: Self) -> Self {
        Self {
            in_step: self.in_step && other.in_step,
            worked: self.worked || other.worked,
            alone: self.alone || other.alone,
            throttled: [self, other].iter().any(|batch| batch.throttled && batch.worked),
        }
    }
}

/// When the transaction of a batch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// With the batch: what it locks is locked for a moment.
    AtOnce,
    /// The same, and a swap is tried next.
    AtOnceBeforeSwap,
    /// When the caller of a function commits.
    ByCaller,
}

/// Does the next batch of each member and writes their states; the caller commits.
pub(crate) fn next(
    d: &mut LockedDeployment,
    settings: &Settings,
    hold: Hold,
    commit: Commit,
) -> Result<Batch> {
    let mut all = Batch::NONE;
    for member in d.members_mut() {
        all = all.and(next_of(member, settings, hold, commit)?);
    }
    Ok(all)
}

fn next_of(
    member: &mut LockedMember,
    settings: &Settings,
    hold: Hold,
    commit: Commit,
) -> Result<Batch> {
    let began = Instant::now();
    let mut batch = Batch::WORKED;
    // What several processes may do at the same time.
    let shared = member.phase == Phase::Copying
        || (member.phase == Phase::Indexing && member.progress.purged);
    if hold == Hold::Shared && !shared {
        return Ok(Batch { worked: false, alone: true, ..batch });
    }
    match member.phase {
        Phase::Prepared | Phase::Copying => batch = copy_batch(member, settings, hold, began)?,
        Phase::Indexing => batch = index_batch(member, settings, hold, began)?,
        Phase::Ready | Phase::Swapped => {
            let keep = match commit {
                Commit::AtOnce => KeepHistory::OfShort(guard_lock::lock_table()?),
                Commit::AtOnceBeforeSwap => KeepHistory::OfMost(guard_lock::lock_table()?),
                Commit::ByCaller => KeepHistory::Never,
            };
            let round = sync::step(member, settings, keep)?;
            batch.in_step = round.in_step;
            batch.worked = round.read > 0 || round.wrote;
            // Until it commits nobody could write: that is for the caller to say.
            if batch.in_step && commit != Commit::ByCaller {
                sync::shorten_log(member, settings, round.took)?;
            }
            note_synced(member, &batch);
            failpoint::reach("sync_done");
        }
        Phase::Finished | Phase::Aborted => {
            return Ok(Batch { in_step: true, worked: false, ..batch });
        }
    }
    if batch.worked {
        member.progress.work_xid = xact::current_xid();
    } else if matches!(member.phase, Phase::Copying | Phase::Indexing) {
        // Others are at work: asked again and again, this must leave nothing behind.
        return Ok(batch);
    }
    store::save(member)?;
    Ok(batch)
}

fn note_synced(member: &mut Member, batch: &Batch) {
    if batch.in_step {
        member.progress.synced_at = Some(clock::now());
    }
}

fn copy_batch(
    member: &mut Member,
    settings: &Settings,
    hold: Hold,
    began: Instant,
) -> Result<Batch> {
    if member.phase == Phase::Prepared {
        copy::begin(member, session::is_run_of_ours(member))?;
        member.phase = phase::next(member.phase, Event::CopyStarted)?;
        return Ok(Batch::WORKED);
    }
    let mut batch = Batch::WORKED;
    let copied = copy::step(member, settings, hold)?;
    // Rests between the batches count, pauses between runs do not.
    let (mark, end) = (member.progress.copy_mark, clock::now());
    member.progress.copy_seconds +=
        mark.map_or_else(|| began.elapsed().as_secs_f64(), |mark| (end - mark).max(0.0));
    member.progress.copy_mark = Some(end);
    match copied {
        Copied::Batch => {}
        Copied::Others => batch.worked = false,
        Copied::Done if renews(member, settings, hold, began, &mut batch)? => {}
        Copied::Done => {
            chunks::forget(member.id)?;
            member.phase = phase::next(member.phase, Event::CopyDone)?;
            let how = Some(member.progress.copier.clone());
            record(
                member,
                "copy",
                member.progress.copy_seconds,
                Some(member.progress.rows_copied),
                how,
            )?;
            failpoint::reach("copy_done");
        }
        Copied::Rewritten if hold == Hold::Shared => batch.alone = true,
        Copied::Rewritten => {
            copy::start_again(member, settings)?;
            member.phase = phase::next(member.phase, Event::CopyAgain)?;
            let why = "the table was rewritten (VACUUM FULL, CLUSTER, TRUNCATE …)".to_owned();
            xact::tell(&format!("the copy of {} begins again: {why}", member.source.plain()));
            record(member, "copy again", began.elapsed().as_secs_f64(), None, Some(why))?;
        }
    }
    Ok(batch)
}

/// Begins the copy anew where most rows have changed while it ran; whether it does, or has to be left to
/// who works alone.
fn renews(
    member: &mut Member,
    settings: &Settings,
    hold: Hold,
    began: Instant,
    batch: &mut Batch,
) -> Result<bool> {
    let Some(changed) = anew::many_changed(member)? else { return Ok(false) };
    let copied = member.progress.rows_copied;
    let what = format!("about {changed} rows changed while {copied} were copied");
    if member.progress.renewals >= MAX_TIMES {
        let detail = Some(format!("{what}, once more: they are brought in one by one"));
        record(member, "changed", began.elapsed().as_secs_f64(), Some(changed), detail)?;
        return Ok(false);
    }
    if hold == Hold::Shared {
        batch.alone = true;
        return Ok(true);
    }
    copy::start_again(member, settings)?;
    member.progress.renewals += 1;
    member.phase = phase::next(member.phase, Event::CopyAgain)?;
    let detail =
        Some(format!("{what}: the copy begins anew ({} of {MAX_TIMES})", member.progress.renewals));
    record(member, "copy again", began.elapsed().as_secs_f64(), Some(changed), detail)?;
    Ok(true)
}

/// True once only the replay of the log remains in this phase.
pub(crate) fn syncs(member: &Member) -> bool {
    match member.phase {
        Phase::Indexing => member.progress.dependents_made,
        Phase::Ready | Phase::Swapped => true,
        Phase::Prepared | Phase::Copying | Phase::Finished | Phase::Aborted => false,
    }
}

/// Purge, indexes, what hangs on the table, first sync.
fn index_batch(
    member: &mut LockedMember,
    settings: &Settings,
    hold: Hold,
    began: Instant,
) -> Result<Batch> {
    let built = Batch { throttled: false, ..Batch::WORKED };
    if !member.progress.purged {
        if purge::step(member, settings)? {
            index::lay_out(member)?;
            failpoint::reach("purge_done");
            record(
                member,
                "purge",
                member.progress.purge_seconds,
                Some(member.progress.rows_purged),
                None,
            )?;
        }
        return Ok(Batch::WORKED);
    }
    match index::step(member, settings, hold)? {
        Built::Done(what) => {
            record(member, &what, began.elapsed().as_secs_f64(), None, None)?;
            return Ok(built);
        }
        Built::Others => return Ok(Batch { worked: false, ..built }),
        Built::Alone => return Ok(Batch { worked: false, alone: true, ..built }),
        Built::Nothing => {}
    }
    if hold == Hold::Shared {
        return Ok(Batch { worked: false, alone: true, ..built });
    }
    if !member.progress.dependents_made {
        dependents::take_along(member, settings)?;
        record(member, "dependents", began.elapsed().as_secs_f64(), None, None)?;
        failpoint::reach("dependents_made");
        return Ok(built);
    }
    first_sync(member, settings, began)
}

/// Brings in what was written meanwhile, ANALYZE and the materialized views in between.
fn first_sync(member: &mut LockedMember, settings: &Settings, began: Instant) -> Result<Batch> {
    let built = Batch { throttled: false, ..Batch::WORKED };
    let round = sync::step(member, settings, KeepHistory::Never)?;
    failpoint::reach("first_sync_round");
    // As soon as the log was read to its end: writers are chased from there.
    if round.complete && index::analyze_again(member)? {
        record(member, "analyze", began.elapsed().as_secs_f64(), None, None)?;
        return Ok(built);
    }
    if !round.in_step {
        return Ok(Batch::WORKED);
    }
    if let Some(name) = dependents::refresh(member)? {
        record(member, "refresh", began.elapsed().as_secs_f64(), None, Some(name))?;
        failpoint::reach("dependents_refreshed");
        return Ok(built);
    }
    member.phase = phase::next(member.phase, Event::InStep)?;
    fingerprint::check_and_record_names(member)?;
    let batch = Batch { in_step: true, ..Batch::WORKED };
    note_synced(member, &batch);
    record(member, "first sync complete", began.elapsed().as_secs_f64(), Some(round.read), None)?;
    failpoint::reach("first_sync_done");
    Ok(batch)
}

/// Builds an index as a worker does, beside its runner; whether there was one to build.
pub(crate) fn build_index(member: &Member, settings: &Settings) -> Result<bool> {
    let began = Instant::now();
    match index::build(member, settings, Hold::Shared)? {
        Some(Ok(what)) => {
            let by = Some("by a background worker".to_owned());
            record(member, &what, began.elapsed().as_secs_f64(), None, by)?;
            Ok(true)
        }
        Some(Err(caught)) => caught.raise(),
        None => Ok(false),
    }
}

fn record(
    member: &Member,
    name: &str,
    seconds: f64,
    count: Option<i64>,
    detail: Option<String>,
) -> Result<()> {
    store::record(member, &store::Step { name, seconds, count, detail, error: None })
}
