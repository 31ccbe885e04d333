//! Building the extension and installing it into a private copy of the server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::command::{cargo_pgrx, run_logged, say};
use super::workspace::{Tree, Workspace};

/// Builds the extension as it is in the clone, by a profile of Cargo.toml and with cargo features if need be, and
/// installs it.
///
/// A server that is running is not disturbed: cargo-pgrx unlinks the old library before it writes
/// the new one, and sessions that have loaded it keep it.
pub fn install(
    workspace: &Workspace,
    tree: Tree,
    profile: &str,
    features: Option<&str>,
) -> Result<()> {
    let major = workspace.major();
    let kind = features.map_or_else(|| profile.to_owned(), |name| format!("{profile}, {name}"));
    say(&format!("Building and installing the extension for PostgreSQL {major} ({kind})"));
    let mut command = cargo_pgrx(workspace, tree)?;
    command.args(["install", "--profile", profile, "--pg-config"]).arg(workspace.pg_config(tree));
    let all = [Some(major.feature()), features.map(str::to_owned)];
    let all: Vec<String> = all.into_iter().flatten().collect();
    command.args(["--no-default-features", "--features", &all.join(" ")]);
    let log = format!("install{}", features.map(|name| format!("-{name}")).unwrap_or_default());
    run_logged(&mut command, &workspace.setup_log(&log)).context("installing the extension")?;
    copy_frozen(workspace, tree)
}

/// Copies what earlier versions installed, so that tests can upgrade from it: cargo-pgrx copies only the scripts
/// that lead from one version to another.
fn copy_frozen(workspace: &Workspace, tree: Tree) -> Result<()> {
    let scripts = workspace.root().join("sql");
    let extensions = workspace.extensions(tree)?;
    // Of the present version there is what was generated just now.
    let present = format!("pg_bluegreen--{}.sql", env!("CARGO_PKG_VERSION"));
    for entry in fs::read_dir(&scripts).with_context(|| format!("reading {}", scripts.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_one_version = name.starts_with("pg_bluegreen--") && name.matches("--").count() == 1;
        if is_one_version && name != present {
            let to = extensions.join(&name);
            fs::copy(scripts.join(&name), &to)
                .with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

/// Whether the extension is in a tree.
pub fn is_installed(workspace: &Workspace, tree: Tree) -> Result<bool> {
    Ok(!files_in(&workspace.modules(tree)?)?.is_empty())
}

/// Removes the extension from a tree, whoever installed it.
pub fn remove(workspace: &Workspace, tree: Tree) -> Result<()> {
    for directory in [workspace.modules(tree)?, workspace.extensions(tree)?] {
        for file in files_in(&directory)? {
            fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
    }
    Ok(())
}

/// Copies the extension from one tree into another of the same version.
pub fn copy(workspace: &Workspace, from: Tree, to: Tree) -> Result<()> {
    for (from, to) in [
        (workspace.modules(from)?, workspace.modules(to)?),
        (workspace.extensions(from)?, workspace.extensions(to)?),
    ] {
        for file in files_in(&from)? {
            let to = to.join(file.file_name().unwrap_or_default());
            fs::copy(&file, &to).with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

/// The extension's files in a directory of a server.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("pg_bluegreen.") || name.starts_with("pg_bluegreen--") {
            files.push(entry.path());
        }
    }
    Ok(files)
}
