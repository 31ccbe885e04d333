//! Where everything is: the clone, and what the set-up puts under its `target/`.
//!
//! Only paths; nothing is created here. Nothing outside the clone is ever written, except by apt, and
//! where [`SERVERS`] says so.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::major::Major;

/// The environment variable that names a directory with servers of another build, with assertions
/// for example, to be used instead of copies of the system's: `15` in it is such a tree, or `16` and so on.
/// Copies of it, and what is built for it, go beside it.
pub const SERVERS: &str = "BLUEGREEN_SERVERS";

/// A private copy of the server's files. Each has its own installed build of the extension, so that
/// one kind of test cannot overwrite what another is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tree {
    /// The release build: client tests, demo, comparison.
    Release,
    /// A build with the feature `failpoints`.
    Failpoints,
    /// The release build of another commit, which is measured beside the clone's.
    Beside,
    /// What `cargo pgrx test` installs into: a debug build with the `#[pg_test]` functions.
    PgTest,
    /// What packages are tried in: nothing is built for it.
    Packaged,
    /// An earlier minor release, with what is installed into the tree of the release: pg_upgrade begins from it.
    Earlier,
}

impl Tree {
    /// The cargo features that the extension is built with for this tree.
    pub fn features(self) -> Option<&'static str> {
        match self {
            Tree::Release | Tree::Beside | Tree::PgTest | Tree::Packaged | Tree::Earlier => None,
            Tree::Failpoints => Some("failpoints"),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Tree::Release => "",
            Tree::Failpoints => "-failpoints",
            Tree::Beside => "-beside",
            Tree::PgTest => "-test",
            Tree::Packaged => "-packaged",
            Tree::Earlier => "-earlier",
        }
    }
}

/// A clone of the repository, and the major version of PostgreSQL that is worked with.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    major: Major,
    servers: Option<PathBuf>,
}

impl Workspace {
    /// Finds the clone: from cargo's environment, else from where this package was compiled, else
    /// upwards from the running binary (a clone that was moved after it was built). The version is the
    /// one that is asked for.
    pub fn find() -> Result<Self> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let compiled = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let binary = std::env::current_exe().ok();

        let starts = here.into_iter().chain([compiled]).chain(binary);
        for start in starts {
            let root = start.ancestors().find(|d| d.join("pg_bluegreen.control").is_file());
            if let Some(root) = root {
                let servers = std::env::var_os(SERVERS).map(PathBuf::from);
                let major = match Major::asked_for()? {
                    Some(major) => major,
                    None if servers.is_some() => Major::V15,
                    None => Major::usual(),
                };
                return Ok(Self { root: root.to_path_buf(), major, servers });
            }
        }
        bail!("the clone of pg_bluegreen was not found: run this through cargo, inside the clone")
    }

    /// The same clone, to work with another version.
    #[must_use]
    pub fn with_major(&self, major: Major) -> Self {
        Self { major, ..self.clone() }
    }

    /// The top of the clone.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The major version of PostgreSQL.
    pub fn major(&self) -> Major {
        self.major
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
    /// same. `cargo pgrx test` also takes from it where to install, so that it needs its own. Each version
    /// has its own: what is built is built anew when the file in it changes.
    pub fn pgrx_home(&self, tree: Tree) -> PathBuf {
        let base = self.servers.clone().unwrap_or_else(|| self.target());
        let home = match tree {
            Tree::Release | Tree::Failpoints | Tree::Beside | Tree::Packaged | Tree::Earlier => {
                base.join("pgrx")
            }
            Tree::PgTest => base.join("pgrx-test"),
        };
        home.join(self.major.to_string())
    }

    /// Where servers of another build are, if they are to be used.
    pub fn servers(&self) -> Option<&Path> {
        self.servers.as_deref()
    }

    /// Where the extension is built, if not in `target/`: for other headers everything has to be built
    /// anew, and back again; and cargo writes the library of each version under the same name, and takes one for
    /// another.
    pub fn build(&self) -> Option<PathBuf> {
        let of_servers = self.servers.as_ref().map(|servers| servers.join("target"));
        match self.major {
            Major::V15 => of_servers,
            major => {
                let base = of_servers.unwrap_or_else(|| self.target());
                Some(base.join("build").join(major.to_string()))
            }
        }
    }

    /// Where a log of the set-up goes. Each version has its own.
    pub fn setup_log(&self, name: &str) -> PathBuf {
        self.target().join("setup").join(format!("{name}-{}.log", self.major))
    }

    /// The top of a private copy of the server.
    pub fn server(&self, tree: Tree) -> PathBuf {
        let servers = self.servers.clone().unwrap_or_else(|| self.target().join("server"));
        servers.join(format!("{}{}", self.major, tree.suffix()))
    }

    /// The files of a server that are downloaded, where the system has none of the version.
    pub(super) fn downloaded(&self) -> PathBuf {
        self.target().join("server").join(format!("{}-downloaded", self.major))
    }

    /// The directory of a private copy's programs.
    pub fn bin(&self, tree: Tree) -> PathBuf {
        self.programs(&self.server(tree))
    }

    /// The directory of the programs below the top of a server's files: all have the form of Debian's.
    pub(super) fn programs(&self, top: &Path) -> PathBuf {
        top.join("lib/postgresql").join(self.major.to_string()).join("bin")
    }

    /// The `pg_config` of a private copy.
    pub fn pg_config(&self, tree: Tree) -> PathBuf {
        self.bin(tree).join("pg_config")
    }

    /// Where the data directories of throwaway clusters are made.
    pub fn clusters(&self) -> PathBuf {
        self.target().join("clusters")
    }
}
