//! The settings of a call, read once and passed down.

use std::time::Duration;

/// Values of the `bluegreen.*` settings, with arguments of the call applied.
#[derive(Debug, Clone)]
pub struct Settings {
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
    /// Allow a filled table to be prepared, copied and swapped in one transaction.
    pub allow_single_transaction: bool,
    /// What the blue schema's name adds to the source schema's.
    pub schema_suffix: String,
}
