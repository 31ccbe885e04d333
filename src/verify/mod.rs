//! Verification: whether blue is what green's rows become through the mapping.
//!
//! Two passes in one, chunk by chunk of blocks. The first reads both tables in the order of their blocks
//! and strikes out what is the same: a row of green gives a number of 64 bits for what blue ought to
//! have, a row of blue one for what it has. The copy wrote blue in green's order, so nearly all numbers
//! meet within a chunk. The rows whose number has met none are looked at by their key, green and blue
//! under one snapshot; a key that waits in the log is no difference. So only the close look has to
//! see both sides at the same moment, and no snapshot outlives a chunk.
//!
//! Left out: columns that only blue has, columns whose mapping is volatile, columns that the server
//! computes, and keys in the log, misfits too.
//!
//! Invariants: what is held between chunks is bounded; a rewrite of either table begins the pass again.
//! Locks: ACCESS SHARE on both tables, until the transaction ends.

mod closely;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use twox_hash::XxHash3_64;

use crate::catalog;
use crate::ddl::compare::{Compare, Types};
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::model::deployment::Deployment;
use crate::pg::lock::{self, Mode};
use crate::pg::log::Place;
use crate::pg::receive;
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::xact;

pub use closely::Difference;

/// Blocks of green in a chunk: its rows' numbers fit into a processor's cache.
const CHUNK_BLOCKS: u32 = 256;
/// Rows without a partner that are held, at most: some 16 MB.
const MOST_HELD: usize = 300_000;
/// Rows that are looked at closely at once.
const CLOSE_ROWS: usize = 2_000;
/// Differences after which it is clear that something is wrong.
pub const MOST_FOUND: usize = 100_000;

/// A row without a partner.
#[derive(Clone, Copy)]
struct Held {
    side: Half,
    place: Place,
}

/// The table of a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Half {
    Green,
    Blue,
}

/// The numbers are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// How far a verification is.
#[derive(Default)]
pub struct Pass {
    /// File numbers and sizes in blocks of green and blue when it began.
    tables: Option<[(u32, u32); 2]>,
    /// The next blocks of green and blue.
    next: [u32; 2],
    held: HashMap<u64, Held, BuildHasherDefault<AsItIs>>,
    /// Rows to look at closely.
    close: Vec<Held>,
    /// Keys that were found: a row of green and one of blue may lead to the same.
    found: HashSet<String>,
    /// Their keys are put into the log.
    repair: bool,
}

impl Pass {
    /// A pass that puts the keys of what differs into the log, for sync to write again.
    pub fn repairing() -> Self {
        Self { repair: true, ..Self::default() }
    }

    /// The part of the blocks that is read, from 0 to 1.
    pub fn progress(&self) -> f64 {
        let Some(tables) = self.tables else { return 0.0 };
        let all: f64 = tables.iter().map(|(_, blocks)| f64::from(*blocks)).sum();
        let read: f64 = self.next.iter().map(|next| f64::from(*next)).sum();
        if all > 0.0 { (read / all).min(1.0) } else { 1.0 }
    }

    /// It has ended because there are too many differences to go on.
    pub fn is_cut(&self) -> bool {
        self.found.len() >= MOST_FOUND
    }

    /// Goes on for about `time`, in chunks; gives the differences to `found`. True when it is done.
    /// The caller holds no lock of the deployment, or commits.
    pub fn step(
        &mut self,
        deployment: &Deployment,
        time: Duration,
        mut found: impl FnMut(Vec<Difference>) -> Result<()>,
    ) -> Result<bool> {
        let began = Instant::now();
        let blue = deployment.blue_name();
        let types = self.begin(deployment)?;
        let compare = compare(deployment, &blue, &types);
        loop {
            let more = xact::with_memory(|| self.chunk(deployment, &compare, &mut found))?;
            if !more || self.is_cut() {
                return Ok(true);
            }
            if began.elapsed() >= time {
                return Ok(false);
            }
            xact::check_for_interrupts();
        }
    }

