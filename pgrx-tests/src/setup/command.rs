//! Running another program: quietly, with its output in a log, and with the end of that log shown
//! when it fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::major;
use super::workspace::{Tree, Workspace};

/// How much of a log is shown when the program that wrote it has failed.
const TAIL_LINES: usize = 60;

/// Says on stderr what is being done; stdout is kept for results.
pub fn say(what: &str) {
    eprintln!("==> {what}");
}

/// Runs a program with its output in `log`; an error shows the end of it.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    if !status_logged(command, log)? {
        bail!("{} failed\n{}\n(all of it: {})", line(command), tail(log), log.display());
    }
    Ok(())
}

/// Runs a program with its output in `log`, and answers whether it succeeded.
pub fn status_logged(command: &mut Command, log: &Path) -> Result<bool> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    let out = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let err = out.try_clone().context("duplicating the log's handle")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .with_context(|| format!("starting {}", line(command)))?;
    Ok(status.success())
}

/// Runs a program and returns what it wrote to stdout, without the white space around it.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", line(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", line(command), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The last lines of a log, or what kept it from being read.
pub fn tail(log: &Path) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(no log: {error})"),
    }
}

/// A program and its arguments, as they would be typed.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A cargo that builds the extension, for a tree, where that version is built.
pub fn cargo_of_extension(workspace: &Workspace, tree: Tree) -> Result<Command> {
    let mut command = cargo(workspace, tree)?;
    if let Some(build) = workspace.build() {
        command.env("CARGO_TARGET_DIR", build);
    }
    Ok(command)
}

/// A cargo for the clone, as if it were called from a shell at its top.
///
/// `cargo run` hands its own package's variables down, and cargo-pgrx would take the wrong crate by
/// them. A backtrace variable would end up in the DETAIL of every error of the server.
pub fn cargo(workspace: &Workspace, tree: Tree) -> Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    from_shell(Command::new(cargo), workspace, tree)
}

/// The pinned cargo-pgrx, for the clone and one of its trees.
pub fn cargo_pgrx(workspace: &Workspace, tree: Tree) -> Result<Command> {
    let mut command = from_shell(Command::new(workspace.cargo_pgrx()), workspace, tree)?;
    if let Some(build) = workspace.build() {
        command.env("CARGO_TARGET_DIR", build);
    }
    command.arg("pgrx");
    Ok(command)
}

fn from_shell(mut command: Command, workspace: &Workspace, tree: Tree) -> Result<Command> {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CFG_"]
            .iter()
            .any(|prefix| name_text.starts_with(prefix))
            || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR", "LD_LIBRARY_PATH"]
                .contains(&name_text.as_ref());
        // PG* would lead psql and libpq to a server of the user's own.
        let of_server = name_text.starts_with("PG") && name_text != "PGRX_HOME";
        if of_package || of_server {
            command.env_remove(&name);
        }
    }
    let own = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(workspace.tools().join("bin")).chain(std::env::split_paths(&own));
    let path = std::env::join_paths(path.collect::<Vec<PathBuf>>()).context("composing PATH")?;
    command
        .current_dir(workspace.root())
        .env("PATH", path)
        .env("PGRX_HOME", workspace.pgrx_home(tree))
        .env(major::VARIABLE, workspace.major().to_string())
        .env("CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND", "1")
        // It all goes to logs.
        .env("CARGO_TERM_COLOR", "never")
        .env("NO_COLOR", "1")
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE");
    Ok(command)
}
