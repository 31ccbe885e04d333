//! What each stage runs. Each answers whether it passed, with everything it has to say in its log.

use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::User;

use super::selection::Selection;
use super::watch::{LIMIT, watch};
use crate::cluster::Account;
use crate::setup::command::{cargo, cargo_of_extension, cargo_pgrx, output};
use crate::setup::{self, Tree, Workspace};
use crate::source;

/// The features of the extension with everything that is compiled for tests. The lints and the tests
/// share a build of the dependencies by having the same.
fn test_features(workspace: &Workspace) -> String {
    format!("{} pg_test failpoints", workspace.major().feature())
}

/// Those of a release, with the dependencies of the tests for the same reason.
fn release_features(workspace: &Workspace) -> String {
    format!("{} test_dependencies", workspace.major().feature())
}

pub(super) fn format(workspace: &Workspace, log: &Path) -> Result<bool> {
    let mut fmt = cargo(workspace, Tree::PgTest)?;
    fmt.args(["fmt", "--all", "--check"]);
    watch(&mut fmt, log, LIMIT)
}

pub(super) fn lints(workspace: &Workspace, log: &Path) -> Result<bool> {
    let mut extension = cargo_of_extension(workspace, Tree::PgTest)?;
    extension
        .args(["clippy", "--package", "pg_bluegreen", "--all-targets"])
        .args(["--no-default-features", "--features", &test_features(workspace)])
        .args(["--", "-D", "warnings"]);
    // As it is released: what only tests use would be dead code here.
    let mut release = cargo_of_extension(workspace, Tree::PgTest)?;
    release
        .args(["clippy", "--package", "pg_bluegreen", "--lib"])
        .args(["--no-default-features", "--features", &release_features(workspace)])
        .args(["--", "-D", "warnings"]);
    let mut tests = cargo(workspace, Tree::PgTest)?;
    tests
        .args(["clippy", "--package", "pg_bluegreen-tests", "--all-targets"])
        .args(["--", "-D", "warnings"]);

    let mut passed = true;
    for command in [&mut extension, &mut release, &mut tests] {
        passed &= watch(command, log, LIMIT)?;
    }
    let found = source::unsafe_outside(&source::read_all(&workspace.root().join("src"))?);
    for line in &found {
        append(log, &format!("error: unsafe code belongs in src/pg or src/heap: {line}\n"))?;
    }
    Ok(passed && found.is_empty())
}

pub(super) fn unit(workspace: &Workspace, log: &Path) -> Result<bool> {
    // Its own place, for the length of a socket's path and because the clone may be unreadable.
    let data = tempfile::Builder::new()
        .prefix("bluegreen-test-")
        .tempdir_in("/tmp")
        .context("making a directory for the test server")?;
    let account = Account::find()?;
    account.adopt(data.path())?;

    let mut test = cargo_pgrx(workspace, Tree::PgTest)?;
    let (major, features) = (workspace.major().feature(), test_features(workspace));
    test.args(["test", &major, "--no-default-features", "--features", &features]);
    test.arg("--pgdata").arg(data.path());
    let mut test = match account {
        Account::Own => {
            // pgrx asks the environment, which cron and containers leave empty.
            if let Ok(Some(user)) = User::from_uid(nix::unistd::geteuid()) {
                test.env("USER", user.name);
            }
            test
        }
        Account::Mapped { .. } => wrapped(account, &test, workspace),
        // Its own way to be somebody else; it needs sudo.
        Account::Switched { .. } => {
            test.args(["--runas", "postgres"]);
            test
        }
    };
    watch(&mut test, log, LIMIT)
}

pub(super) fn install(workspace: &Workspace, log: &Path) -> Result<bool> {
    // The failpoints have a tree of their own: the release build has none.
    let mut installed = [Tree::Release, Tree::Failpoints].into_iter();
    said(installed.try_for_each(|tree| setup::install(workspace, tree)), log)
}

/// See [`setup::install_with_failpoints`].
pub(super) fn install_with_failpoints(workspace: &Workspace, log: &Path) -> Result<bool> {
    said(setup::install_with_failpoints(workspace), log)
}

/// Whether something succeeded; why not goes to the log.
fn said(result: Result<()>, log: &Path) -> Result<bool> {
    let Err(error) = result else { return Ok(true) };
    append(log, &format!("{error:#}\n"))?;
    Ok(false)
}

/// Tests that measure how long somebody waited, or wait themselves for no longer than a few seconds: they run
/// after the others, whose load would spoil them. They leave the processors idle most of the time.
const MEASURES: &[&str] = &[
    "backfill::copier_costs::",
    "backfill::copier_fallback::",
    "concurrency::isolation::",
    "operations::memory::",
    "rights::escalation::",
    "runner::throttle::",
    "runner::throttle_standbys::",
    "runner::workers_faults::",
    "swap::blockers::",
    "swap::locks::",
];

/// The tests from outside that are selected, each with concurrent writers so often.
pub(super) fn client(
    workspace: &Workspace,
    log: &Path,
    repeat: u32,
    selection: &Selection,
) -> Result<bool> {
    // One more than there are processors: a test waits now and then.
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get) + 1;
    let mut together = tests(workspace, repeat)?;
    let mut measured = tests(workspace, repeat)?;
    measured.args(["--test", "suite", "--", "--test-threads", &threads.to_string()]);
    let mut runs_measured = true;
    match selection {
        Selection::All => {
            together.args(["--", "--test-threads", &threads.to_string()]);
            for module in MEASURES {
                together.args(["--skip", module]);
            }
            measured.args(MEASURES);
        }
        Selection::Modules(modules) => {
            let measures = |module: &&String| MEASURES.contains(&module.as_str());
            let (slow, fast): (Vec<_>, Vec<_>) = modules.iter().partition(measures);
            together.args(["--test", "suite", "--", "--test-threads", &threads.to_string()]);
            together.args(fast);
            measured.args(&slow);
            // Without a module all would run.
            runs_measured = !slow.is_empty();
        }
    }
    let passed = watch(&mut together, log, 3 * LIMIT * repeat)?;
    Ok((!runs_measured || watch(&mut measured, log, 2 * LIMIT * repeat)?) && passed)
}

/// The names of all tests from outside that need a server, as their program lists them; nothing where it cannot be
/// built, and why goes to the log.
pub(super) fn list(workspace: &Workspace, log: &Path) -> Result<Option<String>> {
    let mut list = tests(workspace, 1)?;
    let listed = output(list.args(["--test", "suite", "--", "--list"]));
    match listed {
        Ok(list) => Ok(Some(list)),
        Err(error) => said(Err(error), log).map(|_| None),
    }
}

fn tests(workspace: &Workspace, repeat: u32) -> Result<Command> {
    let mut test = cargo(workspace, Tree::Release)?;
    test.args(["test", "--profile", "client", "--package", "pg_bluegreen-tests"])
        .arg("--no-fail-fast")
        .env("BLUEGREEN_REPEAT", repeat.to_string());
    Ok(test)
}

/// The same command as another account, in the same place and environment.
fn wrapped(account: Account, command: &Command, workspace: &Workspace) -> Command {
    let mut outer = account.command(command.get_program());
    outer.args(command.get_args()).current_dir(workspace.root());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

fn append(log: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", log.display()))
}
