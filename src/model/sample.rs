//! What was measured on a few of the rows that are copied first, to foretell what is done with all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A measurement. Whoever tried in vain has written one without rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sample {
    /// Rows on which the indexes were built.
    pub rows: i64,
    /// The indexes that could be built, by their names.
    pub indexes: BTreeMap<String, SampledIndex>,
    /// Blocks of green that were copied by then.
    pub copied_blocks: i64,
    /// Blocks that they became in blue, with those of its TOAST table.
    pub blue_blocks: i64,
}

/// An index on the sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SampledIndex {
    /// Seconds of its build, without those that the build of an empty one takes.
    pub seconds: f64,
    /// Those.
    pub empty: f64,
    /// Its bytes.
    pub bytes: i64,
}