    /// Locks both tables, and begins again where one was rewritten. Returns the types of both.
    fn begin(&mut self, deployment: &Deployment) -> Result<[Types; 2]> {
        let tables = [deployment.green(), deployment.blue()];
        tables.iter().for_each(|table| lock::relation(*table, Mode::AccessShare));
        let _us = Identity::extension()?;
        let mut seen = [(0, 0); 2];
        let mut types = [Vec::new(), Vec::new()];
        for (i, oid) in tables.into_iter().enumerate() {
            let table = catalog::existing_table(oid)?;
            seen[i] = (table.relfilenode, u32::try_from(table.blocks).unwrap_or(u32::MAX));
            types[i] = catalog::columns(oid)?.into_iter().map(|c| (c.name, c.type_sql)).collect();
        }
        let same = |old: &[(u32, u32); 2]| old.iter().zip(&seen).all(|(a, b)| a.0 == b.0);
        if !self.tables.as_ref().is_some_and(same) {
            let (found, repair) = (std::mem::take(&mut self.found), self.repair);
            *self = Self { tables: Some(seen), found, repair, ..Self::default() };
        }
        Ok(types)
    }

    /// The next chunk; false when there was nothing left to do.
    fn chunk(
        &mut self,
        deployment: &Deployment,
        compare: &Compare<'_>,
        found: &mut impl FnMut(Vec<Difference>) -> Result<()>,
    ) -> Result<bool> {
        let Some([(_, green), (_, blue)]) = self.tables else { return Ok(false) };
        if self.close.is_empty() {
            let read = self.next[0] >= green && self.next[1] >= blue;
            if read && self.held.is_empty() {
                return Ok(false);
            }
            if read || self.held.len() > MOST_HELD {
                self.close = self.held.drain().map(|(_, held)| held).collect();
                // Rows that lie together have keys that lie together.
                self.close.sort_unstable_by_key(|held| (held.side, held.place));
            }
        }
        if !self.close.is_empty() {
            let some = self.close.len().saturating_sub(CLOSE_ROWS);
            let rows = self.close.split_off(some);
            return self.look(found, closely::at_places(deployment, compare, &rows, self.repair)?);
        }
        let to = self.next[0].saturating_add(CHUNK_BLOCKS).min(green);
        // As far in blue as in green.
        let far = u64::from(blue) * u64::from(to) / u64::from(green.max(1));
        let blue_to = if to >= green { blue } else { u32::try_from(far).unwrap_or(blue) };
        // The tail of blue is read in chunks too.
        let blue_to = blue_to.min(self.next[1].saturating_add(CHUNK_BLOCKS * 8));
        let range = (self.next[0], to);
        let statements = [
            (Half::Green, compare.read_green(range.0, range.1)),
            (Half::Blue, compare.read_blue(self.next[1], blue_to)),
        ];
        let read = xact::subtransaction(|| self.read(deployment, compare, &statements));
        self.next = [to, blue_to];
        match read {
            Ok(()) => Ok(true),
            // A row of green whose value cannot be computed: each key by itself. Blue was not read yet.
            Err(caught) if caught.is_data_error() => {
                self.read(deployment, compare, &statements[1..])?;
                self.look(found, closely::in_blocks(deployment, compare, range, self.repair)?)
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

    /// Strikes out what both tables have in the blocks that the statements read.
    fn read(
        &mut self,
        deployment: &Deployment,
        compare: &Compare<'_>,
        statements: &[(Half, String)],
    ) -> Result<()> {
        let snapshot = Snapshot::now();
        let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
        let columns = compare.columns();
        let mut bytes = Vec::new();
        for (side, sql) in statements {
            let side = *side;
            receive::each(sql, &snapshot, |row| {
                bytes.clear();
                row.image(columns, &mut bytes);
                let number = XxHash3_64::oneshot(&bytes);
                match self.held.get(&number) {
                    Some(other) if other.side != side => {
                        self.held.remove(&number);
                    }
                    Some(_) => {}
                    None => {
                        let _ = self.held.insert(number, Held { side, place: row.place(columns) });
                    }
                }
            })?;
        }
        Ok(())
    }
}

fn compare<'a>(
    deployment: &'a Deployment,
    blue: &'a QualifiedName,
    [green_types, blue_types]: &'a [Types; 2],
) -> Compare<'a> {
    Compare {
        mapping: deployment.mapping(),
        back: deployment.mapping_back(),
        green: &deployment.source,
        blue,
        blue_types,
        green_types,
        either_way: deployment.progress.swapped_once,
    }
}
