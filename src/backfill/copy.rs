//! Copying green's blocks.

use std::time::Instant;

use crate::backfill::{anew, range};
use crate::catalog;
use crate::ddl::table;
use crate::error::Result;
use crate::failpoint;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::oid::{BlockNumber, FileNode};
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::spi;
use crate::pg::xact;
use crate::plan::batch;
use crate::state::chunks;
use crate::state::chunks::Kind;
use crate::state::rejected_rows;

/// Blocks of the first batch: its end is the first that is known of the pace, and values beside the table may make
/// one of its blocks a hundred.
const FIRST_BLOCKS: BlockNumber = 32;

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    /// A part of a range; there may be more.
    Batch,
    /// Nothing: other processes are at work on all that is left.
    Others,
    /// Nothing: every range is complete.
    Done,
    /// Nothing: green was rewritten, the copy has to begin again.
    Rewritten,
}

/// Begins the copy; `soon` says that the caller commits at once. Copies nothing yet.
pub(crate) fn begin(member: &mut Member, soon: bool) -> Result<()> {
    lock::relations(member.green_relations(), Mode::AccessShare);
    anew::forget_changes(member, soon)?;
    let (table, blocks) = {
        let _us = Identity::extension()?;
        (catalog::existing_table(member.green())?, catalog::blocks(member.green())?)
    };
    chunks::forget(member.id)?;
    let progress = &mut member.progress;
    progress.relfilenode = table.relfilenode;
    progress.end_block = u32::try_from(blocks).unwrap_or(u32::MAX);
    progress.batch_blocks = FIRST_BLOCKS;
    progress.rows_estimated = table.row_estimate;
    failpoint::reach("copy_begun");
    Ok(())
}

/// Copies the next batch and notes in `progress` how far the copy is. The caller holds the
/// deployment's lock and commits.
pub(crate) fn step(member: &mut Member, settings: &Settings, hold: Hold) -> Result<Copied> {
    lock::relations(member.green_relations(), Mode::AccessShare);
    lay_out(member, settings)?;
    let mut size = member.progress.batch_blocks;
    let mut copier = None;
    let copied = batch(member, settings, hold, &mut size, &mut copier)?;
    let totals = chunks::totals(member.id, Kind::Blocks)?;
    let progress = &mut member.progress;
    progress.batch_blocks = size;
    progress.copied_blocks = progress.folded_blocks + totals.done;
    progress.rows_copied = progress.folded_rows + totals.rows;
    progress.drain_xid = xact::current_xid();
    if let Some(copier) = copier {
        progress.copier = copier;
    }
    let complete = totals.complete && progress.laid_out >= progress.end_block;
    Ok(if copied == Copied::Others && complete { Copied::Done } else { copied })
}

/// Sees to it that there are ranges enough for everybody.
fn lay_out(member: &mut Member, settings: &Settings) -> Result<()> {
    let (id, progress) = (member.id, &mut member.progress);
    if progress.laid_out >= progress.end_block {
        return Ok(());
    }
    let (complete, open): (Vec<_>, Vec<_>) =
        chunks::ranges(id)?.into_iter().partition(|range| range.complete);
    for range in &complete {
        chunks::forget_range(id, range)?;
        progress.folded_blocks += range.blocks;
        progress.folded_rows += range.rows;
    }
    let left = (progress.laid_out, progress.end_block);
    let open = u32::try_from(open.len()).unwrap_or(u32::MAX);
    progress.laid_out = chunks::lay_out_blocks(id, left, settings.copy_workers, open)?;
    Ok(())
}

/// Copies a batch of the first range that nobody else is at work on. `size` is the number of blocks
/// of a batch, and follows the clock; `copier` says what wrote the rows.
///
/// Several processes may do it at the same time: it writes nothing but rows of blue and how far its
/// range is.
pub(crate) fn batch(
    member: &Member,
    settings: &Settings,
    hold: Hold,
    size: &mut BlockNumber,
    copier: &mut Option<String>,
) -> Result<Copied> {
    lock::relations(member.green_relations(), Mode::AccessShare);
    let table = {
        let _us = Identity::extension()?;
        catalog::existing_table(member.green())?
    };
    if member.progress.relfilenode != table.relfilenode {
        return Ok(Copied::Rewritten);
    }
    let Some(range) = chunks::take(member.id, Kind::Blocks)? else { return Ok(Copied::Others) };
    let to = range.next.saturating_add((*size).max(1)).min(range.end);
    let began = Instant::now();
    let shared = (hold == Hold::Shared).then_some(range.end - range.next);
    let (count, written_by) =
        range::copy(member, (range.next, to), shared, settings.skip_damaged_rows)?;
    failpoint::reach("copy_range");
    let took = began.elapsed();
    *copier = written_by;
    if to - range.next == *size {
        *size = batch::next_size(*size, took, settings.batch_time);
    }
    chunks::advance(member.id, Kind::Blocks, &range, to, count)?;
    failpoint::reach("copy_advanced");
    Ok(Copied::Batch)
}

/// Gives up what was copied: a rewrite of green (VACUUM FULL, CLUSTER, TRUNCATE) moved rows without any
/// trigger, or most rows have changed. The caller holds the deployment's lock alone.
pub(crate) fn start_again(member: &mut Member, settings: &Settings) -> Result<()> {
    empty_blue(member, settings)?;
    chunks::forget(member.id)?;
    rejected_rows::forget_damaged(member.id)?;
    let progress = &mut member.progress;
    progress.relfilenode = FileNode::INVALID;
    progress.laid_out = 0;
    progress.folded_blocks = 0;
    progress.folded_rows = 0;
    progress.copied_blocks = 0;
    progress.rows_copied = 0;
    progress.copy_seconds = 0.0;
    progress.restarts += 1;
    Ok(())
}

/// Empties blue, waiting for its readers only in short tries.
pub(crate) fn empty_blue(member: &Member, settings: &Settings) -> Result<()> {
    // As the owner: TRUNCATE fires triggers that the owner may have put on blue.
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    let blue = member.blue();
    let name = member.blue_name();
    let until = Instant::now() + settings.retry_for;
    let done = lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(blue, Mode::AccessExclusive)], limit)?;
        spi::run(&table::truncate(&name), &[])
    });
    match done {
        Ok(_) => Ok(()),
        Err(caught) => caught.raise(),
    }
}
