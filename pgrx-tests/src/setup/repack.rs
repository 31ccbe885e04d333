//! pg_repack, a baseline of `cargo compare`: Debian's package, copied into the private server tree.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command::run_logged;
use super::major::Major;
use super::packages;
use super::workspace::{Tree, Workspace};

/// The package, and the version that it is for: Debian 12 has it for its own server only.
const PACKAGE: (&str, Major) = ("postgresql-15-repack", Major::V15);

/// Puts pg_repack where the server of a tree finds it, and its client beside the other programs.
/// A private copy made before the package was installed lacks both.
pub fn ensure(workspace: &Workspace, tree: Tree) -> Result<()> {
    let (package, major) = PACKAGE;
    if workspace.major() != major {
        bail!("Debian 12 has pg_repack for PostgreSQL {major} only");
    }
    packages::ensure_these(workspace, &[package])?;
    let bin = workspace.bin(tree);
    let module = workspace.modules(tree)?.join("pg_repack.so");
    let extensions = workspace.extensions(tree)?;
    let control = extensions.join("pg_repack.control");
    if bin.join("pg_repack").is_file() && module.is_file() && control.is_file() {
        return Ok(());
    }
    let programs = workspace.programs(Path::new("/usr"));
    let scripts = Path::new("/usr/share/postgresql").join(major.to_string()).join("extension");
    let copies = [
        (programs.join("pg_repack"), bin),
        (programs.with_file_name("lib").join("pg_repack.so"), workspace.modules(tree)?),
        (scripts.join("pg_repack.control"), extensions.clone()),
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
            copy(workspace, &from, &extensions)?;
        }
    }
    Ok(())
}

fn copy(workspace: &Workspace, from: &Path, to: &Path) -> Result<()> {
    let log = workspace.setup_log("repack");
    run_logged(Command::new("cp").arg("-a").arg(from).arg(to), &log).context("copying pg_repack")
}
