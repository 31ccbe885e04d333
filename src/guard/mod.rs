//! What every verb asks first: who calls, which deployment, is it as we left it, is it free.
//!
//! Every verb and every batch takes the deployment's lock for its transaction, reads the state again
//! under it, compares the fingerprints of both tables, does one thing, and writes the state in the
//! same transaction. So a verb can be repeated, a killed run resumed, and two runners never work on
//! one batch.

pub(crate) mod access;
pub(crate) mod fingerprint;
pub(crate) mod gone;
pub(crate) mod intrusion;
pub(crate) mod lock;
