//! The PostgreSQL major versions that the extension supports, and which one this process works with.

use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::debian;

/// The environment variable that names the major version. The commands set it for what they start, from
/// `--pg`; the test programs are built once for all versions, and told by it.
pub const VARIABLE: &str = "BLUEGREEN_PG";

/// What the command line has chosen.
static CHOSEN: OnceLock<Major> = OnceLock::new();

/// A supported major version of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Major {
    /// PostgreSQL 15, which Debian 12 has.
    #[value(name = "15")]
    V15,
    /// PostgreSQL 16.
    #[value(name = "16")]
    V16,
    /// PostgreSQL 17.
    #[value(name = "17")]
    V17,
    /// PostgreSQL 18.
    #[value(name = "18")]
    V18,
}

impl Major {
    /// Lets every [`super::Workspace`] of this process work with a version: for the command line, before
    /// any is looked for.
    pub fn choose(self) -> Result<()> {
        match CHOSEN.get_or_init(|| self) {
            chosen if *chosen == self => Ok(()),
            chosen => bail!("this process works with PostgreSQL {chosen} already"),
        }
    }

    /// The version that the command line or else [`VARIABLE`] names.
    pub fn asked_for() -> Result<Option<Self>> {
        if let Some(chosen) = CHOSEN.get() {
            return Ok(Some(*chosen));
        }
        match std::env::var(VARIABLE) {
            Ok(name) if !name.is_empty() => {
                Self::named(&name).map(Some).with_context(|| format!("reading {VARIABLE}"))
            }
            _ => Ok(None),
        }
    }

    /// The version that is taken where none is asked for: 15 where the machine's own Debian has it, else
    /// the newest.
    pub fn usual() -> Self {
        let has_15 = debian::release().is_some_and(|release| release == "bookworm");
        if has_15 { Self::V15 } else { Self::V18 }
    }

    /// The number, as it is in paths and package names.
    pub fn number(self) -> u32 {
        match self {
            Major::V15 => 15,
            Major::V16 => 16,
            Major::V17 => 17,
            Major::V18 => 18,
        }
    }

    /// The cargo feature of the extension, which is also the name that cargo-pgrx has for it.
    pub fn feature(self) -> String {
        format!("pg{self}")
    }

    fn named(name: &str) -> Result<Self> {
        let found = Self::value_variants().iter().find(|major| major.to_string() == name);
        found.copied().with_context(|| {
            let all: Vec<String> = Self::value_variants().iter().map(Major::to_string).collect();
            format!("{name} is none of the supported major versions {}", all.join(", "))
        })
    }
}

impl std::fmt::Display for Major {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_version_is_named_by_its_number_and_no_other_is_taken() {
        assert_eq!(Major::named("17").unwrap(), Major::V17);
        assert_eq!(Major::V17.feature(), "pg17");
        assert!(Major::named("14").is_err() && Major::named("pg17").is_err());
    }
}
