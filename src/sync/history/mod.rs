//! The last drain keeps history: what it brings to blue is seen by each snapshot as green's rows are.
//!
//! It runs in the swap's own transaction, which older snapshots do not see. Brought in as by any other
//! round, the last changes would be missing for a transaction that began after the last committed sync and
//! reads the table after the swap, without an error. So, for the keys of the batch:
//!
//! 1. The batch is applied as always, but rows are deleted and inserted, never updated: the versions of a
//!    row in blue are independent of each other.
//! 2. All versions that green has under these keys are read, as their key's index still has them.
//! 3. The earlier ones are written to blue beside the present one.
//! 4. At last each row of blue is given the transactions that made and ended its version in green
//!    ([`crate::pg::stamp`]), and what blue had before under these keys is seen by nobody any more.
//!
//! The caller's own changes have no number that others know: their rows stay as they were written, by
//! our transaction, and what they replaced is ended by it. A key that nobody else has changed is left alone.
//!
//! A try of a swap that is rolled back leaves what was stamped. It is what green has, so that it does no
//! harm; the next round finds it under the same keys of the log and replaces it.
//!
//! Invariant: nothing is stamped before all else of the batch has succeeded.
//! Locks: ACCESS EXCLUSIVE on both tables, so that every transaction that wrote to green has ended.

mod keys;
mod round;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::ddl::rows::Rows;
use crate::error::Result;
use crate::failpoint;
use crate::model::deployment::Deployment;
use crate::pg::log::Place;
use crate::pg::stamp::{self, Stamp};
use crate::pg::versions::{Begun, Ended, Xid, is_ours};
use crate::pg::xact::{self, Caught};
use crate::sync::apply::Failed;
use crate::sync::batch::{Batch, Item};
use round::Round;

pub use keys::with_rows_there;

/// What is left to do when everything else of a batch is done.
#[derive(Default)]
pub struct History {
    blue: u32,
    toast: u32,
    /// Rows that are there in other versions, and the first of the keys that belong together with theirs.
    replaced: Vec<(usize, Place)>,
    /// Rows of the batch that came to nothing.
    left_over: Vec<Place>,
    /// Rows of the batch, likewise.
    written: Vec<(usize, Row)>,
    /// The same beside the table.
    replaced_chunks: Vec<Place>,
    written_chunks: Vec<(Place, Stamp)>,
    /// The newest transaction, with its epoch, of which the history is not kept, because every snapshot of
    /// this server sees it: one of a standby may not. 0 for none.
    pub left_out: u64,
}

/// Writes the earlier versions of the rows of a batch that has been applied. `class` is the OID of
/// `bluegreen.deployment`.
pub fn keep(
    deployment: &Deployment,
    rows: &Rows<'_>,
    batch: &Batch,
    failed: &[Failed<'_>],
    class: u32,
) -> Result<History> {
    // A row that could not go where it went stays where it was.
    let failed: HashSet<usize> = failed
        .iter()
        .flat_map(|one| one.stays.into_iter().chain([one.item]))
        .map(|item| item.id)
        .collect();
    // What only our own transaction has changed is exact as it was written, and its log rows go with it.
    let others = batch.story().iter().filter(|(_, by)| !is_ours(*by));
    let by_others: HashSet<usize> =
        others.flat_map(|(event, _)| event.old.into_iter().chain([event.key])).collect();
    let items: Vec<&Item> = batch
        .items
        .iter()
        .filter(|item| by_others.contains(&item.id) && !failed.contains(&item.id))
        .collect();
    if items.is_empty() {
        return Ok(History::default());
    }
    let kept = |items: &[&Item]| {
        xact::subtransaction(|| {
            keys::with_mapped_keys(deployment, rows, items, |mapped| {
                Round::read(deployment, rows, batch, class, items, mapped)?.history(&failed)
            })
        })
    };
    match kept(&items) {
        Ok(history) => Ok(history),
        Err(caught) if caught.is_data_error() => {
            let items = keys::with_a_key_in_blue(deployment, rows, &items)?;
            kept(&items).or_else(Caught::raise)
        }
        Err(caught) => caught.raise(),
    }
}

impl History {
    /// Gives the rows their transactions. Nothing that can fail may come after it in the batch.
    pub fn stamp(&self) {
        let never = |place: &Place| (*place, Stamp::Never);
        // What lies beside a row before the row.
        stamp::stamp(self.toast, self.written_chunks.iter().copied());
        failpoint::reach("drain_chunks_stamped");
        stamp::stamp(self.blue, self.left_over.iter().map(never));
        let made = self.made();
        let (earlier, present): (Vec<_>, Vec<_>) =
            self.written.iter().partition(|(_, row)| matches!(row.ended, Ended::By(_)));
        stamp::stamp(self.blue, earlier.iter().map(|(_, row)| row.stamp(&made)));
        failpoint::reach("drain_earlier_stamped");
        // The old and the new row of a key at once, with those whose keys they have exchanged.
        let mut groups: BTreeMap<usize, Vec<(Place, Stamp)>> = BTreeMap::new();
        for (group, place) in &self.replaced {
            groups.entry(*group).or_default().push((*place, Stamp::Never));
        }
        for (group, row) in present {
            groups.entry(*group).or_default().push(row.stamp(&made));
        }
        let half = groups.len() / 2;
        let mut groups = groups.into_values();
        stamp::stamp_together(self.blue, groups.by_ref().take(half));
        failpoint::reach("drain_half_stamped");
        stamp::stamp_together(self.blue, groups);
        failpoint::reach("drain_rows_stamped");
        stamp::stamp(self.toast, self.replaced_chunks.iter().map(never));
    }

    /// Where the version is that a transaction made under a key.
    fn made(&self) -> HashMap<(usize, Xid), Place> {
        let mut made = HashMap::new();
        for (_, row) in &self.written {
            // A frozen one cannot be told to have followed.
            if let Begun::By(xid) = row.begun
                && !row.frozen
            {
                made.extend(row.keys.iter().map(|key| ((*key, xid), row.place)));
            }
        }
        made
    }

    fn add(&mut self, group: usize, row: Row, chunks: Vec<Place>) {
        let (_, stamp) = row.stamp(&HashMap::new());
        self.written_chunks.extend(chunks.into_iter().map(|place| (place, stamp)));
        self.written.push((group, row));
    }
}

/// A row of blue that stands for a version of green.
struct Row {
    place: Place,
    /// As in [`Found`].
    keys: Vec<usize>,
    begun: Begun,
    /// As in [`Stamp::Seen`].
    frozen: bool,
    ended: Ended,
    /// As in [`crate::pg::versions::Version`].
    changes_key: bool,
}

impl Row {
    /// Its stamp: an earlier version leads to the one that took its place under the same key.
    fn stamp(&self, made: &HashMap<(usize, Xid), Place>) -> (Place, Stamp) {
        let next = match self.ended {
            Ended::By(xid) => self.keys.iter().find_map(|key| made.get(&(*key, xid)).copied()),
            Ended::Ours | Ended::Never => None,
        };
        let Self { begun, frozen, ended, changes_key, .. } = *self;
        (self.place, Stamp::Seen { begun, frozen, ended, next, changes_key })
    }
}
