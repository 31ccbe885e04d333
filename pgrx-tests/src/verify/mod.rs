//! `cargo verify`: every check of the repository, stage by stage.
//!
//! A stage's output goes to `target/verify/<stage>.log`; its end is shown when the stage fails, and
//! the other stages run all the same. Tests are counted from cargo's own "test result:" lines; a
//! stage that fails without a failed test (it did not compile, a lint) counts as one failure.

mod count;
mod selection;
mod stages;
mod watch;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::setup::command::{say, tail};
use crate::setup::{self, Major, Tree, Workspace};
use count::{Count, failures};
use selection::Selection;

/// What `cargo verify` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How often each test with concurrent writers is repeated
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Run this stage only; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Stage>,
}

/// A part of the verification, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// rustfmt over the workspace
    Format,
    /// clippy over the workspace, and no `unsafe` outside src/pg and src/heap
    Lints,
    /// The extension's tests, without a server and inside one (cargo pgrx test)
    Unit,
    /// A release build and a quick one with failpoints, each installed into a private server of its own
    Install,
    /// The tests from outside, against throwaway clusters
    Client,
    /// On each other major version, unless --pg names one: a build, and the tests from outside that depend on the version
    Others,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Format => "format",
            Stage::Lints => "lints",
            Stage::Unit => "unit",
            Stage::Install => "install",
            Stage::Client => "client",
            Stage::Others => "others",
        }
    }
}

/// Runs the stages. Of each major version stdout has a line with its counts, and the last line is
/// `N passed, N failed`; an error when one failed.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let is_wanted = |stage| arguments.only.is_empty() || arguments.only.contains(&stage);
    let begin = Instant::now();
    let mut counts = Vec::new();
    let stages = Stage::value_variants().iter().filter(|stage| **stage != Stage::Others);
    let stages: Vec<Stage> = stages.copied().filter(|stage| is_wanted(*stage)).collect();
    if !stages.is_empty() {
        setup::prepare(workspace, Tree::PgTest)?;
        counts.push(of_version(workspace, || everything(workspace, &stages, arguments.repeat))?);
    }
    let others = if is_wanted(Stage::Others) { others(workspace)? } else { Vec::new() };
    if counts.is_empty() && others.is_empty() {
        bail!("there is nothing to run: --pg names a version, so that the others are left out");
    }
    for workspace in &others {
        counts.push(of_version(workspace, || a_part(workspace, arguments.repeat))?);
    }
    say(&format!("All stages: {:.0} s", begin.elapsed().as_secs_f64()));
    for (major, count, seconds) in &counts {
        println!("PostgreSQL {major}: {count}, {seconds} s");
    }
    let total: Count = counts.into_iter().map(|(_, count, _)| count).sum();
    println!("{total}");
    if total.failed > 0 {
        bail!("the verification failed; the logs are in target/verify");
    }
    Ok(())
}

/// The clone with each version but its own; none where a version was asked for.
fn others(workspace: &Workspace) -> Result<Vec<Workspace>> {
    if Major::asked_for()?.is_some() {
        return Ok(Vec::new());
    }
    let others =
        setup::available(workspace).into_iter().filter(|major| *major != workspace.major());
    let others: Vec<_> = others.map(|major| workspace.with_major(major)).collect();
    if others.is_empty() {
        say("The other major versions are left out: this machine cannot have their servers");
    }
    Ok(others)
}

/// What ran on a version, and for how many seconds.
fn of_version(
    workspace: &Workspace,
    run: impl FnOnce() -> Result<Count>,
) -> Result<(Major, Count, u64)> {
    let begin = Instant::now();
    Ok((workspace.major(), run()?, begin.elapsed().as_secs()))
}

fn everything(workspace: &Workspace, stages: &[Stage], repeat: u32) -> Result<Count> {
    let mut counts = Vec::new();
    for stage in stages {
        counts.push(run_stage(workspace, stage.name(), |log| match stage {
            Stage::Format => stages::format(workspace, log),
            Stage::Lints => stages::lints(workspace, log),
            Stage::Unit => stages::unit(workspace, log),
            Stage::Install => stages::install(workspace, log),
            Stage::Client => stages::client(workspace, log, repeat, &Selection::All),
            Stage::Others => Ok(true),
        })?);
    }
    Ok(counts.into_iter().sum())
}

/// A build, and the tests that are selected today.
fn a_part(workspace: &Workspace, repeat: u32) -> Result<Count> {
    let major = workspace.major();
    let installed = run_stage(workspace, &format!("install-{major}"), |log| {
        stages::install_with_failpoints(workspace, log)
    })?;
    if installed.failed > 0 {
        return Ok(installed);
    }
    let tested = run_stage(workspace, &format!("client-{major}"), |log| {
        let Some(list) = stages::list(workspace, log)? else { return Ok(false) };
        stages::client(workspace, log, repeat, &selection::today(major, &list)?)
    })?;
    if tested == Count::default() {
        // A selection that names nothing is a failure, and the other versions are tried all the same.
        say(&format!("no test ran on PostgreSQL {major}"));
        return Ok(Count { passed: 0, failed: 1 });
    }
    Ok(tested)
}

/// Runs a stage with a log, and says how it ended.
fn run_stage(
    workspace: &Workspace,
    name: &str,
    run: impl FnOnce(&Path) -> Result<bool>,
) -> Result<Count> {
    let log = workspace.target().join("verify").join(format!("{name}.log"));
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    fs::write(&log, "").with_context(|| format!("creating {}", log.display()))?;

    say(&format!("{name} …"));
    let begin = Instant::now();
    let passed = run(&log)?;
    let text = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let mut count = Count::of_log(&text);
    if !passed {
        count.failed = count.failed.max(1);
        eprintln!("{}{}\n(all of it: {})", failures(&text), tail(&log), log.display());
    }
    let verdict = if passed { "ok" } else { "FAILED" };
    let tests = if count.passed == 0 { String::new() } else { format!(", {count}") };
    say(&format!("{name} {verdict}, {:.0} s{tests}", begin.elapsed().as_secs_f64()));
    Ok(count)
}
