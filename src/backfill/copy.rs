//! Copying green's blocks.

use std::time::Instant;

use crate::backfill::anew;
use crate::catalog;
use crate::ddl::rows::Rows;
use crate::ddl::table;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::heap::bulk;
use crate::heap::bulk::Inserted;
use crate::heap::bulk::Shared;
use crate::heap::generated;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::oid::{BlockNumber, FileNode, LineNumber};
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Options};
use crate::pg::xact;
use crate::plan::batch;
use crate::state::change_log::{self, Entry};
use crate::state::chunks;
use crate::state::chunks::Kind;

/// One past the largest possible offset number (pages of 32 kB): the upper bound of a TID range.
const LINES_END: LineNumber = 2048;
/// Blocks of the first batch.
const FIRST_BLOCKS: BlockNumber = 128;

/// What wrote the rows, for those who ask how fast it may be.
const MULTI_INSERT: &str = "multi-insert";

/// Runs INSERT … SELECT in bulk, or by the server's own INSERT where that has to do it. Returns the
/// number of rows and what wrote them.
fn write(member: &Member, sql: &str, shared: Shared) -> Result<(u64, Option<String>)> {
    Ok(match bulk::insert(sql, member.blue(), shared)? {
        Inserted::Rows(count) => (count, Some(MULTI_INSERT.to_owned())),
        Inserted::ByServer(why) => (spi::run(sql, &[])?, Some(format!("insert: {why}"))),
        Inserted::Rewritten => return Err(super::rewritten(&member.blue_name())),
    })
}

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
    let (count, written_by) = copy_range(member, range.next, to, shared)?;
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

fn copy_range(
    member: &Member,
    from: BlockNumber,
    to: BlockNumber,
    shared: Shared,
) -> Result<(u64, Option<String>)> {
    let blue = member.blue_name();
    let rows = Rows { mapping: member.mapping(), from: &member.source, to: &blue };
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    copy_blocks(member, &rows, from, to, shared)
}

/// Halves a range that fails on a row, down to the row.
fn copy_blocks(
    member: &Member,
    rows: &Rows<'_>,
    from: BlockNumber,
    to: BlockNumber,
    shared: Shared,
) -> Result<(u64, Option<String>)> {
    let stored = rows.mapping.stored();
    let sql = rows.copy(from, to);
    match generated::written(member.blue(), &stored, || write(member, &sql, shared)) {
        Ok(done) => Ok(done),
        Err(caught) if caught.is_data_error() => {
            if to - from > 1 {
                let middle = from + (to - from) / 2;
                let left = copy_blocks(member, rows, from, middle, shared)?;
                let right = copy_blocks(member, rows, middle, to, shared)?;
                Ok((left.0 + right.0, right.1.or(left.1)))
            } else {
                copy_lines(member, rows, from, (1, LINES_END), shared)
            }
        }
        Err(caught) if caught.is_undefined() || caught.is_damage() => {
            Err(first_failing(member, rows, (from, to), caught.error)?)
        }
        Err(caught) => caught.raise(),
    }
}

fn copy_lines(
    member: &Member,
    rows: &Rows<'_>,
    block: BlockNumber,
    (from, to): (LineNumber, LineNumber),
    shared: Shared,
) -> Result<(u64, Option<String>)> {
    let stored = rows.mapping.stored();
    let sql = rows.copy_lines(block, from, to);
    match generated::written(member.blue(), &stored, || write(member, &sql, shared)) {
        Ok(done) => Ok(done),
        Err(caught) if caught.is_data_error() => {
            if to - from > 1 {
                let middle = from + (to - from) / 2;
                let left = copy_lines(member, rows, block, (from, middle), shared)?;
                let right = copy_lines(member, rows, block, (middle, to), shared)?;
                Ok((left.0 + right.0, right.1.or(left.1)))
            } else {
                hand_to_sync(member, rows, block, from)?;
                Ok((0, None))
            }
        }
        Err(caught) if caught.is_undefined() || caught.is_damage() => {
            Err(first_failing(member, rows, (block, block.saturating_add(1)), caught.error)?)
        }
        Err(caught) => caught.raise(),
    }
}

/// The error that stops a copy, with the row that raises it: the first of the blocks. It is not handed to
/// sync: most rows may raise it, and what is missing is not theirs.
fn first_failing(
    member: &Member,
    rows: &Rows<'_>,
    (mut from, mut to): (BlockNumber, BlockNumber),
    mut error: Error,
) -> Result<Error> {
    let stored = rows.mapping.stored();
    let fails = |sql: &str| match generated::written(member.blue(), &stored, || {
        write(member, sql, None)
    }) {
        Ok(_) => Ok(None),
        Err(caught) if caught.is_undefined() || caught.is_damage() || caught.is_data_error() => {
            Ok(Some(caught.error))
        }
        Err(caught) => caught.raise(),
    };
    if fails(&rows.copy(from, from))?.is_some() {
        return Ok(error);
    }
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        match fails(&rows.copy(from, middle))? {
            Some(found) => (to, error) = (middle, found),
            None => from = middle,
        }
    }
    let (mut first, mut end) = (1, LINES_END);
    while end - first > 1 {
        let middle = first + (end - first) / 2;
        match fails(&rows.copy_lines(from, first, middle))? {
            Some(found) => (end, error) = (middle, found),
            None => first = middle,
        }
    }
    let sql = rows.describe_key_at(from, first);
    let key = xact::subtransaction(|| spi::one::<String>(&sql, &[])).ok().flatten();
    let green = member.source.plain();
    let place = match key {
        Some(key) => format!("The row of {green} with the key {key} raises it."),
        None => format!("Block {from} of {green} raises it."),
    };
    let detail = match error.detail.take() {
        Some(detail) => format!("{place} {detail}"),
        None => place,
    };
    let error = error.detail(detail);
    if error.hint.is_some() {
        return Ok(error);
    }
    Ok(error.hint(
        "Correct the row in the live table, or make what it calls for (a function may need ALTER FUNCTION … SET search_path), and CALL bg_run again: it goes on where it was.",
    ))
}

/// A row that cannot be written is put into the log: sync tries it, and records it as a misfit.
fn hand_to_sync(
    member: &Member,
    rows: &Rows<'_>,
    block: BlockNumber,
    line: LineNumber,
) -> Result<()> {
    let log = {
        let _us = Identity::extension()?;
        catalog::relation_oid(&member.log())?.ok_or_else(|| {
            Error::state("the change log of the deployment does not exist")
                .hint("Writes may be lost to the copy: run SELECT bg_abort(table) and begin again.")
        })?
    };
    let columns = member.mapping().from_key.columns.len();
    spi::with_rows(&rows.key_at(block, line), &[], Options::default(), |found, _| {
        for row in 0..found.len() {
            let key: Vec<_> = (1..=columns).map(|c| found.datum(row, c)).collect();
            let order = change_log::order_now();
            change_log::append_entry(log, &Entry { operation: b'U', order, key: &key, old: None })?;
        }
        Ok(())
    })
}
