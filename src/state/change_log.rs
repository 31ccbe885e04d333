//! Change logs: the tables `bluegreen.forward_N` and `bluegreen.reverse_N`, and the markers of TRUNCATE.
//!
//! A row has (order, counter, operation, the key's columns, the old key's columns where it differs).
//!
//! Order: the WAL insert position when the event fired, then a counter. Two events on one row are
//! ordered by its row lock, and the first one's transaction wrote WAL (at least its commit) before
//! the second could begin, so positions grow along each row's history, on every backend.

use std::cell::Cell;

use pgrx::pg_sys::{Datum, Oid};

use crate::error::{Error, Result};
use crate::heap::append;
use crate::oid::RelationId;
use crate::pg::tid::Place;
use crate::pg::{syscache, wal};

/// A row of a change log.
pub(crate) struct Entry<'a> {
    /// `I`, `U`, `D`, or `M` for a misfit.
    pub operation: u8,
    /// WAL position, or the misfit's number.
    pub order: i64,
    /// The key's values.
    pub key: &'a [Option<Datum>],
    /// The key before it changed, or the key that blue still has a misfit's row under.
    pub old: Option<&'a [Option<Datum>]>,
}

thread_local! {
    static COUNTER: Cell<i32> = const { Cell::new(0) };
}

fn next_counter() -> i32 {
    COUNTER.with(|c| {
        // Within one WAL position the counter only has to grow; it may begin anywhere.
        let next = c.get().checked_add(1).unwrap_or(0);
        c.set(next);
        next
    })
}

/// The WAL position now, as the order of an entry.
pub(crate) fn order_now() -> i64 {
    wal::insert_position()
}

/// Appends an entry, whatever the current user may do; whether there is a log that can have it.
pub(crate) fn try_append(log: RelationId, entry: &Entry<'_>) -> bool {
    let columns = entry.key.len();
    let mut values = Vec::with_capacity(3 + 2 * columns);
    let mut nulls = Vec::with_capacity(3 + 2 * columns);
    values.push(Datum::from(entry.order));
    values.push(Datum::from(next_counter()));
    values.push(Datum::from(entry.operation as i8));
    nulls.extend([false; 3]);
    let mut add = |value: Option<Datum>| {
        values.push(value.unwrap_or(Datum::from(0)));
        nulls.push(value.is_none());
    };
    entry.key.iter().for_each(|value| add(*value));
    match entry.old {
        Some(old) => old.iter().for_each(|value| add(*value)),
        None => entry.key.iter().for_each(|_| add(None)),
    }
    append::append(log, values, nulls)
}

/// Appends an entry of our own.
pub(crate) fn append_entry(log: RelationId, entry: &Entry<'_>) -> Result<()> {
    if try_append(log, entry) {
        return Ok(());
    }
    Err(Error::state("the change log is gone, or not as it was made")
        .hint("Run SELECT bg_abort(table), after a swap bg_finish, and begin again."))
}

/// Deletes rows of a log.
pub(crate) fn delete(log: RelationId, places: &[Place]) {
    append::delete(log, places);
}

/// Writes that a table was truncated.
pub(crate) fn append_truncation(deployment: i64, relation: RelationId) {
    let Some(table) = syscache::relation(c"bluegreen", c"truncation") else { return };
    let relation = Oid::from(relation);
    let values = vec![Datum::from(deployment), Datum::from(relation), Datum::from(order_now())];
    append::append(table, values, vec![false; 3]);
}
