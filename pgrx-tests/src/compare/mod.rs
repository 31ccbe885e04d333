//! `cargo compare`: how fast a change is, and what it costs the clients.
//!
//! Each comparison puts what is measured beside what it is measured by, on one machine and in turns,
//! so that what the machine does besides hits both sides; see [`Comparison`] for what there is.
//! Medians count, and goals are judged by them. The runs themselves are in `target/compare/N/*.json`,
//! where N is the major version, and the clients' latency during a change is drawn in `change-*.svg` beside them.

mod bulk;
mod bulk_update;
mod capture;
mod change;
mod contender;
mod copy;
mod eta;
mod gentle;
mod judge;
mod latencies;
mod ledger;
mod load;
mod lock;
mod memory;
mod ours;
mod picture;
mod place;
mod readers;
mod scale;
mod session;
mod side;
mod stall;
mod steps;
mod table;
mod warm;
mod watch;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use crate::setup::command::say;
use crate::setup::{self, Tree, Workspace};
use contender::Contender;
use judge::Judge;
use load::Pace;
use side::Sides;
use table::Name;

/// The role that owns the table and whose sessions are measured.
const OWNER: &str = "app";

/// What `cargo compare` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run this comparison only; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Comparison>,
    /// For ours, change, copy and eta: this table; may be given several times
    #[arg(long, value_enum)]
    table: Vec<Name>,
    /// For ours, change and stall: under this load; may be given several times
    #[arg(long, value_enum)]
    load: Vec<Pace>,
    /// For ours and change: this contender; may be given several times
    #[arg(long, value_enum)]
    contender: Vec<Contender>,
    /// Repetitions; 5 when not given, 7 for capture
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,
    /// A small table, short runs and one repetition: shows that it works, measures nothing
    #[arg(long)]
    quick: bool,
    /// Rows of the table; 1 or 2 million when not given
    #[arg(long, value_parser = clap::value_parser!(i64).range(1000..))]
    rows: Option<i64>,
    /// Compare what is installed under target/server, without building the clone first; of a version other than the
    /// usual one `cargo verify` installs a build that is not optimised
    #[arg(long)]
    installed: bool,
    /// Build this commit too and measure both in turns: each figure also as ours ÷ that commit's.
    /// For ours, change, copy, stall and lock
    #[arg(long, value_name = "COMMIT")]
    beside: Option<String>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Comparison {
    /// What a user runs, all settings as they are, beside the least that a rewrite must do and pg_repack
    Ours,
    /// From bg_prepare to swapped, beside the least that a rewrite must do, pg_repack, and others
    Change,
    /// The copy alone, beside CREATE TABLE AS, on five kinds of tables
    Copy,
    /// The copy's time per row and memory at ten times the rows
    Scale,
    /// Clients as fast as they can during a change in gentle mode, beside before it
    Gentle,
    /// Single-row updates with capture on, beside those without
    Capture,
    /// One update of all rows with capture on, beside one without
    Bulk,
    /// From one update of all rows during the copy to ready, beside a deployment without one
    BulkUpdate,
    /// The longest transaction of writers around a swap, beside before it
    Stall,
    /// How long a swap holds its locks, at two sizes of the table
    Lock,
    /// What `bg_status.eta` foretells at 10, 25 and 50 % of the time, beside the real time to `ready`
    Eta,
}

impl Arguments {
    fn pairs(&self, usual: u32) -> u32 {
        self.pairs.unwrap_or(if self.quick { 1 } else { usual })
    }

    fn rows(&self, usual: i64) -> i64 {
        self.rows.unwrap_or(if self.quick { usual / 20 } else { usual })
    }

    fn tables(&self, usual: &[Name]) -> Vec<Name> {
        given_or(&self.table, usual)
    }

    fn loads(&self, usual: &[Pace]) -> Vec<Pace> {
        given_or(&self.load, usual)
    }

    fn contenders(&self, usual: &[Contender]) -> Vec<Contender> {
        given_or(&self.contender, usual)
    }
}

impl Comparison {
    /// Whether it can measure two builds in turns.
    fn knows_beside(self) -> bool {
        matches!(self, Self::Ours | Self::Change | Self::Copy | Self::Stall | Self::Lock)
    }

    fn run(
        self,
        workspace: &Workspace,
        arguments: &Arguments,
        sides: &Sides,
        judge: &mut Judge,
    ) -> Result<()> {
        match self {
            Self::Ours => ours::run(workspace, arguments, sides, judge),
            Self::Change => change::run(workspace, arguments, sides, judge),
            Self::Copy => copy::run(workspace, arguments, sides, judge),
            Self::Scale => scale::run(workspace, arguments, judge),
            Self::Gentle => gentle::run(workspace, arguments, judge),
            Self::Capture => capture::run(workspace, arguments, judge),
            Self::Bulk => bulk::run(workspace, arguments, judge),
            Self::BulkUpdate => bulk_update::run(workspace, arguments, judge),
            Self::Stall => stall::run(workspace, arguments, sides, judge),
            Self::Lock => lock::run(workspace, arguments, sides, judge),
            Self::Eta => eta::run(workspace, arguments, judge),
        }
    }
}

fn given_or<T: Copy>(given: &[T], usual: &[T]) -> Vec<T> {
    if given.is_empty() { usual.to_vec() } else { given.to_vec() }
}

/// Sets up what is missing and compares. An error when a goal was missed, a write was lost or a
/// client got an error; goals are not judged by a quick run.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut comparisons = given_or(&arguments.only, Comparison::value_variants());
    if arguments.beside.is_some() {
        if let Some(other) = arguments.only.iter().find(|comparison| !comparison.knows_beside()) {
            bail!("--beside is not for {}", format!("{other:?}").to_lowercase());
        }
        comparisons.retain(|comparison| comparison.knows_beside());
    }
    if !arguments.installed {
        setup::install(workspace, Tree::Release)?;
    }
    let beside = match &arguments.beside {
        Some(commit) => Some(setup::install_beside(workspace, commit, arguments.installed)?),
        None => None,
    };
    let sides = Sides::new(beside);
    let mut judge = Judge::new(arguments);
    for comparison in comparisons {
        // The others are still worth their time.
        if let Err(error) = comparison.run(workspace, arguments, &sides, &mut judge) {
            judge.failed(&format!("{comparison:?}").to_lowercase(), &error);
        }
    }
    let missed = judge.missed();
    if !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

/// Where runs and pictures are kept.
fn output_directory(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.target().join("compare").join(workspace.major().to_string());
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

/// Keeps the runs.
fn save(workspace: &Workspace, name: &str, what: &impl Serialize) -> Result<()> {
    let file = output_directory(workspace)?.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(what).context("writing JSON")?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    say(&format!("The runs are in target/compare/{}/{name}.json", workspace.major()));
    Ok(())
}

/// The middle one; of an even number the mean of the two in the middle. Nothing of nothing.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]).to_string(), "2");
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]).to_string(), "2.5");
        assert!(median([]).is_nan());
    }
}
