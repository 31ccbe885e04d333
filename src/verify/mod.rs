//! Verification: whether blue is what green's rows become through the mapping.
//!
//! Two passes in one, chunk by chunk of blocks. The first reads both tables side by side, in the order
//! of their blocks, and strikes out what is the same: what blue ought to have for a row of green, what
//! it has. The copy wrote blue in green's order, so nearly all rows meet their partner at once; the
//! others do by their hash (see `hash_diff`). The rows that have met none are looked at by their key,
//! green and blue under one snapshot; a key that waits in the log is no difference. So only the close
//! look has to see both sides at the same moment, and no snapshot outlives a chunk.
//!
//! A row of blue is struck out for one row of green, and under a looked at key it counts only for the row
//! of green that its own key leads back to. So each table's rows are counted against the other's, and two
//! rows that became one are found, though what blue has is right for both.
//!
//! Where the mapping takes columns as they are stored, green is read without the executor too.
//!
//! Left out: columns that only blue has, columns whose mapping is volatile, generated columns that
//! are computed anew, and keys in the log, misfits too.
//!
//! Invariants: what is held between chunks is bounded; a rewrite of either table begins the pass again.
//! Locks: ACCESS SHARE on both tables, until the transaction ends.

mod hash_diff;
mod recheck_by_key;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::catalog;
use crate::ddl::compare::{Compare, Types};
use crate::error::Result;
use crate::heap::receive;
use crate::heap::row::Row;
use crate::heap::scan;
use crate::heap::scan::Met;
use crate::heap::scan::Scan;
use crate::heap::toast_compare::ToastComparer;
use crate::ident::{Ident, QualifiedName};
use crate::model::difference::Difference;
use crate::model::member::Member;
use crate::oid::{BlockNumber, FileNode};
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::tid::Place;
use crate::pg::xact;
use crate::plan::batch;

use hash_diff::{HashDiff, Side, UnpairedRow};

/// Blocks of green in the first chunk; then the clock says, as long values may make any number too many.
const FIRST_BLOCKS: BlockNumber = 128;
/// Blocks in a chunk whose rows are computed, at most: where one cannot be, all are looked at by key.
const COMPUTED_BLOCKS: BlockNumber = 256;
/// Blocks in a chunk that is only read, at most.
const PLAIN_BLOCKS: BlockNumber = 2048;
/// Rows without a partner that are held, at most: some 50 MB.
const MAX_HELD: usize = 1_000_000;
/// Rows that are looked at closely at once.
const CLOSE_ROWS: usize = 2_000;
/// Differences after which it is clear that something is wrong.
pub(crate) const MAX_FOUND: usize = 100_000;

/// How far a verification is.
#[derive(Default)]
pub(crate) struct Pass {
    /// File numbers and sizes in blocks of green and blue when it began.
    tables: Option<[(FileNode, BlockNumber); 2]>,
    /// The next block of green.
    green_next: BlockNumber,
    /// The place in blue up to which it was read.
    blue_next: Place,
    /// Blocks of the next chunk.
    blocks: BlockNumber,
    hash_diff: HashDiff,
    /// Rows to look at closely.
    close: Vec<UnpairedRow>,
    /// Keys that were found: a row of green and one of blue may lead to the same.
    found: HashSet<String>,
    /// Their keys are put into the log.
    repair: bool,
}

impl Pass {
    /// A pass that puts the keys of what differs into the log, for sync to write again.
    pub(crate) fn repairing() -> Self {
        Self { repair: true, ..Self::default() }
    }

    /// The part of the blocks that is read, from 0 to 1.
    pub(crate) fn progress(&self) -> f64 {
        let Some(tables) = self.tables else { return 0.0 };
        let all: f64 = tables.iter().map(|(_, blocks)| f64::from(*blocks)).sum();
        let read = f64::from(self.green_next) + f64::from(self.blue_next.0);
        if all > 0.0 { (read / all).min(1.0) } else { 1.0 }
    }

    /// It has ended because there are too many differences to go on.
    pub(crate) fn is_cut(&self) -> bool {
        self.found.len() >= MAX_FOUND
    }

    /// Goes on for about `time`, in chunks; gives the differences to `found`. True when it is done.
    /// The caller holds no lock of the deployment, or commits.
    pub(crate) fn step(
        &mut self,
        member: &Member,
        time: Duration,
        mut found: impl FnMut(Vec<Difference>) -> Result<()>,
    ) -> Result<bool> {
        let began = Instant::now();
        let blue = member.blue_name();
        let types = self.begin(member)?;
        let compare = compare(member, &blue, &types);
        loop {
            let more = xact::with_memory(|| self.chunk(member, &compare, time / 4, &mut found))?;
            if !more || self.is_cut() {
                return Ok(true);
            }
            if began.elapsed() >= time {
                return Ok(false);
            }
            xact::check_for_interrupts();
        }
    }

