//! A deployment as it is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{Dependents, Twin};
use crate::model::key::Key;
use crate::model::mapping::Mapping;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::model::zones::Zones;

/// The arguments of bg_prepare, to recognise the same call again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arguments {
    /// `changes`, verbatim.
    pub changes: String,
    /// `target` as it was called at prepare.
    pub target: Option<QualifiedName>,
    /// `forward`.
    pub forward: serde_json::Map<String, serde_json::Value>,
    /// `reverse`.
    pub reverse: serde_json::Map<String, serde_json::Value>,
    /// `key`.
    pub key: Option<Vec<String>>,
}

/// An index of the shadow, dropped for the copy and built again from the server's deparse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedIndex {
    /// Its name.
    pub name: Ident,
    /// `pg_get_indexdef`.
    pub definition: String,
    /// Its access method.
    #[serde(default)]
    pub method: String,
    /// Tablespace, when not the database's default.
    pub tablespace: Option<Ident>,
    /// The constraint it implements.
    pub constraint: Option<RecordedConstraint>,
    /// Its comment.
    pub comment: Option<String>,
    /// Statistics targets of its expression columns: (column number, target).
    #[serde(default)]
    pub statistics: Vec<(i16, i32)>,
    /// What its text means.
    #[serde(default)]
    pub meaning: Meaning,
}

/// What a recorded text means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meaning {
    /// The schemas that are searched when it is read, behind pg_catalog: those of operators that it
    /// does not name.
    #[serde(default)]
    pub path: Vec<Ident>,
    /// Its trees as they are written down.
    #[serde(default)]
    pub tree: Option<String>,
}

/// A constraint as PostgreSQL deparses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedConstraint {
    /// Its name.
    pub name: Ident,
    /// `c`, `p`, `u` or `x`.
    pub kind: String,
    /// `pg_get_constraintdef`.
    pub definition: String,
    /// DEFERRABLE.
    pub deferrable: bool,
    /// INITIALLY DEFERRED.
    pub deferred: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// What its text means; of a constraint with an index the index says it.
    #[serde(default)]
    pub meaning: Meaning,
}

/// Sequences of a column that both sides have. The live object stays with the live table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SequencePair {
    /// The column of the origin.
    pub origin_column: Ident,
    /// The column of the shadow.
    pub shadow_column: Ident,
    /// The origin's sequence at prepare: the live object, always.
    pub live: u32,
    /// The shadow's own sequence, if it has one.
    pub spare: Option<u32>,
    /// `i` identity or `a` serial, on the origin.
    pub origin_kind: char,
    /// The same on the shadow.
    pub shadow_kind: char,
    /// The options that belong to the shadow's column type, as `AS … MINVALUE …`; NULL if the same.
    pub shadow_options: Option<String>,
    /// The same for the origin.
    pub origin_options: Option<String>,
    /// Default of a hand-made target's column before it was pointed to the live sequence.
    pub given_default: Option<String>,
}

/// What prepare decided. Changed only when prepare is called again to bring blue up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Origin to shadow.
    pub forward: Mapping,
    /// Shadow to origin.
    pub reverse: Mapping,
    /// Indexes to build on the shadow.
    pub indexes: Vec<RecordedIndex>,
    /// Constraints that go on at the end, NOT VALID, as they were.
    pub not_valid: Vec<RecordedConstraint>,
    /// Columns that are the same on both sides: origin, shadow.
    pub pairs: Vec<(Ident, Ident)>,
    /// Schema and name of a hand-made target, to give it back.
    pub target: Option<QualifiedName>,
    /// Access rights of a hand-made target before it became blue: (attnum, 0 for the table; rights).
    pub given_rights: Vec<(i16, Option<String>)>,
    /// Sequences that the sides exchange.
    pub sequences: Vec<SequencePair>,
    /// `autovacuum_enabled` of the shadow before it was switched off, if it was set.
    pub autovacuum_enabled: Option<String>,
    /// Settings of prepare that expressions depend on.
    pub session: BTreeMap<String, String>,
    /// What hangs on the table and goes with it.
    #[serde(default)]
    pub dependents: Dependents,
    /// The properties that the shadow is to have when it is finished, part by part; NULL where an earlier
    /// version prepared it.
    #[serde(default)]
    pub meant: serde_json::Value,
}

