//! Where the work on a member stands.

use serde::{Deserialize, Serialize};

use crate::model::dependent::ReplicaPair;
use crate::model::sample::Sample;
use crate::model::settings::Settings;
use crate::model::version::StateVersion;
use crate::model::zones::Zones;
use crate::oid::{BlockNumber, FileNode};

/// What a run's error was, besides its text in `last_error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// SQLSTATE.
    pub code: String,
    /// What the error asked for.
    pub hint: Option<String>,
}

/// Where the work stands. Written with every batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// The form in which it was written.
    #[serde(default = "StateVersion::unnumbered")]
    pub version: StateVersion,
    /// File number of green when the copy began; another one means that green was rewritten.
    pub relfilenode: FileNode,
    /// Blocks of green that are copied.
    pub copied_blocks: BlockNumber,
    /// The number of blocks to copy.
    pub end_block: BlockNumber,
    /// Blocks for which there are, or were, ranges to copy.
    pub laid_out: BlockNumber,
    /// Blocks of ranges that are complete and forgotten.
    pub folded_blocks: BlockNumber,
    /// Rows of those.
    pub folded_rows: i64,
    /// Blocks of the runner's next batch.
    pub batch_blocks: BlockNumber,
    /// How often the copy began again.
    pub restarts: u32,
    /// How often of those because most rows had changed meanwhile.
    pub renewals: u32,
    /// The next block of blue to purge.
    pub purge_next: BlockNumber,
    /// Blocks of blue of the next range to purge, 0 before the first.
    pub purge_blocks: BlockNumber,
    /// Rows that the purge has deleted.
    pub rows_purged: i64,
    /// Seconds spent purging.
    pub purge_seconds: f64,
    /// The purge is complete.
    pub purged: bool,
    /// The indexes to build are written down as pieces.
    pub indexes_laid_out: bool,
    /// Indexes built of those.
    pub indexes_made: u32,
    /// Indexes built, with their constraints.
    pub indexes_built: usize,
    /// Constraints that were NOT VALID are back.
    pub constraints_added: bool,
    /// What hangs on the table has its copies.
    pub dependents_made: bool,
    /// Views and functions with their copies.
    pub twins: Vec<ReplicaPair>,
    /// ANALYZE has run.
    pub analyzed: bool,
    /// Log rows that were brought in since.
    pub synced: i64,
    /// ANALYZE has run once more, after the first sync.
    pub analyzed_again: bool,
    /// Rows written by the copy.
    pub rows_copied: i64,
    /// Rows estimated when the copy began.
    pub rows_estimated: i64,
    /// What writes the rows of the copy: `multi-insert`, or `insert` and why.
    pub copier: String,
    /// Seconds spent copying.
    pub copy_seconds: f64,
    /// When the last batch of this run's copy ended (seconds since 1970).
    pub copy_mark: Option<f64>,
    /// Log rows of the next sync batch.
    pub sync_rows: i64,
    /// Where in a long log the events are.
    pub zones: Zones,
    /// The error that is in `last_error`, as long as one is.
    pub failed: Option<Failed>,
    /// Rounds of sync to come that do not try to keep history.
    pub plain_rounds: u32,
    /// Complete rounds of sync in a row that were not short.
    pub chased: u32,
    /// Log rows per millisecond of the last large enough sync.
    pub sync_rate: f64,
    /// The last transaction that wrote to blue: snapshots must be younger before the swap.
    pub drain_xid: u64,
    /// The last transaction in which a batch did something.
    pub work_xid: u64,
    /// When the last complete sync ended (seconds since 1970).
    pub synced_at: Option<f64>,
    /// Autovacuum of the shadow is as it was made.
    pub autovacuum_restored: bool,
    /// The backend that drives the deployment, and when it began.
    pub runner: Option<(i32, String)>,
    /// The runner's settings, for its workers.
    pub settings: Option<Settings>,
    /// What the runner waits for, and since when (seconds since 1970).
    pub waiting: Option<(String, f64)>,
    /// Blue was vacuumed and frozen after the copy.
    pub vacuumed: bool,
    /// The tables have swapped their roles at some time.
    pub swapped_once: bool,
    /// The transaction in which prepare ran.
    pub prepared_xid: u64,
    /// What was measured to foretell the end; None: nobody has tried yet.
    pub sample: Option<Sample>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_0_1_0_wrote_has_no_number() {
        let progress: Progress = serde_json::from_str("{\"rows_copied\": 7}").unwrap_or_default();

        assert_eq!((progress.version, progress.rows_copied), (StateVersion::FIRST, 7));
        assert_eq!(Progress::default().version, StateVersion::CURRENT);
    }
}
