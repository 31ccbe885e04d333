//! Building the extension and installing it into a private copy of the server.

use std::fs;

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

/// Removes the extension from a tree, whoever installed it.
pub fn remove(workspace: &Workspace, tree: Tree) -> Result<()> {
    for directory in [workspace.modules(tree)?, workspace.extensions(tree)?] {
        let reading = || format!("reading {}", directory.display());
        for entry in fs::read_dir(&directory).with_context(reading)? {
            let file = entry.with_context(reading)?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("pg_bluegreen.") || name.starts_with("pg_bluegreen--") {
                let file = file.path();
                fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
            }
        }
    }
    Ok(())
}
