//! The two tables of a round, and when they are looked at.

use crate::ddl::rows::Rows;
use crate::model::member::Member;
use crate::pg::snapshot::Snapshot;

/// The two tables of a round.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) member: &'a Member,
    /// How rows go from one to the other.
    pub(super) rows: &'a Rows<'a>,
    /// What the round sees.
    pub(super) snapshot: &'a Snapshot,
}
