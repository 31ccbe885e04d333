//! A batch: log rows read under one snapshot, folded to what has to be done for each key.

use std::collections::{HashMap, HashSet};

use pgrx::pg_sys::Datum;

use crate::ddl;
use crate::error::Result;
use crate::model::key::Key;
use crate::model::member::Member;
use crate::model::zones::ScanWindow;
use crate::oid::TransactionId;
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::{self, Arg, Options, Rows};
use crate::pg::tid::{self, Place};
use crate::pg::transient_relation;
use crate::plan::event_fold::{self, Event, Operation, Origin};
use crate::state::change_log;
use crate::state::rejected_rows;
use crate::sync::log;

/// A key's values.
pub(super) type KeyValues = Vec<Option<Datum>>;

/// What has to be done for a key.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// What is under the key now: `g` nothing, `f` a new row, `s` the same row, `m` one that moved
    /// here from another key.
    pub kind: u8,
    /// The key.
    pub key: KeyValues,
    /// Its number among the batch's keys.
    pub id: usize,
    /// Where blue's row under this key goes: the key and its number; None throws it away.
    pub goes: Option<(usize, KeyValues)>,
}

impl Item {
    /// The number of the key that its row went to, if nothing has this one now.
    pub(super) fn left_for(&self) -> Option<usize> {
        let (to, _) = self.goes.as_ref().filter(|_| self.kind == b'g')?;
        (*to != self.id).then_some(*to)
    }
}

/// A batch. Its datums live as long as the statement that read them.
pub(super) struct Batch {
    /// One item a key.
    pub items: Vec<Item>,
    /// Log rows that are no misfits.
    pub events: i64,
    /// Rows of the log to delete when the batch is done: their physical places.
    places: Vec<Place>,
    /// Misfits that are tried again.
    pub misfits: Vec<Marked>,
    /// The events and their transactions, in their order.
    story: Vec<(Event, TransactionId)>,
    /// As in [`event_fold::fold`].
    there: HashSet<(usize, TransactionId)>,
    deferrable: bool,
}

/// A misfit's entry in the log.
pub(super) struct Marked {
    /// The misfit's number.
    pub id: i64,
    /// The number of its key.
    pub key: usize,
    /// The number of the key that blue still has its row under, if that is another one.
    pub old: Option<usize>,
    /// Where the entry is.
    pub place: Place,
}

impl Batch {
    fn new(story: Vec<(Event, TransactionId)>, values: &[KeyValues], deferrable: bool) -> Self {
        let mut batch = Self {
            items: Vec::new(),
            events: 0,
            places: Vec::new(),
            misfits: Vec::new(),
            story,
            there: HashSet::new(),
            deferrable,
        };
        batch.items = batch.folded(|key| values[key].clone());
        batch
    }

    /// One item a key, by what became of it.
    fn folded(&self, value: impl Fn(usize) -> KeyValues) -> Vec<Item> {
        let fates = event_fold::fold(&self.story, self.deferrable, &self.there);
        let goes: HashMap<usize, usize> = fates
            .iter()
            .filter_map(|(key, origin)| match origin {
                Origin::From(from) => Some((*from, *key)),
                Origin::Fresh | Origin::Gone => None,
            })
            .collect();
        let item = |(key, origin): (usize, Origin)| Item {
            kind: match origin {
                Origin::Gone => b'g',
                Origin::Fresh => b'f',
                Origin::From(from) if from == key => b's',
                Origin::From(_) => b'm',
            },
            key: value(key),
            id: key,
            goes: goes.get(&key).map(|to| (*to, value(*to))),
        };
        fates.into_iter().map(item).collect()
    }

    /// The key of some row has changed.
    pub(super) fn moves_rows(&self) -> bool {
        self.story.iter().any(|(event, _)| event.old.is_some())
    }

    /// The same where blue's rows under some keys are already what these transactions made of them.
    #[must_use]
    pub(super) fn with_rows_there(
        mut self,
        made_by: impl IntoIterator<Item = (usize, TransactionId)>,
    ) -> Self {
        let told: HashSet<(usize, TransactionId)> =
            self.story.iter().map(|(event, by)| (event.key, *by)).collect();
        self.there = made_by.into_iter().filter(|row| told.contains(row)).collect();
        if !self.there.is_empty() {
            let values: HashMap<usize, KeyValues> =
                self.items.iter().map(|item| (item.id, item.key.clone())).collect();
            self.items = self.folded(|key| values.get(&key).cloned().unwrap_or_default());
        }
        self
    }

    /// Where each version of a row comes from, by its key's number and the transaction that made it.
    pub(super) fn lineages(&self) -> HashMap<(usize, TransactionId), Origin> {
        event_fold::lineages(&self.story, self.deferrable, &self.there)
    }

