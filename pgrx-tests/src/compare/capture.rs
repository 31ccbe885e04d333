//! What capture costs the clients: single-row updates by key, as fast as eight clients can, on a
//! table under deployment (phase ready, nobody syncs) and on the same table without.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use postgres::Client;
use serde::Serialize;

use super::{Arguments, OWNER, median, save, start_cluster, table};
use crate::cluster::{Cluster, SUPERUSER};
use crate::setup::Workspace;
use crate::setup::command::{output, say};

/// Throughput with capture by that without, at least.
const GOAL: f64 = 0.90;

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

/// Runs the pairs, prints and saves them; what was missed.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<Vec<String>> {
    let rows = arguments.rows(1_000_000);
    let pairs = arguments.pairs(7);
    let window = Duration::from_secs(if arguments.quick { 2 } else { 10 });
    say(&format!("capture: filling users with {rows} rows"));
    let cluster = start_cluster()?;
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    table::create(&mut admin, rows)?;

    let seconds = window.as_secs();
    println!("capture: {rows} rows, 8 clients, {seconds} s a run, {pairs} pairs");
    let mut runs = Runs { rows, seconds, ratio: f64::NAN, pairs: Vec::new() };
    for number in 0..pairs {
        let mut one = |captured| one(&cluster, &mut admin, rows, window, captured);
        let pair = if number % 2 == 0 {
            let with = one(true)?;
            Pair { with, without: one(false)? }
        } else {
            let without = one(false)?;
            Pair { with: one(true)?, without }
        };
        println!(
            "   with {:>8.0} tps, without {:>8.0} tps: {:.3}",
            pair.with,
            pair.without,
            pair.with / pair.without
        );
        runs.pairs.push(pair);
    }
    runs.ratio = median(runs.pairs.iter().map(|pair| pair.with / pair.without));
    println!("median of with ÷ without: {:.3} (goal ≥ {GOAL}{})", runs.ratio, arguments.remark());
    save(workspace, "capture", &runs)?;

    let mut missed = Vec::new();
    if !arguments.quick && runs.ratio < GOAL {
        missed.push(format!("with capture the clients reach {:.3}, less than {GOAL}", runs.ratio));
    }
    Ok(missed)
}

/// The clients' throughput, with the table under deployment or not.
fn one(
    cluster: &Cluster,
    admin: &mut Client,
    rows: i64,
    window: Duration,
    captured: bool,
) -> Result<f64> {
    if !captured {
        return updates(cluster, admin, rows, window);
    }
    let mut owner = cluster.connect(OWNER, "postgres")?;
    execute(&mut owner, "SELECT bg_prepare('users', '')")?;
    execute(&mut owner, "CALL bg_run('users', 'ready')")?;
    let throughput = updates(cluster, admin, rows, window)?;
    execute(&mut owner, "SELECT bg_abort('users')")?;
    Ok(throughput)
}

/// The clients' throughput, after a time to get warm.
fn updates(cluster: &Cluster, admin: &mut Client, rows: i64, window: Duration) -> Result<f64> {
    table::settle(admin)?;
    let files = tempfile::tempdir().context("making a directory for pgbench")?;
    let script = files.path().join("update");
    std::fs::write(&script, SCRIPT).context("writing the script")?;
    let pgbench = |time: Duration| -> Command {
        let mut command = cluster.command("pgbench");
        command
            .args(["-n", "-U", OWNER, "-M", "prepared", "-c", "8", "-j", "2"])
            .args(["-T", &time.as_secs().max(1).to_string(), "-D", &format!("rows={rows}")])
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

fn execute(client: &mut Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).with_context(|| sql.to_owned())
}
