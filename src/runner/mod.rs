//! Runner: the steps of a deployment, each in a transaction of its own, by a session and its background
//! workers.

pub(crate) mod background;
pub(crate) mod begin;
pub(crate) mod dependents;
pub(crate) mod failure;
pub(crate) mod foretell;
pub(crate) mod session;
pub(crate) mod step;
pub(crate) mod throttle;
pub(crate) mod worker;
pub(crate) mod worker_pool;
