//! What capture costs the clients: single-row updates by key, as fast as eight clients can, on a
//! table under deployment (phase ready, nobody syncs), on the same table without, and on the same table
//! with a trigger that does nothing, which is the least that a capture by triggers can cost.
//!
//! Twice: with commits that wait until they are on disk, as servers are set, and without, where a
//! transaction takes hardly longer than its work.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::judge::Judge;
use super::place::Place;
use super::session::{self, execute};
use super::table::Name;
use super::{Arguments, OWNER, median, save};
use crate::setup::Workspace;
use crate::setup::command::output;

/// Throughput with capture by that without, at least.
const GOAL: f64 = 0.93;

/// Updates one column without an index of one row.
const SCRIPT: &str =
    "\\set id random(1, :rows)\nUPDATE users SET version = version + 1 WHERE id = :id;\n";

/// What is on the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Nothing,
    /// An AFTER ROW trigger without a log to write to.
    EmptyTrigger,
    Capture,
}

/// Three runs, one after the other, in transactions per second.
#[derive(Debug, Serialize)]
struct Round {
    without: f64,
    empty: f64,
    with: f64,
}

/// The rounds with one way to commit.
#[derive(Debug, Serialize)]
struct Commits {
    synchronous_commit: &'static str,
    ratio: f64,
    empty_ratio: f64,
    rounds: Vec<Round>,
}

/// All runs, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    seconds: u64,
    commits: Vec<Commits>,
}

/// Runs the rounds, prints and saves them.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let mut place = Place::fill(Name::Users.table(), arguments.rows(1_000_000))?;
    let count = arguments.pairs(7);
    let window = Duration::from_secs(if arguments.quick { 2 } else { 6 });
    let (rows, seconds) = (place.rows, window.as_secs());
    println!("capture: {rows} rows of users, 8 clients, {seconds} s a run, {count} rounds");
    let on = rounds(&mut place, "on", count, window)?;
    judge.at_least("clients' throughput with capture ÷ without", on.ratio, GOAL, "");
    let off = rounds(&mut place, "off", count, window)?;
    println!(
        "clients' throughput with capture ÷ without, synchronous_commit = off: {:.3}, of which an empty trigger {:.3}",
        off.ratio, off.empty_ratio
    );
    save(workspace, "capture", &Runs { rows, seconds, commits: vec![on, off] })
}

fn rounds(
    place: &mut Place,
    synchronous_commit: &'static str,
    count: u32,
    window: Duration,
) -> Result<Commits> {
    println!("   synchronous_commit = {synchronous_commit}");
    let mut rounds = Vec::new();
    for number in 0..count {
        let mut round = Round { without: 0.0, empty: 0.0, with: 0.0 };
        let mut order = [On::Nothing, On::EmptyTrigger, On::Capture];
        order.rotate_left(number as usize % 3);
        for on in order {
            let throughput = one(place, window, on, synchronous_commit)?;
            *match on {
                On::Nothing => &mut round.without,
                On::EmptyTrigger => &mut round.empty,
                On::Capture => &mut round.with,
            } = throughput;
        }
        let Round { without, empty, with } = round;
        println!(
            "   without {without:>8.0} tps, empty trigger {empty:>8.0} tps: {:.3}, capture {with:>8.0} tps: {:.3}",
            empty / without,
            with / without
        );
        rounds.push(round);
    }
    Ok(Commits {
        synchronous_commit,
        ratio: median(rounds.iter().map(|round| round.with / round.without)),
        empty_ratio: median(rounds.iter().map(|round| round.empty / round.without)),
        rounds,
    })
}

/// The clients' throughput with this on the table.
fn one(place: &mut Place, window: Duration, on: On, synchronous_commit: &str) -> Result<f64> {
    match on {
        On::Nothing => updates(place, window, synchronous_commit),
        On::EmptyTrigger => {
            execute(
                &mut place.admin,
                "CREATE TRIGGER empty AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION bluegreen.capture()",
            )?;
            let throughput = updates(place, window, synchronous_commit)?;
            execute(&mut place.admin, "DROP TRIGGER empty ON users")?;
            Ok(throughput)
        }
        On::Capture => {
            let mut subject = session::subject(&place.cluster, &[])?;
            place.deploy(&mut subject)?;
            let throughput = updates(place, window, synchronous_commit)?;
            place.abandon(&mut subject)?;
            Ok(throughput)
        }
    }
}

/// The clients' throughput, after a time to get warm.
fn updates(place: &mut Place, window: Duration, synchronous_commit: &str) -> Result<f64> {
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
            .env("PGOPTIONS", format!("-c synchronous_commit={synchronous_commit}"));
        command
    };
    output(&mut pgbench(window / 4)).context("warming up")?;
    let said = output(&mut pgbench(window)).context("running the clients")?;
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    tps.and_then(|tps| tps.parse().ok()).with_context(|| format!("pgbench said: {said}"))
}
