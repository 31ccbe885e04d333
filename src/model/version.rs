//! The form of what is stored.

use serde::{Deserialize, Serialize};

/// The form in which a plan and the progress are stored. 1 is that of 0.1.0, which wrote no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct StateVersion(pub u32);

impl StateVersion {
    /// That of 0.1.0.
    pub(crate) const FIRST: Self = Self(1);
    /// The one that is written now; later ones cannot be read.
    pub(crate) const CURRENT: Self = Self(2);

    /// Where no number stands.
    pub(crate) fn unnumbered() -> Self {
        Self::FIRST
    }
}

impl Default for StateVersion {
    fn default() -> Self {
        Self::CURRENT
    }
}
