//! Shadow: making the offline copy, and taking a deployment away again.
//!
//! prepare: the shadow is made in the deployment's own schema with CREATE TABLE (LIKE … INCLUDING
//! ALL); what LIKE leaves out is added; its indexes and sequences get green's names; `changes` are
//! applied to the empty table by PostgreSQL itself, as the table's owner; then everything is read
//! back from the catalogs. It moves to the blue schema, its indexes are recorded and dropped.
//!
//! Invariants: nothing is edited as text that PostgreSQL can deparse; a failure leaves nothing
//! behind, because all of it is one transaction.
//! Locks: SHARE ROW EXCLUSIVE on green, held to the end of the caller's transaction.

pub(crate) mod create;
mod exact;
mod generated;
pub(crate) mod keep;
pub(crate) mod mapped;
pub(crate) mod mapping;
pub(crate) mod meaning;
pub(crate) mod obstacle;
pub(crate) mod remove;
pub(crate) mod schema;
pub(crate) mod sequences;
pub(crate) mod sift;