    /// Locks both tables, and begins again where one was rewritten. Returns the types of what both store.
    fn begin(&mut self, member: &Member) -> Result<[Types; 2]> {
        let tables = [member.green(), member.blue()];
        tables.iter().for_each(|table| lock::relation(*table, Mode::AccessShare));
        let _us = Identity::extension()?;
        let mut seen = [(FileNode::INVALID, 0); 2];
        let mut types = [Vec::new(), Vec::new()];
        for (i, oid) in tables.into_iter().enumerate() {
            let table = catalog::existing_table(oid)?;
            seen[i] = (table.relfilenode, u32::try_from(catalog::blocks(oid)?).unwrap_or(u32::MAX));
            let stored = catalog::columns(oid)?.into_iter().filter(|c| !c.is_virtual());
            types[i] = stored.map(|c| (c.name, c.type_sql)).collect();
        }
        let same =
            |old: &[(FileNode, BlockNumber); 2]| old.iter().zip(&seen).all(|(a, b)| a.0 == b.0);
        if !self.tables.as_ref().is_some_and(same) {
            let (found, repair) = (std::mem::take(&mut self.found), self.repair);
            let (tables, blocks) = (Some(seen), FIRST_BLOCKS);
            *self = Self { tables, blocks, found, repair, ..Self::default() };
        }
        Ok(types)
    }

    /// The next chunk, of about `time`; false when there was nothing left to do.
    fn chunk(
        &mut self,
        member: &Member,
        compare: &Compare<'_>,
        time: Duration,
        found: &mut impl FnMut(Vec<Difference>) -> Result<()>,
    ) -> Result<bool> {
        let Some([(_, green), (_, blue)]) = self.tables else { return Ok(false) };
        if self.close.is_empty() {
            let read = self.green_next >= green && self.blue_next.0 >= blue;
            if read && self.hash_diff.held() == 0 {
                return Ok(false);
            }
            if read || self.hash_diff.held() > MAX_HELD {
                self.close = self.hash_diff.take();
                // Rows that lie together have keys that lie together.
                self.close.sort_unstable_by_key(|held| (held.side, held.place));
            }
        }
        if !self.close.is_empty() {
            let some = self.close.len().saturating_sub(CLOSE_ROWS);
            let rows = self.close.split_off(some);
            return self
                .look(found, recheck_by_key::at_places(member, compare, &rows, self.repair)?);
        }
        let began = Instant::now();
        if self.green_next >= green {
            self.read_tail(member, compare, blue)?;
            self.blocks = batch::next_size(self.blocks, began.elapsed(), time).min(PLAIN_BLOCKS);
            return Ok(true);
        }
        let plain = compare.taken_as_they_are();
        let most = if plain.is_some() { PLAIN_BLOCKS } else { COMPUTED_BLOCKS };
        let size = self.blocks.min(most);
        let range = (self.green_next, self.green_next.saturating_add(size).min(green));
        self.green_next = range.1;
        let read = match plain {
            Some(columns) => Ok(self.read_plain(member, compare, &columns, range, blue)?),
            None => xact::subtransaction(|| self.read(member, compare, range, blue)),
        };
        self.blocks = batch::next_size(size, began.elapsed(), time);
        match read {
            Ok(()) if compare.mapping.exact => Ok(true),
            Ok(()) => {
                self.look(found, recheck_by_key::strays(member, compare, range, self.repair)?)
            }
            // A row of green whose value cannot be computed: each key by itself. What was read of
            // blue stays read; what meets nobody is looked at by its key.
            Err(caught) if caught.may_be_a_rows() => {
                self.look(found, recheck_by_key::in_blocks(member, compare, range, self.repair)?)
            }
            Err(caught) => caught.raise(),
        }
    }

    fn look(
        &mut self,
        found: &mut impl FnMut(Vec<Difference>) -> Result<()>,
        mut differences: Vec<Difference>,
    ) -> Result<bool> {
        differences.retain(|difference| self.found.insert(difference.key.clone()));
        if !differences.is_empty() {
            found(differences)?;
        }
        Ok(true)
    }

