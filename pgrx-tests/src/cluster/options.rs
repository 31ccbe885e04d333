//! What a throwaway cluster is started with.

use anyhow::Result;

use crate::setup::{Major, Tree, Workspace};

/// What a throwaway cluster is started with; `Options::default()` is right for most tests.
///
/// ```
/// use bluegreen_tests::cluster::Options;
///
/// let options = Options::default().set("deadlock_timeout", "50ms").shared_buffers("1GB");
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) tree: Tree,
    major: Option<Major>,
    pub(super) settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        let settings = [
            ("shared_buffers", "256MB"),
            ("max_connections", "100"),
            ("max_prepared_transactions", "10"),
            ("autovacuum", "on"),
            ("restart_after_crash", "on"),
            // The tests end processes, never the machine: what the kernel holds is not lost.
            ("fsync", "off"),
            ("max_wal_size", "4GB"),
            ("timezone", "UTC"),
            ("log_line_prefix", "%m [%p] %q%u@%d %a "),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { tree: Tree::Release, major: None, settings: settings.to_vec() }
    }
}

impl Options {
    /// A server setting, instead of the default one of that name.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(present, _)| present != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The setting `shared_buffers`, 256 MB by default.
    #[must_use]
    pub fn shared_buffers(self, size: &str) -> Self {
        self.set("shared_buffers", size)
    }

    /// Which build of the extension the server has; the release build by default.
    #[must_use]
    pub fn tree(mut self, tree: Tree) -> Self {
        self.tree = tree;
        self
    }

    /// The major version of the server, where it is not the one that the tests run on: to upgrade from.
    #[must_use]
    pub fn major(mut self, major: Major) -> Self {
        self.major = Some(major);
        self
    }

    /// The clone, with the major version of the server.
    pub(super) fn workspace(&self) -> Result<Workspace> {
        let workspace = Workspace::find()?;
        Ok(self.major.map_or(workspace.clone(), |major| workspace.with_major(major)))
    }

    /// The settings as lines of a configuration file.
    pub(super) fn to_conf(&self) -> String {
        let line = |(name, value): &(String, String)| {
            format!("{name} = '{}'\n", value.replace('\'', "''"))
        };
        self.settings.iter().map(line).collect()
    }
}
