//! The private copies of the server's files.
//!
//! PostgreSQL finds its files relative to its programs, so that a copy of its trees works
//! anywhere, `pg_config` too. Everything is installed into the copies; the system's own server, or the one that was
//! downloaded, is only read. Where [`super::workspace::SERVERS`] names servers of another build, they are taken instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::command::{output, run_logged, say};
use super::servers;
use super::workspace::{Tree, Workspace};

/// Makes a private copy when it is missing, or was made of another minor release.
pub fn ensure(workspace: &Workspace, tree: Tree) -> Result<()> {
    // Below both, the files are at the same places.
    let from = match workspace.servers() {
        Some(_) if tree == Tree::Release => return Ok(()),
        Some(_) => workspace.server(Tree::Release),
        None => servers::ensure(workspace)?,
    };
    let system = workspace.programs(&from).join("pg_config");
    let wanted = output(Command::new(&system).arg("--version"))?;
    let present = output(Command::new(workspace.pg_config(tree)).arg("--version"));
    if present.is_ok_and(|present| present == wanted) {
        return Ok(());
    }

    let top = workspace.server(tree);
    say(&format!("Copying {wanted} into {}", relative(workspace, &top)));
    // Copied aside and moved into place as the last step, so that half a copy is never used.
    let partial = top.with_extension("partial");
    remove(&partial)?;
    for part in servers::parts(workspace.major(), &from) {
        let (from, to) = (from.join(&part), partial.join(&part));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        let log = workspace.setup_log("server");
        run_logged(Command::new("cp").arg("-a").arg(from).arg(to), &log)
            .context("copying the server's files")?;
    }
    remove(&top)?;
    fs::rename(&partial, &top).with_context(|| format!("moving {} into place", top.display()))
}

impl Workspace {
    /// Where a private copy keeps its loadable modules. The server is asked: not all have them in the same place.
    pub fn modules(&self, tree: Tree) -> Result<PathBuf> {
        Ok(PathBuf::from(output(Command::new(self.pg_config(tree)).arg("--pkglibdir"))?))
    }

    /// Where a private copy keeps the scripts of extensions.
    pub fn extensions(&self, tree: Tree) -> Result<PathBuf> {
        let share = output(Command::new(self.pg_config(tree)).arg("--sharedir"))?;
        Ok(Path::new(&share).join("extension"))
    }
}

/// Removes a directory, if it is there.
pub(super) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a file, if it is there.
pub(super) fn remove_file(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// A path as it is said to people: from the top of the clone.
pub(super) fn relative(workspace: &Workspace, path: &Path) -> String {
    path.strip_prefix(workspace.root()).unwrap_or(path).display().to_string()
}
