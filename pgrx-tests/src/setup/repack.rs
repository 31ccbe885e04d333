//! pg_repack, a baseline of `cargo compare`: Debian's package, copied into the private server tree.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::command::run_logged;
use super::packages;
use super::workspace::{MAJOR, Tree, Workspace};

/// The package.
const PACKAGE: &str = "postgresql-15-repack";

/// Puts pg_repack where the server of a tree finds it, and its client beside the other programs.
/// A private copy made before the package was installed lacks both.
pub fn ensure(workspace: &Workspace, tree: Tree) -> Result<()> {
    packages::ensure_these(workspace, &[PACKAGE])?;
    let bin = workspace.bin(tree);
    let module = workspace.modules(tree).join("pg_repack.so");
    let control = extensions(&workspace.server(tree).join("share")).join("pg_repack.control");
    if bin.join("pg_repack").is_file() && module.is_file() && control.is_file() {
        return Ok(());
    }
    let system = Path::new("/usr/lib/postgresql").join(MAJOR);
    let scripts = extensions(Path::new("/usr/share"));
    let copies = [
        (system.join("bin/pg_repack"), bin),
        (system.join("lib/pg_repack.so"), workspace.modules(tree)),
        (scripts.join("pg_repack.control"), extensions(&workspace.server(tree).join("share"))),
    ];
    for (from, to) in copies {
        copy(workspace, &from, &to)?;
    }
    // One script, named after the release.
    let entries = scripts.read_dir().with_context(|| format!("reading {}", scripts.display()))?;
    for entry in entries {
        let from = entry.context("reading the extensions' directory")?.path();
        let name = from.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.starts_with("pg_repack--")) {
            copy(workspace, &from, &extensions(&workspace.server(tree).join("share")))?;
        }
    }
    Ok(())
}

/// Where the extensions' scripts are, under a `share`.
fn extensions(share: &Path) -> std::path::PathBuf {
    share.join("postgresql").join(MAJOR).join("extension")
}

fn copy(workspace: &Workspace, from: &Path, to: &Path) -> Result<()> {
    let log = workspace.target().join("setup/repack.log");
    run_logged(Command::new("cp").arg("-a").arg(from).arg(to), &log).context("copying pg_repack")
}
