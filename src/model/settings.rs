//! The settings of a call, read once and passed down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Values of the `bluegreen.*` settings, with arguments of the call applied. Background workers get
/// those of the session that started them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// How long a batch of copy, purge or sync should take.
    pub batch_time: Duration,
    /// The longest a try for the swap's locks may wait.
    pub lock_timeout: Duration,
    /// How long tries are repeated.
    pub retry_for: Duration,
    /// The longest drain inside the swap's own transaction.
    pub max_final_drain: Duration,
    /// Wait for snapshots older than the last committed drain.
    pub wait_for_snapshots: bool,
    /// Let a run verify the copy before it swaps.
    pub verify_before_swap: bool,
    /// Leave rows that cannot be read out of the copy.
    pub skip_damaged_rows: bool,
    /// Allow a filled table to be prepared, copied and swapped in one transaction.
    pub allow_single_transaction: bool,
    /// What the blue schema's name adds to the source schema's.
    pub schema_suffix: String,
    /// Processes that copy at the same time, the session itself counted.
    pub copy_workers: u32,
    /// Vacuum and freeze the new table before its indexes are built.
    pub vacuum: bool,
    /// Rest after a batch, in multiples of the time that it took.
    pub nice: f64,
    /// The longest that a standby may be behind; zero is no limit.
    pub max_replica_lag: Duration,
    /// Standbys that count, by application_name; none means all.
    pub replicas: Vec<String>,
    /// Bytes of WAL that our own work may write in a second; 0 is no limit.
    pub max_wal_rate: i64,
    /// Bytes of WAL that a replication slot may keep; 0 is no limit.
    pub max_slot_lag: i64,
    /// Client sessions that may be active; 0 is no limit.
    pub max_active_backends: i64,
    /// Bytes that have to be free on each volume to which the work writes; 0 is no limit.
    pub min_free_space: i64,
    /// The caller's settings of the server that index builds, VACUUM and ANALYZE follow.
    pub maintenance: BTreeMap<String, String>,
}

/// How many parallel workers the build of one index may have.
pub(crate) const PARALLEL_MAINTENANCE: &str = "max_parallel_maintenance_workers";

impl Settings {
    /// How many parallel workers the build of one index may have.
    pub(crate) fn parallel_maintenance(&self) -> u32 {
        let value = self.maintenance.get(PARALLEL_MAINTENANCE);
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// Processes that build indexes at the same time, the session itself counted: those that copy, and
    /// in the place of one parallel worker of a build one that builds another index, which takes less
    /// work for each.
    pub(crate) fn index_builders(&self) -> u32 {
        self.copy_workers.max(1 + self.parallel_maintenance().min(1))
    }
}
