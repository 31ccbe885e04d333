//! Building the extension and installing it into a private copy of the server.

use anyhow::{Context, Result};

use super::command::{cargo_pgrx, run_logged, say};
use super::workspace::{Tree, Workspace};

/// Builds the extension as it is in the clone and installs it.
///
/// A server that is running is not disturbed: cargo-pgrx unlinks the old library before it writes
/// the new one, and sessions that have loaded it keep it.
pub fn install(workspace: &Workspace, tree: Tree) -> Result<()> {
    let features = tree.features();
    say(&match features {
        None => "Building and installing the extension (release)".to_owned(),
        Some(features) => format!("Building and installing the extension (release, {features})"),
    });
    let mut command = cargo_pgrx(workspace, tree)?;
    command.args(["install", "--release", "--pg-config"]).arg(workspace.pg_config(tree));
    if let Some(features) = features {
        command.args(["--features", features]);
    }
    let log = format!("setup/install{}.log", features.map(|f| format!("-{f}")).unwrap_or_default());
    run_logged(&mut command, &workspace.target().join(log)).context("installing the extension")
}
