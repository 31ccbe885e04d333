//! `cargo compare`: how fast a change is, and what it costs the clients.
//!
//! Comparisons on one machine, of alternating pairs, so that what the machine does besides hits both
//! sides: `copy` puts a whole change beside the least that any rewrite must do, `capture` puts the
//! throughput of clients on a table under deployment beside that on the same table without. `lock`
//! tells how long a swap holds its locks, at two sizes of the table.
//! Medians count; the runs themselves are in `target/compare/*.json`.

mod capture;
mod copy;
mod load;
mod lock;
mod snapshots;
mod table;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::Serialize;

use crate::cluster::{Cluster, Options};
use crate::setup::command::say;
use crate::setup::{self, Tree, Workspace};

/// The role that owns the table and whose sessions are measured.
const OWNER: &str = "app";

/// What `cargo compare` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Run this comparison only
    #[arg(long, value_enum)]
    only: Option<Comparison>,
    /// Pairs of runs; 5 for copy and 7 for capture when not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,
    /// A small table, short runs and one pair: shows that it works, measures nothing
    #[arg(long)]
    quick: bool,
    /// Rows of the table; 2 million for copy and 1 million for capture when not given
    #[arg(long, value_parser = clap::value_parser!(i64).range(1000..))]
    rows: Option<i64>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Comparison {
    /// From bg_prepare to swapped, beside CREATE TABLE AS and four indexes, under the same load
    Copy,
    /// Single-row updates with capture on, beside those without
    Capture,
    /// How long a swap holds its locks, at two sizes of the table
    Lock,
}

impl Arguments {
    fn pairs(&self, usual: u32) -> u32 {
        self.pairs.unwrap_or(if self.quick { 1 } else { usual })
    }

    /// What is to be said beside a goal.
    fn remark(&self) -> &'static str {
        if self.quick { ", not judged by a quick run" } else { "" }
    }

    fn rows(&self, usual: i64) -> i64 {
        self.rows.unwrap_or(if self.quick { usual / 10 } else { usual })
    }
}

/// Sets up what is missing and compares. An error when a goal was missed, a write was lost or a
/// client got an error; goals are not judged by a quick run.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::install(workspace, Tree::Release)?;
    let mut missed = Vec::new();
    for comparison in Comparison::value_variants() {
        if arguments.only.is_none_or(|only| only == *comparison) {
            let result = match comparison {
                Comparison::Copy => copy::run(workspace, arguments)?,
                Comparison::Capture => capture::run(workspace, arguments)?,
                Comparison::Lock => lock::run(workspace, arguments)?,
            };
            missed.extend(result);
        }
    }
    if !missed.is_empty() {
        bail!("{}", missed.join("; "));
    }
    Ok(())
}

/// A cluster set up as a small production server: durable, with enough WAL to need no checkpoint in
/// the middle of a run.
fn start_cluster() -> Result<Cluster> {
    let options = Options::default()
        .shared_buffers("1GB")
        .set("fsync", "on")
        .set("max_wal_size", "16GB")
        .set("checkpoint_timeout", "1h")
        .set("maintenance_work_mem", "256MB");
    let cluster = Cluster::start(&options)?;
    cluster.install_extension("postgres")?;
    cluster.create_owner(OWNER)?;
    Ok(cluster)
}

/// Keeps the runs.
fn save(workspace: &Workspace, name: &str, what: &impl Serialize) -> Result<()> {
    let dir = workspace.target().join("compare");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let file = dir.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(what).context("writing JSON")?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    say(&format!("The runs are in target/compare/{name}.json"));
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
