//! The private copies of the server's files.
//!
//! PostgreSQL finds its files relative to its programs, so that a copy of its three trees works
//! anywhere, `pg_config` too. Everything is installed into the copies; the system's own server is
//! only read. Where [`super::workspace::SERVERS`] names servers of another build, they are taken instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::command::{output, run_logged, say};
use super::workspace::{MAJOR, Tree, Workspace};

/// Makes a private copy when it is missing, or was made of another minor release.
pub fn ensure(workspace: &Workspace, tree: Tree) -> Result<()> {
    // Below both, the files are at the same places.
    let from = match workspace.servers() {
        Some(_) if tree == Tree::Release => return Ok(()),
        Some(_) => workspace.server(Tree::Release),
        None => PathBuf::from("/usr"),
    };
    let parts = [
        format!("lib/postgresql/{MAJOR}"),
        format!("share/postgresql/{MAJOR}"),
        "include/postgresql".to_owned(),
    ];
    let system = from.join(&parts[0]).join("bin/pg_config");
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
    for part in parts {
        let (from, to) = (from.join(&part), partial.join(&part));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        let log = workspace.target().join("setup/server.log");
        run_logged(Command::new("cp").arg("-a").arg(from).arg(to), &log)
            .context("copying the server's files")?;
    }
    remove(&top)?;
    fs::rename(&partial, &top).with_context(|| format!("moving {} into place", top.display()))
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

fn relative(workspace: &Workspace, path: &Path) -> String {
    path.strip_prefix(workspace.root()).unwrap_or(path).display().to_string()
}
