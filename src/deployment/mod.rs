//! A deployment from prepare to finish: the stages in their order, persisted after each.
//!
//! Every verb and every batch takes the deployment's lock for its transaction, reads the state again
//! under it, compares the fingerprints of both tables, does one thing, and writes the state in the
//! same transaction. So a verb can be repeated, a killed run resumed, and two runners never work on
//! one batch.

pub mod batches;
pub mod check;
pub mod crew;
pub mod dependents;
pub mod elsewhere;
pub mod exchange;
pub mod finish;
pub mod gone;
pub mod guard;
pub mod intrusion;
pub mod kept;
pub mod prepare;
pub mod restored;
pub mod run;
pub mod session;
pub mod status;
pub mod store;
pub mod throttle;
pub mod update;
pub mod verify;
pub mod workers;
