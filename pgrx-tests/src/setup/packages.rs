//! The Debian packages that are needed, and how they get onto the machine.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::command::{run_logged, say};
use super::servers;
use super::workspace::Workspace;

/// What building and running the extension needs, beside the server of the version.
///
/// `libclang-dev` is for bindgen; `pkg-config` and `libssl-dev` are for cargo-pgrx itself, which
/// links against OpenSSL.
const NEEDED: &[&str] = &["gcc", "libc6-dev", "pkg-config", "libssl-dev", "libclang-dev"];

/// Installs what is missing of what everything needs, or says with which line it can be installed.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    let of_server = servers::packages(workspace.major());
    ensure_these(workspace, &[NEEDED, of_server].concat())
}

/// Installs a package if the program that it has does not run: it may have come from elsewhere.
pub fn ensure_program(
    workspace: &Workspace,
    program: &str,
    arguments: &[&str],
    package: &'static str,
) -> Result<()> {
    if runs(program, arguments) { Ok(()) } else { ensure_these(workspace, &[package]) }
}

/// Installs what is missing of these packages, or says with which line it can be installed.
pub fn ensure_these(workspace: &Workspace, packages: &[&'static str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !runs("dpkg-query", &["--version"]) {
        bail!(
            "this is no Debian: the set-up needs the server's headers, libclang, OpenSSL's headers \
             and pkg-config, where Debian 12 has them"
        );
    }
    let list = missing.join(" ");
    let Some(prefix) = may_install() else {
        bail!(
            "these Debian packages are missing, and installing them needs root. Run this line, then \
             the command again:\n\n    sudo apt-get update && sudo apt-get install -y \
             --no-install-recommends {list}\n"
        );
    };
    say(&format!("Installing Debian packages: {list}"));
    let log = workspace.target().join("setup/apt.log");
    let install = ["install", "-y", "--no-install-recommends"];
    let attempt = apt(prefix, &install, &missing, workspace);
    if attempt.is_err() {
        // A fresh machine has no package lists, or old ones.
        run_logged(&mut command(prefix, &["update"], &[]), &log).context("updating apt's lists")?;
        apt(prefix, &install, &missing, workspace)?;
    }
    Ok(())
}

fn apt(prefix: Prefix, verb: &[&str], packages: &[&str], workspace: &Workspace) -> Result<()> {
    let log = workspace.target().join("setup/apt.log");
    run_logged(&mut command(prefix, verb, packages), &log).context("installing Debian packages")
}

/// How apt-get is started.
#[derive(Clone, Copy)]
enum Prefix {
    Root,
    Sudo,
}

fn command(prefix: Prefix, verb: &[&str], packages: &[&str]) -> Command {
    let mut command = match prefix {
        Prefix::Root => Command::new("env"),
        Prefix::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "env"]);
            command
        }
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(verb).args(packages);
    command
}

fn may_install() -> Option<Prefix> {
    if nix::unistd::geteuid().is_root() {
        Some(Prefix::Root)
    } else if runs("sudo", &["-n", "true"]) {
        Some(Prefix::Sudo)
    } else {
        None
    }
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"installed"))
}

/// Whether a program is there and succeeds.
pub fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
