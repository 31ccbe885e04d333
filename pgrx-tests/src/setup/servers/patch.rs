//! Programs of another Debian, led to the libraries that were unpacked with them.
//!
//! The dynamic loader of a program is named by an absolute path, and must be of the same release as the C library.
//! So each program names both at the place where they will be; copies of the tree name the same ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::command::run_logged;
use crate::setup::workspace::Workspace;

/// Where Debian has the libraries and the loader of this architecture, below `usr`.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// The loader's name there.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Where programs are, the isolation tester among them.
const PROGRAMS: &[&str] = &[
    "lib/postgresql/17/bin",
    "lib/postgresql/17/lib/pgxs/src/test/isolation",
    "lib/postgresql/17/lib/pgxs/src/test/regress",
];

/// Lets the programs below `partial` find the libraries that will be below `top`.
pub(super) fn lead_to_libraries(workspace: &Workspace, partial: &Path, top: &Path) -> Result<()> {
    let libraries = top.join(LIBRARIES);
    let mut patch = Command::new("patchelf");
    patch.arg("--set-interpreter").arg(libraries.join(LOADER));
    // The older kind of path, which also holds for what the server loads later.
    patch.arg("--force-rpath").arg("--set-rpath").arg(&libraries);
    for dir in PROGRAMS {
        patch.args(programs(&partial.join(dir))?);
    }
    let log = workspace.setup_log("server");
    run_logged(&mut patch, &log).context("leading the programs to their libraries")
}

/// The ELF files of a directory. The others there are scripts.
fn programs(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry.context("reading a directory of programs")?.path();
        if path.is_file() && fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")) {
            found.push(path);
        }
    }
    Ok(found)
}
