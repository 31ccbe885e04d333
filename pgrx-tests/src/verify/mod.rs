//! `cargo verify`: every check of the repository, stage by stage.
//!
//! A stage's output goes to `target/verify/<stage>.log`; its end is shown when the stage fails, and
//! the other stages run all the same. Tests are counted from cargo's own "test result:" lines; a
//! stage that fails without a failed test (it did not compile, a lint) counts as one failure.

mod stages;
mod watch;

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::setup::command::{say, tail};
use crate::setup::{self, Tree, Workspace};

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
    /// A release build and one with failpoints, each installed into a private server of its own
    Install,
    /// The tests from outside, against throwaway clusters
    Client,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Format => "format",
            Stage::Lints => "lints",
            Stage::Unit => "unit",
            Stage::Install => "install",
            Stage::Client => "client",
        }
    }
}

/// Tests that ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs the stages. The last line on stdout is `N passed, N failed`; an error when one failed.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    setup::prepare(workspace, Tree::PgTest)?;

    let mut total = Count::default();
    for stage in Stage::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(stage) {
            let count = run_stage(workspace, *stage, arguments.repeat)?;
            total.passed += count.passed;
            total.failed += count.failed;
        }
    }
    say(&format!("All stages: {:.0} s", begin.elapsed().as_secs_f64()));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!("the verification failed; the logs are in target/verify");
    }
    Ok(())
}

fn run_stage(workspace: &Workspace, stage: Stage, repeat: u32) -> Result<Count> {
    let name = stage.name();
    let log = workspace.target().join("verify").join(format!("{name}.log"));
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    }
    fs::write(&log, "").with_context(|| format!("creating {}", log.display()))?;

    say(&format!("{name} …"));
    let begin = Instant::now();
    let passed = match stage {
        Stage::Format => stages::format(workspace, &log)?,
        Stage::Lints => stages::lints(workspace, &log)?,
        Stage::Unit => stages::unit(workspace, &log)?,
        Stage::Install => stages::install(workspace, &log)?,
        Stage::Client => stages::client(workspace, &log, repeat)?,
    };
    let text = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    let mut count = count_tests(&String::from_utf8_lossy(&text));
    if !passed {
        count.failed = count.failed.max(1);
        let said = failures(&String::from_utf8_lossy(&text));
        eprintln!("{said}{}\n(all of it: {})", tail(&log), log.display());
    }
    let verdict = if passed { "ok" } else { "FAILED" };
    let tests = match count {
        Count { passed: 0, failed: _ } => String::new(),
        Count { passed, failed } => format!(", {passed} passed, {failed} failed"),
    };
    say(&format!("{name} {verdict}, {:.0} s{tests}", begin.elapsed().as_secs_f64()));
    Ok(count)
}

/// What the tests that failed said: a long log goes on after them, and its end does not tell.
fn failures(log: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in log.lines() {
        inside = (inside || line == "failures:") && !line.starts_with("test result: ");
        if inside {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Adds up the lines `test result: ok. 4 passed; 0 failed; …` of a log.
fn count_tests(log: &str) -> Count {
    let mut count = Count::default();
    for line in log.lines() {
        let Some((_, result)) = line.split_once("test result: ") else { continue };
        let number = |what: &str| -> u64 {
            let before = result.split_once(what).map(|(before, _)| before.trim_end());
            let number = before.and_then(|text| text.rsplit([' ', ';', '.']).next());
            number.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        count.passed += number(" passed");
        count.failed += number(" failed");
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_several_test_programs_are_added_up() {
        let log = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; finished in 0.1s\n\
            test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured\n";

        assert_eq!(count_tests(log), Count { passed: 15, failed: 2 });
    }

    #[test]
    fn what_a_failed_test_said_is_found_in_the_middle_of_a_log() {
        let log = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\npanicked\n\n\
            test result: FAILED. 0 passed; 1 failed\ntest b ... ok\n";

        assert_eq!(failures(log), "failures:\n\n---- a stdout ----\npanicked\n\n");
    }

    #[test]
    fn a_log_without_tests_counts_nothing() {
        assert_eq!(count_tests("error: could not compile"), Count::default());
    }
}
