//! What is left to do when everything else of a batch is done.

use std::collections::{BTreeMap, HashMap};

use crate::failpoint;
use crate::heap::stamp;
use crate::heap::stamp::Stamp;
use crate::heap::versions::Begun;
use crate::heap::versions::Ended;
use crate::heap::versions::Xid;
use crate::oid::RelationId;
use crate::pg::tid::Place;

/// What is left to do when everything else of a batch is done.
#[derive(Default)]
pub(crate) struct History {
    pub(super) blue: RelationId,
    pub(super) toast: RelationId,
    /// Rows that are there in other versions: the first of the keys that belong together with theirs, their
    /// place, and the number of who made them.
    pub(super) replaced: Vec<(usize, Place, Xid)>,
    /// Earlier rows under the same keys: nobody has to miss one who sees the row that is there.
    pub(super) ended_before: Vec<(Place, Xid)>,
    /// Rows of the batch that came to nothing.
    pub(super) left_over: Vec<Place>,
    /// Rows of the batch, likewise.
    pub(super) written: Vec<(usize, Row)>,
    /// The same beside the table.
    pub(super) replaced_chunks: Vec<Place>,
    pub(super) written_chunks: Vec<(Place, Stamp)>,
    /// The newest transaction, with its epoch, of which the history is not kept, because every snapshot of
    /// this server sees it: one of a standby may not. 0 for none.
    pub left_out: u64,
}

impl History {
    /// Gives the rows their transactions. Nothing that can fail may come after it in the batch.
    pub(crate) fn stamp(&self) {
        let never = |place: &Place| (*place, Stamp::Never(None));
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
        for (group, place, by) in &self.replaced {
            groups.entry(*group).or_default().push((*place, Stamp::Never(Some(*by))));
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
        // After them: the beginning of a HOT chain leads to the row that they have replaced.
        let ended_before = self.ended_before.iter();
        stamp::stamp(self.blue, ended_before.map(|(place, by)| (*place, Stamp::Never(Some(*by)))));
        stamp::stamp(self.toast, self.replaced_chunks.iter().map(never));
    }

    /// Where in blue a version of green is.
    fn made(&self) -> HashMap<Place, Place> {
        // A frozen one cannot be told to have followed.
        let known = |row: &&Row| matches!(row.begun, Begun::By(_)) && !row.frozen;
        let rows = self.written.iter().map(|(_, row)| row);
        rows.filter(known).map(|row| (row.of, row.place)).collect()
    }

    pub(super) fn add(&mut self, group: usize, row: Row, chunks: Vec<Place>) {
        let (_, stamp) = row.stamp(&HashMap::new());
        self.written_chunks.extend(chunks.into_iter().map(|place| (place, stamp)));
        self.written.push((group, row));
    }
}

/// A row of blue that stands for a version of green.
pub(super) struct Row {
    pub(super) place: Place,
    /// Where green has it.
    pub(super) of: Place,
    /// Where green has the version that took its place.
    pub(super) next: Option<Place>,
    pub(super) begun: Begun,
    /// As in [`Stamp::Seen`].
    pub(super) frozen: bool,
    pub(super) ended: Ended,
    /// As in [`crate::heap::versions::Version`].
    pub(super) changes_key: bool,
}

impl Row {
    /// Its stamp: an earlier version leads to the one that took its place.
    fn stamp(&self, made: &HashMap<Place, Place>) -> (Place, Stamp) {
        let next = self.next.and_then(|next| made.get(&next).copied());
        let Self { begun, frozen, ended, changes_key, .. } = *self;
        (self.place, Stamp::Seen { begun, frozen, ended, next, changes_key })
    }
}
