//! What the server has to bear, as the throttle sees it.

use serde::Deserialize;

/// One look at the server.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ServerLoad {
    /// Position of the WAL, in bytes.
    pub position: i64,
    /// Standbys that are connected.
    pub replicas: Vec<Replica>,
    /// Replication slots.
    pub slots: Vec<Slot>,
    /// Client sessions that run a statement, without ours.
    pub active: i64,
}

/// A standby.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Replica {
    /// Its application_name.
    pub name: String,
    /// The position up to which it has replayed the WAL.
    pub replayed: i64,
    /// `replay_lag` in seconds; nothing when it has caught up, or has not said anything yet.
    pub lag: Option<f64>,
}

/// A replication slot.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Slot {
    /// Its name.
    pub name: String,
    /// Bytes of WAL that are kept for it.
    pub behind: i64,
}

/// A volume to which the work writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    /// The directory or tablespace on it.
    pub name: String,
    /// Bytes that are free.
    pub free: i64,
    /// Bytes that the copy of a table will need, about; 0 where nobody has asked.
    pub needed: i64,
}

/// What keeps the work from going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThrottleReason {
    /// What it is: the same as long as one waits for the same.
    pub what: String,
    /// The same in words for people, with numbers that change.
    pub why: String,
}
