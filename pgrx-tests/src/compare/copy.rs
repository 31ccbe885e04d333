//! A whole change, from `bg_prepare` to swapped, beside the floor: CREATE TABLE AS and the same four
//! indexes, which is no online change but the least that any rewrite must do. Both under the same
//! load of clients.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use postgres::{Client, NoTls};
use serde::Serialize;

use super::load::{Latencies, Load, RATE};
use super::snapshots::{SUBJECT, Watch};
use super::{Arguments, OWNER, median, save, start_cluster, table};
use crate::cluster::{Cluster, SUPERUSER};
use crate::setup::Workspace;
use crate::setup::command::say;

/// Ours by the floor, in seconds, at most.
const GOAL: f64 = 1.5;

/// Who rewrites the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Ours,
    Floor,
}

/// One rewrite under load.
#[derive(Debug, Serialize)]
struct Run {
    side: Side,
    seconds: f64,
    wal_bytes: i64,
    oldest_snapshot_seconds: f64,
    clients: Latencies,
    writes_lost: i64,
}

/// All runs, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    rate: u32,
    ratio: f64,
    pairs: Vec<[Run; 2]>,
}

/// Runs the pairs, prints and saves them; what was missed.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<Vec<String>> {
    let rows = arguments.rows(2_000_000);
    let pairs = arguments.pairs(5);
    say(&format!("copy: filling users with {rows} rows"));
    let cluster = start_cluster()?;
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    table::create(&mut admin, rows)?;

    println!("copy: {rows} rows, {RATE} client transactions a second, {pairs} pairs");
    println!(
        "{:>6}{:>9}{:>9}{:>13}{:>9}{:>9}{:>12}{:>6}",
        "", "seconds", "WAL MB", "snapshot s", "p50 ms", "p99 ms", "longest ms", "lost"
    );
    let mut runs = Runs { rows, rate: RATE, ratio: f64::NAN, pairs: Vec::new() };
    for pair in 0..pairs {
        let mut one = |side| one(&cluster, &mut admin, rows, side);
        // Turn by turn first, so that neither profits from the other's order.
        let (ours, floor) = if pair % 2 == 0 {
            let ours = one(Side::Ours)?;
            (ours, one(Side::Floor)?)
        } else {
            let floor = one(Side::Floor)?;
            (one(Side::Ours)?, floor)
        };
        runs.pairs.push([ours, floor]);
    }
    runs.ratio = median(runs.pairs.iter().map(|[ours, floor]| ours.seconds / floor.seconds));
    println!("median of ours ÷ floor: {:.2} (goal ≤ {GOAL}{})", runs.ratio, arguments.remark());
    save(workspace, "copy", &runs)?;

    let lost: i64 = runs.pairs.iter().flatten().map(|run| run.writes_lost).sum();
    let mut missed = Vec::new();
    if lost > 0 {
        missed.push(format!("{lost} committed writes were lost"));
    }
    if !arguments.quick && runs.ratio > GOAL {
        missed.push(format!("copy took {:.2} × the floor, more than {GOAL}", runs.ratio));
    }
    Ok(missed)
}

fn one(cluster: &Cluster, admin: &mut Client, rows: i64, side: Side) -> Result<Run> {
    table::settle(admin)?;
    let before = table::beyond_ledger(admin)?;
    let load = Load::start(cluster, rows)?;
    std::thread::sleep(Duration::from_secs(2));

    let mut config = cluster.config(OWNER, "postgres");
    let mut subject = config.application_name(SUBJECT).connect(NoTls).context("connecting")?;
    let watch = Watch::start(cluster)?;
    let wal = wal_position(admin)?;
    let (from, begin) = (SystemTime::now(), Instant::now());
    rewrite(&mut subject, side)?;
    let (seconds, to) = (begin.elapsed().as_secs_f64(), SystemTime::now());
    let wal_bytes = wal_position(admin)? - wal;
    let oldest_snapshot_seconds = watch.stop()?;
    // Whoever was queued behind the swap is through after that.
    std::thread::sleep(Duration::from_millis(500));
    let clients = load.stop(from, to)?;

    let writes_lost = table::beyond_ledger(admin)?.lost_since(before);
    tidy_up(&mut subject, side)?;
    let run = Run { side, seconds, wal_bytes, oldest_snapshot_seconds, clients, writes_lost };
    print(&run);
    Ok(run)
}

fn rewrite(subject: &mut Client, side: Side) -> Result<()> {
    let mut statements = match side {
        Side::Ours => vec![
            "SELECT bg_prepare('users', '')".to_owned(),
            "CALL bg_run('users', 'swapped')".to_owned(),
        ],
        Side::Floor => vec!["CREATE TABLE floor.users AS SELECT * FROM users".to_owned()],
    };
    if side == Side::Floor {
        statements.extend(table::INDEXES.map(|sql| sql.replace("{table}", "floor.users")));
    }
    execute(subject, &statements)
}

fn tidy_up(subject: &mut Client, side: Side) -> Result<()> {
    let sql = match side {
        Side::Ours => "SELECT bg_finish('users')",
        Side::Floor => "DROP TABLE floor.users",
    };
    execute(subject, &[sql.to_owned()])
}

fn execute(client: &mut Client, statements: &[String]) -> Result<()> {
    for sql in statements {
        client.batch_execute(sql).with_context(|| sql.clone())?;
    }
    Ok(())
}

fn wal_position(admin: &mut Client) -> Result<i64> {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8";
    Ok(admin.query_one(sql, &[]).context("reading the WAL's position")?.get(0))
}

fn print(run: &Run) {
    let side = match run.side {
        Side::Ours => "ours",
        Side::Floor => "floor",
    };
    #[allow(clippy::cast_precision_loss)]
    let megabytes = run.wal_bytes as f64 / 1e6;
    let Latencies { p50_ms, p99_ms, longest_ms, .. } = run.clients;
    println!(
        "{side:>6}{:>9.2}{megabytes:>9.0}{:>13.2}{p50_ms:>9.2}{p99_ms:>9.2}{longest_ms:>12.1}{:>6}",
        run.seconds, run.oldest_snapshot_seconds, run.writes_lost
    );
}