/// Where the work stands. Written with every batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// File number of green when the copy began; another one means that green was rewritten.
    pub relfilenode: u32,
    /// Blocks of green that are copied.
    pub copied_blocks: u32,
    /// The number of blocks to copy.
    pub end_block: u32,
    /// Blocks for which there are, or were, ranges to copy.
    pub laid_out: u32,
    /// Blocks of ranges that are complete and forgotten.
    pub folded_blocks: u32,
    /// Rows of those.
    pub folded_rows: i64,
    /// Blocks of the runner's next batch.
    pub batch_blocks: u32,
    /// How often the copy began again.
    pub restarts: u32,
    /// How often of those because most rows had changed meanwhile.
    pub renewals: u32,
    /// The next block of blue to purge.
    pub purge_next: u32,
    /// Blocks of blue of the next range to purge, 0 before the first.
    pub purge_blocks: u32,
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
    pub twins: Vec<Twin>,
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
    /// The tables have exchanged their roles at some time.
    pub swapped_once: bool,
    /// The transaction in which prepare ran.
    pub prepared_xid: u64,
}

/// Which side is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// The table that was live at prepare.
    Origin,
    /// The table that prepare made.
    Shadow,
}

/// A deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deployment {
    /// Its number; names of logs and the crossing schema end in it.
    pub id: i64,
    /// Green's name.
    pub source: QualifiedName,
    /// The blue schema.
    pub blue_schema: Ident,
    /// OID of the origin.
    pub origin: u32,
    /// OID of the shadow.
    pub shadow: u32,
    /// OID of the owner.
    pub owner: u32,
    /// The phase.
    pub phase: Phase,
    /// Paused by the user.
    pub paused: bool,
    /// The arguments of prepare.
    pub arguments: Arguments,
    /// What prepare decided.
    pub plan: Plan,
    /// Where the work stands.
    pub progress: Progress,
    /// Definition of the origin at prepare, or since the last swap.
    pub fingerprint_origin: serde_json::Value,
    /// Definition of the shadow as we left it.
    pub fingerprint_shadow: serde_json::Value,
    /// The last error of a run.
    pub last_error: Option<String>,
    /// It came with a dump of another database. OIDs are those of what has the names here, 0 for
    /// nothing; those in the plan mean nothing.
    pub restored: bool,
}

impl Deployment {
    /// The side that is live.
    pub(crate) fn green_side(&self) -> Side {
        match self.phase {
            Phase::Swapped | Phase::Finished => Side::Shadow,
            Phase::Prepared | Phase::Copying | Phase::Indexing | Phase::Ready | Phase::Aborted => {
                Side::Origin
            }
        }
    }

    /// The side that is offline.
    pub(crate) fn blue_side(&self) -> Side {
        match self.green_side() {
            Side::Origin => Side::Shadow,
            Side::Shadow => Side::Origin,
        }
    }

    /// OID of the live table.
    pub(crate) fn green(&self) -> u32 {
        self.oid(self.green_side())
    }

    /// OID of the offline table.
    pub(crate) fn blue(&self) -> u32 {
        self.oid(self.blue_side())
    }

    /// OID of a side.
    pub(crate) fn oid(&self, side: Side) -> u32 {
        match side {
            Side::Origin => self.origin,
            Side::Shadow => self.shadow,
        }
    }

    /// Name of the offline table.
    pub(crate) fn blue_name(&self) -> QualifiedName {
        QualifiedName { schema: self.blue_schema.clone(), name: self.source.name.clone() }
    }

    /// The deployment's own schema, through which the swap crosses.
    pub(crate) fn crossing_schema(&self) -> Ident {
        Ident::new(format!("bluegreen_{}", self.id))
    }

    /// The mapping from green to blue as they are now.
    pub(crate) fn mapping(&self) -> &Mapping {
        match self.green_side() {
            Side::Origin => &self.plan.forward,
            Side::Shadow => &self.plan.reverse,
        }
    }

    /// The mapping from blue to green as they are now.
    pub(crate) fn mapping_back(&self) -> &Mapping {
        match self.green_side() {
            Side::Origin => &self.plan.reverse,
            Side::Shadow => &self.plan.forward,
        }
    }

    /// Both tables with the attribute numbers of the keys by which their rows are looked up, green first.
    pub(crate) fn keyed(&self) -> [(u32, Vec<i16>); 2] {
        let mapping = self.mapping();
        let of = |key: &Key| key.columns.iter().map(|column| column.attnum).collect();
        [(self.green(), of(&mapping.from_key)), (self.blue(), of(&mapping.to_key))]
    }

    /// The log that capture on `side` writes.
    pub(crate) fn log_of(&self, side: Side) -> QualifiedName {
        let direction = match side {
            Side::Origin => "forward",
            Side::Shadow => "reverse",
        };
        QualifiedName::new("bluegreen", format!("{direction}_{}", self.id))
    }

    /// The log that is being written.
    pub(crate) fn log(&self) -> QualifiedName {
        self.log_of(self.green_side())
    }
}
