//! What capture costs the clients: single-row updates by key, as fast as eight clients can, on a
//! table under deployment (phase ready, nobody syncs) and on the same table without.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::judge::Judge;
use super::place::Place;
use super::table::Name;
use super::{Arguments, OWNER, median, save, session};
use crate::setup::Workspace;
use crate::setup::command::output;

/// Throughput with capture by that without, at least.
const GOAL: f64 = 0.93;

/// Updates one column without an index of one row.
const SCRIPT: &str =
    "\\set id random(1, :rows)\nUPDATE users SET version = version + 1 WHERE id = :id;\n";

/// Two runs, one after the other, in transactions per second.
#[derive(Debug, Serialize)]
struct Pair {
    with: f64,
    without: f64,
}

/// All runs, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    seconds: u64,
    ratio: f64,
    pairs: Vec<Pair>,
}

/// Runs the pairs, prints and saves them.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let mut place = Place::fill(Name::Users.table(), arguments.rows(1_000_000))?;
    let count = arguments.pairs(7);
    let window = Duration::from_secs(if arguments.quick { 2 } else { 10 });
    let (rows, seconds) = (place.rows, window.as_secs());
    println!("capture: {rows} rows of users, 8 clients, {seconds} s a run, {count} pairs");
    let mut pairs = Vec::new();
    for number in 0..count {
        let pair = if number % 2 == 0 {
            let with = one(&mut place, window, true)?;
            Pair { with, without: one(&mut place, window, false)? }
        } else {
            let without = one(&mut place, window, false)?;
            Pair { with: one(&mut place, window, true)?, without }
        };
        println!(
            "   with {:>8.0} tps, without {:>8.0} tps: {:.3}",
            pair.with,
            pair.without,
            pair.with / pair.without
        );
        pairs.push(pair);
    }
    let ratio = median(pairs.iter().map(|pair| pair.with / pair.without));
    judge.at_least("clients' throughput with capture ÷ without", ratio, GOAL, "");
    save(workspace, "capture", &Runs { rows, seconds, ratio, pairs })
}

/// The clients' throughput, with the table under deployment or not.
fn one(place: &mut Place, window: Duration, captured: bool) -> Result<f64> {
    if !captured {
        return updates(place, window);
    }
    let mut subject = session::subject(&place.cluster, &[])?;
    place.deploy(&mut subject)?;
    let throughput = updates(place, window)?;
    place.abandon(&mut subject)?;
    Ok(throughput)
}

/// The clients' throughput, after a time to get warm.
fn updates(place: &mut Place, window: Duration) -> Result<f64> {
    place.settle()?;
    let files = tempfile::tempdir().context("making a directory for pgbench")?;
    let script = files.path().join("update");
    std::fs::write(&script, SCRIPT).context("writing the script")?;
    let pgbench = |time: Duration| -> Command {
        let mut command = place.cluster.command("pgbench");
        command
            .args(["-n", "-U", OWNER, "-M", "prepared", "-c", "8", "-j", "2"])
            .args(["-T", &time.as_secs().max(1).to_string()])
            .args(["-D", &format!("rows={}", place.rows)])
            .arg("-f")
            .arg(&script)
            .env("PGOPTIONS", "-c synchronous_commit=off");
        command
    };
    output(&mut pgbench(window / 4)).context("warming up")?;
    let said = output(&mut pgbench(window)).context("running the clients")?;
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    tps.and_then(|tps| tps.parse().ok()).with_context(|| format!("pgbench said: {said}"))
}