    /// Strikes out what both tables have: green's blocks `range` against what comes next in blue.
    fn read(
        &mut self,
        member: &Member,
        compare: &Compare<'_>,
        (from, to): (BlockNumber, BlockNumber),
        blue_end: BlockNumber,
    ) -> Result<()> {
        let snapshot = Snapshot::now();
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let mut blue = self.rest_of_blue(member, compare, &snapshot, blue_end)?;
        let mut beside = ToastComparer::new(&snapshot);
        let count = compare.columns();
        receive::each(&compare.read_green(from, to), count, &snapshot, |green| {
            let place = green.place_in(count);
            while self.hash_diff.behind() == Some(Side::Blue) {
                self.blue_alone(&mut blue);
            }
            if self.hash_diff.behind() == Some(Side::Green) {
                beside.rest();
                self.hash_diff.alone(Side::Green, (green, place));
            } else {
                self.meet((green, place), blue.next_row(), &mut beside);
            }
        })
    }

    /// As [`Pass::read`], where green's `columns` are what blue ought to have.
    fn read_plain(
        &mut self,
        member: &Member,
        compare: &Compare<'_>,
        columns: &[Ident],
        (from, to): (BlockNumber, BlockNumber),
        blue_end: BlockNumber,
    ) -> Result<()> {
        let snapshot = Snapshot::now();
        let mut blue = self.rest_of_blue(member, compare, &snapshot, blue_end)?;
        let mut green = Scan::open(member.green(), columns, &snapshot, (from, 1), to)?;
        let mut beside = ToastComparer::new(&snapshot);
        let prefix = green.common_prefix(&blue);
        loop {
            match self.hash_diff.behind() {
                Some(Side::Blue) => xact::with_memory(|| self.blue_alone(&mut blue)),
                Some(Side::Green) => {
                    let Some(row) = green.next_row() else { break };
                    xact::with_memory(|| self.hash_diff.alone(Side::Green, (&row, row.place())));
                }
                None => {
                    let (met, count) = scan::side_by_side(&mut green, &mut blue, prefix);
                    self.hash_diff.same(count);
                    let partner = match met {
                        Met::LeftEnded if count > 0 => {
                            self.blue_next = after(blue.row().place());
                            break;
                        }
                        Met::LeftEnded => break,
                        Met::Unlike => Some(blue.row()),
                        Met::RightEnded => {
                            self.blue_next = (blue_end, 1);
                            None
                        }
                    };
                    let row = green.row();
                    let place = row.place();
                    xact::with_memory(|| self.meet((&row, place), partner, &mut beside));
                }
            }
        }
        Ok(())
    }

    /// A row of green beside what comes next in blue.
    fn meet(
        &mut self,
        green: (&Row<'_>, Place),
        blue: Option<Row<'_>>,
        beside: &mut ToastComparer<'_>,
    ) {
        match blue {
            Some(row) => {
                let place = row.place();
                self.blue_next = after(place);
                self.hash_diff.meet(green, (&row, place), beside);
            }
            None => self.hash_diff.alone(Side::Green, green),
        }
    }

    /// The next row of blue, without one of green.
    fn blue_alone(&mut self, blue: &mut Scan) {
        match blue.next_row() {
            Some(row) => {
                let place = row.place();
                self.blue_next = after(place);
                self.hash_diff.alone(Side::Blue, (&row, place));
            }
            None => self.hash_diff.caught_up(),
        }
    }

    /// Some blocks of blue when green is read.
    fn read_tail(
        &mut self,
        member: &Member,
        compare: &Compare<'_>,
        blue_end: BlockNumber,
    ) -> Result<()> {
        let snapshot = Snapshot::now();
        let to = self.blue_next.0.saturating_add(self.blocks).min(blue_end);
        let mut blue = self.rest_of_blue(member, compare, &snapshot, to)?;
        while let Some(row) = blue.next_row() {
            xact::with_memory(|| self.hash_diff.alone(Side::Blue, (&row, row.place())));
        }
        self.blue_next = (to, 1);
        Ok(())
    }

    fn rest_of_blue(
        &self,
        member: &Member,
        compare: &Compare<'_>,
        snapshot: &Snapshot,
        end: BlockNumber,
    ) -> Result<Scan> {
        let columns: Vec<_> = compare.compared().cloned().collect();
        Scan::open(member.blue(), &columns, snapshot, self.blue_next, end)
    }
}

/// The place behind a row.
fn after((block, line): Place) -> Place {
    (block, line + 1)
}

fn compare<'a>(
    member: &'a Member,
    blue: &'a QualifiedName,
    [green_types, blue_types]: &'a [Types; 2],
) -> Compare<'a> {
    Compare {
        mapping: member.mapping(),
        back: member.mapping_back(),
        green: &member.source,
        blue,
        blue_types,
        green_types,
        either_way: member.progress.swapped_once,
    }
}
