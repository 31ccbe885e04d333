//! What became of each key: the events of a change log, folded.
//!
//! The row that blue has to show for a key is read from green again, so existence and mapped
//! columns never depend on this. What it decides is where the values of columns that only blue
//! has come from: they stay with their row through updates of the key, and a deletion followed by
//! a new row of the same key resets them.

use crate::oid::TransactionId;
use std::collections::{HashMap, HashSet, VecDeque};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A new row.
    Insert,
    /// Changed; its key too, if the event has an old one.
    Update,
    /// Gone.
    Delete,
}

/// An event on keys that are numbered by the caller: equal bytes, equal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    /// What happened.
    pub operation: Operation,
    /// The key.
    pub key: usize,
    /// The key before, where it differs.
    pub old: Option<usize>,
}

/// Where the row that has a key now comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Blue's row under this key, at the beginning of the batch.
    From(usize),
    /// A new row.
    Fresh,
    /// There is none.
    Gone,
}

/// The fate of each key that the events name, in the order of its first mention; with each event the
/// transaction that made it.
///
/// A row that comes to a key replaces what was there: it has gone before. Only a `deferrable` key may
/// be held by two rows for a while, in one statement; then an event means the one that came first.
///
/// `there` has keys under which blue's row already is what a transaction made of it: a try of a swap that
/// was rolled back has brought it there. The events up to that one have moved it already.
pub(crate) fn fold(
    events: &[(Event, TransactionId)],
    deferrable: bool,
    there: &HashSet<(usize, TransactionId)>,
) -> Vec<(usize, Origin)> {
    let mut story = Story { deferrable, ..Story::default() };
    for (event, by) in events {
        story.tell(event, there.contains(&(event.key, *by)));
    }
    story.order.iter().map(|key| (*key, story.last(*key).unwrap_or(Origin::Gone))).collect()
}

/// Where the row that has a key after each event comes from, by the key and the transaction of the event:
/// of several events of one transaction, after the last. `there` as for [`fold`].
pub(crate) fn lineages(
    events: &[(Event, TransactionId)],
    deferrable: bool,
    there: &HashSet<(usize, TransactionId)>,
) -> HashMap<(usize, TransactionId), Origin> {
    let mut story = Story { deferrable, ..Story::default() };
    let mut lineages = HashMap::new();
    for (event, by) in events {
        story.tell(event, there.contains(&(event.key, *by)));
        lineages.insert((event.key, *by), story.last(event.key).unwrap_or(Origin::Gone));
    }
    lineages
}

/// Who holds which key, after some events.
#[derive(Default)]
struct Story {
    deferrable: bool,
    order: Vec<usize>,
    held: HashMap<usize, VecDeque<Origin>>,
}

impl Story {
    fn tell(&mut self, event: &Event, is_there: bool) {
        self.move_rows(event);
        if is_there && self.last(event.key).is_some() {
            self.held.insert(event.key, VecDeque::from([Origin::From(event.key)]));
        }
    }

    fn move_rows(&mut self, event: &Event) {
        for key in event.old.into_iter().chain([event.key]) {
            self.held.entry(key).or_insert_with(|| {
                self.order.push(key);
                VecDeque::from([Origin::From(key)])
            });
        }
        let arrives = match (event.operation, event.old) {
            (Operation::Insert, _) => Origin::Fresh,
            (Operation::Update, None) => return,
            (Operation::Delete, _) => {
                self.held.entry(event.key).or_default().pop_front();
                return;
            }
            (Operation::Update, Some(old)) => {
                self.held.entry(old).or_default().pop_front().unwrap_or(Origin::Fresh)
            }
        };
        let rows = self.held.entry(event.key).or_default();
        if !self.deferrable {
            rows.clear();
        }
        rows.push_back(arrives);
    }

    fn last(&self, key: usize) -> Option<Origin> {
        self.held.get(&key).and_then(VecDeque::back).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(key: usize) -> Event {
        Event { operation: Operation::Insert, key, old: None }
    }
    fn update(key: usize) -> Event {
        Event { operation: Operation::Update, key, old: None }
    }
    fn rekey(old: usize, key: usize) -> Event {
        Event { operation: Operation::Update, key, old: Some(old) }
    }
    fn delete(key: usize) -> Event {
        Event { operation: Operation::Delete, key, old: None }
    }

    fn fold(events: &[Event], deferrable: bool) -> Vec<(usize, Origin)> {
        let told: Vec<_> = events.iter().map(|event| (*event, 10)).collect();
        super::fold(&told, deferrable, &HashSet::new())
    }

    #[test]
    fn a_row_that_is_there_already_is_not_moved_again() {
        let events = [(rekey(1, 2), 10), (rekey(2, 3), 11), (rekey(3, 4), 12)];

        let fate = super::fold(&events, false, &HashSet::from([(3, 11)]));

        assert_eq!(fate[2..], [(3, Origin::Gone), (4, Origin::From(3))]);
    }

    #[test]
    fn a_chain_of_key_updates_leads_back_to_the_first_key() {
        let fate = fold(&[rekey(1, 2), update(2), rekey(2, 3)], false);
        assert_eq!(fate, vec![(1, Origin::Gone), (2, Origin::Gone), (3, Origin::From(1))]);
    }

    #[test]
    fn a_deleted_and_inserted_row_is_fresh() {
        assert_eq!(fold(&[delete(5), insert(5)], false), vec![(5, Origin::Fresh)]);
        assert_eq!(fold(&[insert(5), delete(5)], false), vec![(5, Origin::Gone)]);
    }

    #[test]
    fn two_rows_that_exchange_keys_through_a_third_keep_their_origins() {
        let fate = fold(&[rekey(1, 9), rekey(2, 1), rekey(9, 2)], false);
        assert_eq!(fate, vec![(1, Origin::From(2)), (9, Origin::Gone), (2, Origin::From(1)),]);
    }

    #[test]
    fn rows_of_a_deferrable_key_may_change_places_at_once() {
        let fate = fold(&[rekey(1, 3), rekey(2, 2), rekey(3, 1)], true);
        assert_eq!(fate, vec![(1, Origin::From(3)), (3, Origin::From(1)), (2, Origin::From(2))]);
    }

    #[test]
    fn each_version_of_a_row_comes_from_where_the_row_was_before() {
        let events =
            [(rekey(1, 2), 10), (update(2), 11), (delete(2), 12), (insert(2), 13), (insert(7), 13)];

        let found = lineages(&events, false, &HashSet::new());

        assert_eq!(found[&(2, 10)], Origin::From(1));
        assert_eq!(found[&(2, 11)], Origin::From(1));
        assert_eq!(found[&(2, 12)], Origin::Gone);
        assert_eq!(found[&(2, 13)], Origin::Fresh);
        assert_eq!(found[&(7, 13)], Origin::Fresh);
    }

    #[test]
    fn an_update_alone_stays_where_it_is() {
        assert_eq!(fold(&[update(4), update(4)], false), vec![(4, Origin::From(4))]);
    }
}
