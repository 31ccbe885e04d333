//! A server of Debian's next stable suite, beside the system: its packages are unpacked, not installed.
//!
//! apt works on a state of its own, with the mirror that the system's own suite has, and checks signatures and hashes
//! as ever. The server needs newer libraries than the system has, so they are unpacked too, and [`super::patch`] leads
//! the programs to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{patch, scratch};
use crate::setup::command::run_logged;
use crate::setup::workspace::Workspace;
use crate::setup::{debian, server};

/// The suite. A released one gets corrections only: its libraries keep their names.
const SUITE: &str = "trixie";

/// The keys by which the suite is signed. Those of the next suite are there before it is released.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Server, client programs and headers.
const SERVER: &[&str] =
    &["postgresql-17", "postgresql-client-17", "postgresql-server-dev-17", "libpq-dev"];

/// Extensions of others, which the tests put beside ours.
const EXTENSIONS: &[&str] = &[
    "postgresql-17-partman",
    "postgresql-17-pglogical",
    "postgresql-17-pgvector",
    "postgresql-17-repack",
    "postgresql-17-wal2json",
];

/// The libraries that they need, and what these need, without those that only the just-in-time compiler
/// needs: it is as large as all the rest, and no test uses it.
const LIBRARIES: &[&str] = &[
    "libaudit1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcom-err2",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libicu76",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap2",
    "liblz4-1",
    "liblzma5",
    "libpam0g",
    "libpcre2-8-0",
    "libpq5",
    "libreadline8t64",
    "libsasl2-2",
    "libselinux1",
    "libssl3t64",
    "libstdc++6",
    "libsystemd0",
    "libtinfo6",
    "libuuid1",
    "libxml2",
    "libxslt1.1",
    "libzstd1",
    "zlib1g",
];

/// What the server is made from. The minor release is the one that the suite has on the day.
pub(super) fn pins() -> String {
    format!("{SUITE}\n{}\n{}\n{}\n", SERVER.join(" "), EXTENSIONS.join(" "), LIBRARIES.join(" "))
}

/// Downloads and unpacks it into `partial`, to be used when that has become `top`.
pub(super) fn unpack(workspace: &Workspace, partial: &Path, top: &Path) -> Result<()> {
    let apt = Apt::new(workspace, scratch(partial, "apt")?)?;
    apt.run(&["update"], "updating the list of packages")?;
    let packages = SERVER.iter().chain(EXTENSIONS).chain(LIBRARIES);
    let wanted: Vec<&str> = ["download"].iter().chain(packages).copied().collect();
    apt.run(&wanted, "downloading packages")?;
    let files = scratch(partial, "files")?;
    for package in apt.packages()? {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(&package).arg(&files);
        run_logged(&mut unpack, &apt.log)
            .with_context(|| format!("unpacking {}", package.display()))?;
    }
    server::remove(&apt.dir)?;
    for part in ["lib", "include", "share/postgresql"] {
        let to = partial.join(part);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        fs::rename(files.join("usr").join(part), &to)
            .with_context(|| format!("moving {part} into place"))?;
    }
    server::remove(&files)?;
    let modules = partial.join("lib/postgresql/17/lib");
    server::remove_file(&modules.join("llvmjit.so"))?;
    server::remove(&modules.join("bitcode"))?;
    patch::lead_to_libraries(workspace, partial, top)
}

/// apt-get with a state of its own.
struct Apt {
    dir: PathBuf,
    log: PathBuf,
}

impl Apt {
    fn new(workspace: &Workspace, dir: PathBuf) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial", "etc/sources", "packages"] {
            let part = dir.join(part);
            fs::create_dir_all(&part).with_context(|| format!("creating {}", part.display()))?;
        }
        let source = format!("deb [signed-by={KEYRING}] {} {SUITE} main\n", debian::mirror()?);
        fs::write(dir.join("etc/sources.list"), source).context("writing apt's sources")?;
        fs::write(dir.join("status"), "").context("writing an empty list of packages")?;
        Ok(Self { dir, log: workspace.setup_log("server") })
    }

    fn run(&self, arguments: &[&str], what: &str) -> Result<()> {
        let mut apt = Command::new("apt-get");
        for (name, path) in [
            ("Dir::State", "state"),
            ("Dir::State::Status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::SourceList", "etc/sources.list"),
            ("Dir::Etc::SourceParts", "etc/sources"),
        ] {
            apt.arg("-o").arg(format!("{name}={}", self.dir.join(path).display()));
        }
        // The account that apt changes to as root may not go where the clone is. What only helps people to find
        // packages is left out.
        apt.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"])
            .args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"])
            .current_dir(self.dir.join("packages"))
            .args(arguments);
        run_logged(&mut apt, &self.log).with_context(|| format!("{what} of Debian's {SUITE}"))
    }

    fn packages(&self) -> Result<Vec<PathBuf>> {
        let dir = self.dir.join("packages");
        let entries = fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
        Ok(entries.flatten().map(|entry| entry.path()).collect())
    }
}
