//! Everything that a fresh machine with Rust lacks, and the extension itself, installed.
//!
//! In this order, each step only when its result is missing: Debian packages, the pinned cargo-pgrx,
//! the server's files where Debian does not have the version, private copies of them, the PGRX_HOME that points at them, the extension. All of
//! it but the packages is under `target/`: nothing of the system or of the user's own set-up is
//! written.

mod beside;
pub mod command;
mod debian;
mod extension;
mod major;
mod packages;
mod repack;
mod server;
mod servers;
mod tools;
mod workspace;

use anyhow::Result;

pub use beside::install as install_beside;
pub use debian::mirror;
pub use major::Major;
pub use packages::ensure_program;
pub use repack::ensure as ensure_repack;
pub use servers::available;
pub use tools::ensure_mdbook;
pub use workspace::{Tree, Workspace};

/// Sets up what is needed to build the extension for a tree, without building it.
pub fn prepare(workspace: &Workspace, tree: Tree) -> Result<()> {
    packages::ensure(workspace)?;
    // The release tree is what every build reads the headers of.
    for tree in [Tree::Release, tree] {
        server::ensure(workspace, tree)?;
        tools::ensure_pgrx_home(workspace, tree)?;
    }
    tools::ensure_cargo_pgrx(workspace)
}

/// Sets up what is missing and installs the extension, as it is in the clone, into a tree.
pub fn install(workspace: &Workspace, tree: Tree) -> Result<()> {
    prepare(workspace, tree)?;
    // Nobody measures where failpoints are.
    let profile = if tree == Tree::Failpoints { "quick" } else { "release" };
    extension::install(workspace, tree, profile, tree.features())
}

/// Installs one build, with failpoints and little optimisation, into the tree of the release and into that of the
/// failpoints. It takes less than half the time of a build for each. Whoever measures has to install the release again.
pub fn install_with_failpoints(workspace: &Workspace) -> Result<()> {
    prepare(workspace, Tree::Failpoints)?;
    for tree in [Tree::Failpoints, Tree::Release] {
        extension::install(workspace, tree, "quick", Tree::Failpoints.features())?;
    }
    Ok(())
}

/// Sets up a server of an earlier minor release with the extension as it is installed into the tree of the release;
/// whether there is one of the workspace's version, and an extension for it.
pub fn install_earlier(workspace: &Workspace) -> Result<bool> {
    let is_there = workspace.pg_config(Tree::Release).is_file()
        && extension::is_installed(workspace, Tree::Release)?;
    if !is_there || !servers::ensure_earlier(workspace)? {
        return Ok(false);
    }
    extension::remove(workspace, Tree::Earlier)?;
    extension::copy(workspace, Tree::Release, Tree::Earlier)?;
    Ok(true)
}

/// Makes a private copy of the server, without the extension: what it is copied from may have it.
pub fn fresh(workspace: &Workspace, tree: Tree) -> Result<()> {
    server::remove(&workspace.server(tree))?;
    server::ensure(workspace, tree)?;
    extension::remove(workspace, tree)
}
