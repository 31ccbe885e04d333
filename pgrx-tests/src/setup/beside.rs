//! Another commit of this repository, built and installed into a server tree of its own, to be
//! measured beside the clone.
//!
//! Its files are unpacked into a directory named after the commit: cargo tells by the time of a file
//! whether it has changed, and those of an archive are as old as the commit.
//!
//! It has a target directory of its own. Both builds make a library of the same name, which cargo writes
//! without a hash: in one directory the second replaces the first, which cargo still takes for fresh, and
//! two copies of one build are compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command::{cargo_pgrx, output, run_logged, say};
use super::workspace::{Tree, Workspace};
use super::{prepare, server};

/// Builds a commit and installs it, or looks whether it is what is installed. Returns the commit's
/// short name.
pub fn install(workspace: &Workspace, commit: &str, installed: bool) -> Result<String> {
    let name = format!("{commit}^{{commit}}");
    let hash = git(workspace, &["rev-parse", "--verify", "--end-of-options", &name])
        .with_context(|| format!("{commit} is no commit of this clone"))?;
    let short = git(workspace, &["rev-parse", "--short", &hash])?;
    let mark = workspace.server(Tree::Beside).join("commit");
    if installed {
        let present = fs::read_to_string(&mark).unwrap_or_default();
        if present.trim() != hash {
            bail!("{} has not been built: leave out --installed once", short);
        }
        return Ok(short);
    }
    prepare(workspace, Tree::Beside)?;
    let source = unpack(workspace, &hash)?;
    say(&format!("Building and installing the extension of {short} (release)"));
    server::remove_file(&mark)?;
    let mut command = cargo_pgrx(workspace, Tree::Beside)?;
    command
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", top(workspace).join("build"))
        .args(["install", "--release", "--pg-config"])
        .arg(workspace.pg_config(Tree::Beside))
        .args(["--no-default-features", "--features", &workspace.major().feature()]);
    run_logged(&mut command, &workspace.setup_log("install-beside"))
        .with_context(|| format!("installing the extension of {short}"))?;
    fs::write(&mark, &hash).with_context(|| format!("writing {}", mark.display()))?;
    Ok(short)
}

/// The files of a commit; those of others go.
fn unpack(workspace: &Workspace, hash: &str) -> Result<PathBuf> {
    let top = top(workspace);
    let source = top.join(hash);
    if source.is_dir() {
        return Ok(source);
    }
    for old in fs::read_dir(&top).into_iter().flatten().flatten() {
        if old.file_name() != "build" {
            server::remove(&old.path())?;
        }
    }
    // Moved into place as the last step, so that half of a commit is never built.
    let partial = top.join("partial");
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    let archive = top.join("archive.tar");
    let log = workspace.setup_log("beside");
    let mut pack = Command::new("git");
    pack.current_dir(workspace.root()).args(["archive", "--format=tar", "-o"]);
    run_logged(pack.arg(&archive).arg(hash), &log).context("packing the commit")?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&archive).arg("-C").arg(&partial);
    run_logged(&mut tar, &log).context("unpacking the commit")?;
    server::remove_file(&archive)?;
    fs::rename(&partial, &source)
        .with_context(|| format!("moving {} into place", show(&source)))?;
    Ok(source)
}

/// Where the commit and what is built of it are. Each version has its own.
fn top(workspace: &Workspace) -> PathBuf {
    workspace.target().join("beside").join(workspace.major().to_string())
}

fn git(workspace: &Workspace, arguments: &[&str]) -> Result<String> {
    output(Command::new("git").current_dir(workspace.root()).args(arguments))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
