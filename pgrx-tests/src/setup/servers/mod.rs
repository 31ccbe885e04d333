//! Where the files of each major version's server come from: the system's own Debian, or a download
//! under `target/server/N-downloaded`.
//!
//! All have one form: the programs are in `lib/postgresql/N/bin` below the top. Where libraries and scripts
//! are is asked from `pg_config`; it is not the same for all. A download is made aside and moved into place as the
//! last step, so that half of one is never used, and never written again: the private trees are copies.

mod debian_suite;
mod earlier;
mod npm;
mod patch;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::command::{output, say};
use super::major::Major;
use super::workspace::Workspace;
use super::{debian, packages, server};

pub(super) use earlier::ensure as ensure_earlier;

/// The Debian packages that the server of the workspace's version, or its download, needs.
pub(super) fn packages(major: Major) -> &'static [&'static str] {
    match major {
        Major::V15 => &["postgresql-15", "postgresql-server-dev-15"],
        // The account `postgres`, as which a server runs where we are root, comes with postgresql-common.
        Major::V16 | Major::V18 => &["postgresql-common"],
        // The server reads the time zones of the system.
        Major::V17 => &["postgresql-common", "tzdata", "patchelf"],
    }
}

/// The top of the files that private trees are copied from, after they were downloaded if need be.
pub(super) fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    let major = workspace.major();
    if major == Major::V15 {
        return Ok(PathBuf::from("/usr"));
    }
    let top = workspace.downloaded();
    let pins = match major {
        Major::V17 => debian_suite::pins(),
        _ => wheel::pins(major)?,
    };
    if is_usable(workspace, &top, &pins) {
        return Ok(top);
    }
    if !can_download() {
        bail!("PostgreSQL {major} can be downloaded for x86-64 only; use --pg 15 on this machine");
    }
    say(&format!("Downloading PostgreSQL {major} into {}", server::relative(workspace, &top)));
    let partial = top.with_extension("partial");
    server::remove(&partial)?;
    server::remove(&top)?;
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    match major {
        Major::V17 => debian_suite::unpack(workspace, &partial, &top)?,
        _ => wheel::unpack(workspace, &partial)?,
    }
    let mark = partial.join(MARK);
    fs::write(&mark, &pins).with_context(|| format!("writing {}", mark.display()))?;
    fs::rename(&partial, &top).with_context(|| format!("moving {} into place", top.display()))?;
    for program in ["pg_config", "postgres", "psql"] {
        version(workspace, &top, program).with_context(|| {
            format!("what was downloaded as PostgreSQL {major} does not run on this machine")
        })?;
    }
    Ok(top)
}

/// The versions that this machine can have: those in the directory of servers, where one is named.
pub fn available(workspace: &Workspace) -> Vec<Major> {
    let can_be_had = |major: &&Major| match (workspace.servers(), major) {
        (Some(servers), _) => servers.join(major.to_string()).is_dir(),
        (None, Major::V15) => Major::usual() == Major::V15,
        (None, Major::V17) => can_download() && debian::release().is_some(),
        (None, _) => can_download(),
    };
    Major::value_variants().iter().filter(can_be_had).copied().collect()
}

fn can_download() -> bool {
    std::env::consts::ARCH == "x86_64"
}

/// Says what a download was made from: another release of it is downloaded anew.
const MARK: &str = "downloaded-from";

/// Whether a download is there, is the one that is wanted, and runs: paths in it may be those of a place from which
/// the clone was moved.
fn is_usable(workspace: &Workspace, top: &Path, pins: &str) -> bool {
    fs::read_to_string(top.join(MARK)).is_ok_and(|present| present == pins)
        && version(workspace, top, "pg_config").is_ok()
}

fn version(workspace: &Workspace, top: &Path, program: &str) -> Result<String> {
    output(Command::new(workspace.programs(top).join(program)).arg("--version"))
}

/// What a private tree consists of, of what is below a top: everything, but libraries to which the programs have
/// an absolute path, and the rest of the system.
pub(super) fn parts(major: Major, top: &Path) -> Vec<String> {
    let parts = [
        format!("lib/postgresql/{major}"),
        format!("lib/{}", wheel::LIBRARIES),
        format!("share/postgresql/{major}"),
        "include/postgresql".to_owned(),
    ];
    parts.into_iter().filter(|part| top.join(part).is_dir()).collect()
}

/// The directory in which a download keeps what it needs on its way, empty.
fn scratch(partial: &Path, name: &str) -> Result<PathBuf> {
    let dir = partial.join(name);
    server::remove(&dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

/// pip, which comes as a module of Python.
fn pip(workspace: &Workspace) -> Result<Command> {
    packages::ensure_program(workspace, "python3", &["-m", "pip", "--version"], "python3-pip")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip"]);
    Ok(pip)
}
