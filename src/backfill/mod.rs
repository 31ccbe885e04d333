//! Backfill: bringing the rows that were there when capture began into blue.
//!
//! 1. copy: what was logged before is forgotten; then green's blocks, batch by batch, each in its own
//!    transaction, as that transaction's snapshot shows them. Blue has no index. A row may be copied twice
//!    (an update moved it to a later block) or be stale: then its key is in the log. Where most keys are,
//!    the copy begins anew.
//! 2. purge: every key that the log holds is deleted from blue. What is left was not touched since
//!    capture began, so no row is there twice, none is stale, no unique key is broken.
//! 3. index: recorded indexes and constraints, one a transaction; then ANALYZE.
//!
//! Several processes may copy and build indexes at the same time; see [`crate::state::chunks`].
//!
//! But for that the log is read, never consumed: sync does that.
//! Invariant: a step and its record in `progress` commit together, so each can be repeated.
//! Locks: ACCESS SHARE on green (copy), ROW EXCLUSIVE, SHARE or, for ADD CONSTRAINT, ACCESS
//! EXCLUSIVE on blue.

use pgrx::PgSqlErrorCode;

use crate::error::Error;
use crate::ident::QualifiedName;

pub(crate) mod anew;
pub(crate) mod copy;
pub(crate) mod index;
mod index_build_budget;
pub(crate) mod purge;
mod range;
pub(crate) mod sample;

/// A rule would make something else of what is written to blue. No row is at fault.
fn rewritten(blue: &QualifiedName) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION,
        format!("a rule on {} changes what is written to it", blue.plain()),
    )
    .hint("Drop the rule and CALL bg_run again: nothing is lost.")
}
