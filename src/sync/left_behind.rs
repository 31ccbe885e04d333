//! Rows that are left behind by a swap.

use crate::catalog::reference::Reference;
use crate::pg::tid::Place;
use crate::pg::transient_relation::Work;

/// What is left behind: its keys, in the terms of both tables.
pub(crate) struct Aside {
    /// The misfits' keys, numbered, with those that the other table has their rows under.
    pub(super) marked: Work,
    /// Their keys in the other table's terms.
    pub(super) now: Work,
    /// The keys that the other table has their rows under, in its terms.
    pub(super) before: Work,
    pub(super) candidates: Candidates,
}

/// Rows that referred to misfits before the swap.
pub(super) struct Candidates {
    /// Of other tables: the foreign key's child and columns, and places.
    pub(super) others: Vec<(Reference, Vec<Place>)>,
    /// Of the table itself: their keys in the terms of the one that goes live.
    pub(super) own: Work,
}