    /// The events and their transactions, in their order.
    pub(super) fn story(&self) -> &[(Event, TransactionId)] {
        &self.story
    }
}

/// What is read of the log.
pub(super) struct Part {
    /// The first events, so many.
    pub limit: i64,
    /// Or those of a window.
    pub window: Option<ScanWindow>,
    /// At the end of the log, all misfits.
    pub all_misfits: bool,
}

/// Reads events that `snapshot` sees, and gives them, folded, to `work`.
pub(super) fn with_events<T>(
    member: &Member,
    snapshot: &Snapshot,
    part: Part,
    work: impl FnOnce(Batch) -> Result<T>,
) -> Result<T> {
    let Part { limit, window, all_misfits } = part;
    let key = &member.mapping().from_key;
    // Without misfits the log is read only once.
    let marked = rejected_rows::is_any(member.id)?;
    let us = Identity::extension()?;
    let sql = ddl::log::events(&member.log(), key.columns.len(), marked, window);
    spi::with_rows(
        &sql,
        &[Arg::Int(limit)],
        Options { snapshot: Some(snapshot), work: &[], ..Default::default() },
        |rows, _| {
            let batch = read(rows, key, limit, all_misfits && window.is_none());
            drop(us);
            work(batch)
        },
    )
}

struct Entry {
    place: Place,
    position: i64,
    by: TransactionId,
    operation: u8,
    key: usize,
    old: Option<usize>,
}

impl Entry {
    /// What it tells, and the transaction that does.
    fn told(&self) -> (Event, TransactionId) {
        let operation = match self.operation {
            b'I' => Operation::Insert,
            b'D' => Operation::Delete,
            _ => Operation::Update,
        };
        (Event { operation, key: self.key, old: self.old }, self.by)
    }
}

fn read(rows: &Rows, key: &Key, limit: i64, whole: bool) -> Batch {
    let columns = key.columns.len();
    let mut numbers: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut values: Vec<KeyValues> = Vec::new();
    let mut number = |row: usize, first: usize| {
        let key_values: KeyValues = (0..columns).map(|i| rows.datum(row, first + i)).collect();
        let mut image = Vec::new();
        for (value, column) in key_values.iter().zip(&key.columns) {
            if let Some(value) = value {
                let bytes = transient_relation::image(*value, column.type_oid);
                image.extend((bytes.len() as u64).to_le_bytes());
                image.extend(bytes);
            }
        }
        *numbers.entry(image).or_insert_with(|| {
            values.push(key_values);
            values.len() - 1
        })
    };
    let entries: Vec<Entry> = (0..rows.len())
        .map(|row| {
            let operation: i8 = rows.get(row, 4).unwrap_or(b'U' as i8);
            let has_old = rows.datum(row, 5 + columns).is_some();
            Entry {
                place: rows.datum(row, 1).map(tid::place).unwrap_or_default(),
                position: rows.get(row, 2).unwrap_or_default(),
                by: rows.datum(row, 3).map(|xid| xid.value() as u32).unwrap_or_default(),
                operation: operation as u8,
                key: number(row, 5),
                old: has_old.then(|| number(row, 5 + columns)),
            }
        })
        .collect();
    let count = entries.iter().filter(|e| e.operation != b'M').count() as i64;
    fold(entries, &values, key.deferrable, whole && count < limit)
}

/// Misfits come first, as updates of their rows: in the last batch of the log all of them, before
/// that only those whose keys the events touch.
fn fold(entries: Vec<Entry>, values: &[KeyValues], deferrable: bool, last: bool) -> Batch {
    let (marked, events): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.operation == b'M');
    let touched: HashSet<usize> =
        events.iter().flat_map(|e| e.old.into_iter().chain([e.key])).collect();
    let misfits: Vec<Entry> = marked
        .into_iter()
        .filter(|m| {
            last || touched.contains(&m.key) || m.old.is_some_and(|old| touched.contains(&old))
        })
        .collect();
    let told: Vec<(Event, TransactionId)> =
        misfits.iter().chain(&events).map(Entry::told).collect();
    Batch {
        events: events.len() as i64,
        places: events.into_iter().map(|e| e.place).collect(),
        misfits: misfits
            .into_iter()
            .map(|m| Marked { id: m.position, key: m.key, old: m.old, place: m.place })
            .collect(),
        ..Batch::new(told, values, deferrable)
    }
}

/// Deletes the log rows of the batch.
pub(super) fn consume(member: &Member, batch: &Batch) -> Result<()> {
    forget(member, &batch.places)
}

/// Deletes log rows by their places.
pub(super) fn forget(member: &Member, places: &[Place]) -> Result<()> {
    if places.is_empty() {
        return Ok(());
    }
    change_log::delete(log::oid(member)?, places);
    Ok(())
}
