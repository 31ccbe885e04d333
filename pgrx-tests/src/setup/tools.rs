//! The pinned cargo-pgrx and the PGRX_HOME it works in, and mdBook.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::command::{cargo, output, run_logged, say};
use super::workspace::{Tree, Workspace};

/// The release of cargo-pgrx. It must be that of the crate `pgrx` in Cargo.toml.
const CARGO_PGRX: &str = "0.18.1";

/// The release of mdBook, which `cargo docs` uses.
const MDBOOK: &str = "0.5.4";

/// Installs cargo-pgrx when it is missing or another release.
pub fn ensure_cargo_pgrx(workspace: &Workspace) -> Result<()> {
    let installed = output(Command::new(workspace.cargo_pgrx()).args(["pgrx", "--version"]));
    if installed.is_ok_and(|version| version.ends_with(CARGO_PGRX)) {
        return Ok(());
    }
    say(&format!("Installing cargo-pgrx {CARGO_PGRX} into target/tools (some minutes, once)"));
    let mut install = cargo(workspace, Tree::Release)?;
    install
        .args(["install", "--locked", "--force", "cargo-pgrx", "--version", CARGO_PGRX, "--root"])
        .arg(workspace.tools())
        // It runs for moments; built without optimisation it is there sooner.
        .args(["--config", "profile.release.opt-level=0"]);
    run_logged(&mut install, &workspace.target().join("setup/cargo-pgrx.log"))
        .context("installing cargo-pgrx")
}

/// Installs mdBook when it is missing or another release, without its own web server.
pub fn ensure_mdbook(workspace: &Workspace) -> Result<()> {
    let program = workspace.tools().join("bin/mdbook");
    let installed = output(Command::new(program).arg("--version"));
    if installed.is_ok_and(|version| version.ends_with(MDBOOK)) {
        return Ok(());
    }
    say(&format!("Installing mdBook {MDBOOK} into target/tools (some minutes, once)"));
    let mut install = cargo(workspace, Tree::Release)?;
    install
        .args(["install", "--locked", "--force", "mdbook", "--version", MDBOOK])
        .args(["--no-default-features", "--features", "search", "--root"])
        .arg(workspace.tools());
    run_logged(&mut install, &workspace.target().join("setup/mdbook.log"))
        .context("installing mdBook")
}

/// Writes a PGRX_HOME. A file that is right is not written again: a newer one makes cargo build
/// all of pgrx anew.
pub fn ensure_pgrx_home(workspace: &Workspace, tree: Tree) -> Result<()> {
    let home = workspace.pgrx_home(tree);
    // The release trees share a home, which builds against the first one's headers.
    let tree = if tree == Tree::PgTest { tree } else { Tree::Release };
    let path = toml_string(&workspace.pg_config(tree).to_string_lossy());
    let wanted = format!("[configs]\n{} = {path}\n", workspace.major().feature());
    let file = home.join("config.toml");
    if fs::read_to_string(&file).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    fs::create_dir_all(&home).with_context(|| format!("creating {}", home.display()))?;
    fs::write(&file, wanted).with_context(|| format!("writing {}", file.display()))
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
