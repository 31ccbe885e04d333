//! Where everything is: the clone, and what the set-up puts under its `target/`.
//!
//! Only paths; nothing is created here. Nothing outside the clone is ever written, except by apt, and
//! where [`SERVERS`] says so.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The PostgreSQL major version that the commands of this package work with.
pub const MAJOR: &str = "15";

/// The environment variable that names a directory with servers of another build, with assertions
/// for example, to be used instead of copies of the system's: `15` in it is such a tree. Copies of it,
/// and what is built for it, go beside it.
pub const SERVERS: &str = "BLUEGREEN_SERVERS";

/// A private copy of the server's files. Each has its own installed build of the extension, so that
/// one kind of test cannot overwrite what another is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tree {
    /// The release build: client tests, demo, comparison.
    Release,
    /// A release build with the feature `failpoints`.
    Failpoints,
    /// The release build of another commit, which is measured beside the clone's.
    Beside,
    /// What `cargo pgrx test` installs into: a debug build with the `#[pg_test]` functions.
    PgTest,
}

impl Tree {
    /// The cargo features that the extension is built with for this tree.
    pub fn features(self) -> Option<&'static str> {
        match self {
            Tree::Release | Tree::Beside | Tree::PgTest => None,
            Tree::Failpoints => Some("failpoints"),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Tree::Release => "",
            Tree::Failpoints => "-failpoints",
            Tree::Beside => "-beside",
            Tree::PgTest => "-test",
        }
    }
}

/// A clone of the repository.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    servers: Option<PathBuf>,
}

impl Workspace {
    /// Finds the clone: from cargo's environment, else from where this package was compiled, else
    /// upwards from the running binary (a clone that was moved after it was built).
    pub fn find() -> Result<Self> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let compiled = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let binary = std::env::current_exe().ok();

        let starts = here.into_iter().chain([compiled]).chain(binary);
        for start in starts {
            let root = start.ancestors().find(|d| d.join("pg_bluegreen.control").is_file());
            if let Some(root) = root {
                let servers = std::env::var_os(SERVERS).map(PathBuf::from);
                return Ok(Self { root: root.to_path_buf(), servers });
            }
        }
        bail!("the clone of pg_bluegreen was not found: run this through cargo, inside the clone")
    }

    /// The top of the clone.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `target/`, which holds everything that is built or set up.
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The root of `cargo install` for the pinned cargo-pgrx.
    pub fn tools(&self) -> PathBuf {
        self.target().join("tools")
    }

    /// The pinned cargo-pgrx.
    pub fn cargo_pgrx(&self) -> PathBuf {
        self.tools().join("bin/cargo-pgrx")
    }

    /// The `PGRX_HOME` that builds for a tree.
    ///
    /// The release trees share one: it only says against which headers to build, and these are the
    /// same. `cargo pgrx test` also takes from it where to install, so that it needs its own.
    pub fn pgrx_home(&self, tree: Tree) -> PathBuf {
        let base = self.servers.clone().unwrap_or_else(|| self.target());
        match tree {
            Tree::Release | Tree::Failpoints | Tree::Beside => base.join("pgrx"),
            Tree::PgTest => base.join("pgrx-test"),
        }
    }

    /// Where servers of another build are, if they are to be used.
    pub fn servers(&self) -> Option<&Path> {
        self.servers.as_deref()
    }

    /// Where the extension is built, if not in `target/`: for other headers everything has to be built
    /// anew, and back again.
    pub fn build(&self) -> Option<PathBuf> {
        self.servers.as_ref().map(|servers| servers.join("target"))
    }

    /// The top of a private copy of the server.
    pub fn server(&self, tree: Tree) -> PathBuf {
        let servers = self.servers.clone().unwrap_or_else(|| self.target().join("server"));
        servers.join(format!("{MAJOR}{}", tree.suffix()))
    }

    /// The directory of a private copy's programs.
    pub fn bin(&self, tree: Tree) -> PathBuf {
        self.server(tree).join("lib/postgresql").join(MAJOR).join("bin")
    }

    /// The `pg_config` of a private copy.
    pub fn pg_config(&self, tree: Tree) -> PathBuf {
        self.bin(tree).join("pg_config")
    }

    /// Where a private copy keeps its loadable modules.
    pub fn modules(&self, tree: Tree) -> PathBuf {
        self.server(tree).join("lib/postgresql").join(MAJOR).join("lib")
    }

    /// Where a private copy keeps the scripts of extensions.
    pub fn extensions(&self, tree: Tree) -> PathBuf {
        self.server(tree).join("share/postgresql").join(MAJOR).join("extension")
    }

    /// Where the data directories of throwaway clusters are made.
    pub fn clusters(&self) -> PathBuf {
        self.target().join("clusters")
    }
}
