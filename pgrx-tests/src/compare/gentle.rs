//! What a change in gentle mode costs clients that are as fast as they can: their throughput and
//! p99 while rows are copied and synced, by those of the same clients in a window before.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use postgres::Client;
use postgres::error::SqlState;
use serde::Serialize;

use super::judge::Judge;
use super::latencies::{Latencies, Transactions};
use super::load::{Load, Mix, Pace};
use super::place::Place;
use super::session::{self, Setting, execute};
use super::steps::Steps;
use super::table::Name;
use super::{Arguments, median, save};
use crate::setup::Workspace;

/// What makes a change gentle.
const GENTLE: [Setting; 3] =
    [("bluegreen.copy_workers", "1"), ("bluegreen.nice", "4"), ("bluegreen.batch_time", "50ms")];

/// Throughput by that before, at least.
const GOAL: f64 = 0.90;
/// p99 by that before, at most.
const GOAL_P99: f64 = 2.0;
/// Until clients are at their speed.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long blue is kept in step after it is ready, and how long nobody syncs in between.
const KEPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Some time of a change, and what clients reached in it by what they had reached before.
#[derive(Debug, Serialize)]
struct Part {
    kind: String,
    /// Whether it is judged: rows are copied or synced.
    counts: bool,
    seconds: f64,
    clients: Latencies,
    throughput: f64,
    p99: f64,
}

/// One change.
#[derive(Debug, Serialize)]
struct Run {
    before_seconds: f64,
    before: Latencies,
    parts: Vec<Part>,
    /// What counts, together.
    throughput: f64,
    p99: f64,
    in_step: bool,
}

/// All runs, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    settings: Vec<String>,
    throughput: f64,
    p99: f64,
    runs: Vec<Run>,
}

/// Runs the changes, prints and saves them.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let mut place = Place::fill(Name::Users.table(), arguments.rows(2_000_000))?;
    let settings = GENTLE.map(|(name, value)| format!("{name} = {value}")).to_vec();
    println!("gentle: {} rows of users, 8 clients; {}", place.rows, settings.join(", "));
    // As long as copy and sync are going to take, which only the first run tells.
    let mut window = Duration::from_secs(if arguments.quick { 2 } else { 20 });
    let limit = if arguments.quick { "60s" } else { "15min" };
    let mut runs = Vec::new();
    for _ in 0..arguments.pairs(5) {
        let run = one(&mut place, window, limit)?;
        run.print();
        let counted = run.parts.iter().filter(|part| part.counts).map(|part| part.seconds);
        window = Duration::from_secs_f64(counted.sum::<f64>().max(1.0));
        runs.push(run);
    }
    let throughput = median(runs.iter().map(|run| run.throughput));
    let p99 = median(runs.iter().map(|run| run.p99));
    judge.at_least("gentle: throughput during copy and sync ÷ before", throughput, GOAL, "");
    judge.at_most("gentle: p99 during copy and sync ÷ before", p99, GOAL_P99, "");
    let late = runs.iter().filter(|run| !run.in_step).count();
    judge.never(&format!("gentle: not in step after {limit}"), u64::try_from(late)?);
    save(workspace, "gentle", &Runs { rows: place.rows, settings, throughput, p99, runs })
}

fn one(place: &mut Place, window: Duration, limit: &str) -> Result<Run> {
    place.settle()?;
    let mut subject = session::subject(&place.cluster, &GENTLE)?;
    execute(&mut subject, &format!("SET statement_timeout = '{limit}'"))?;
    let load = Load::start(place, Pace::Flat, Mix::All)?.context("no clients")?;
    std::thread::sleep(WARM_UP + window);
    let began = SystemTime::now();
    execute(&mut subject, "SELECT bg_prepare('users', '')")?;
    let prepared = SystemTime::now();
    let in_step = in_step(&mut subject)?;
    let ended = SystemTime::now();
    let transactions = load.stop()?;
    let steps = Steps::of_last_deployment(&mut place.admin)?;
    place.abandon(&mut subject)?;

    let before = transactions.between(began - window, began)?;
    let windows = windows(&steps, prepared, ended)?;
    Run::of(&transactions, window, before, &windows, in_step)
}

/// Brings the change to `ready` and keeps it in step for a while; whether that was possible within
/// the session's limit.
fn in_step(subject: &mut Client) -> Result<bool> {
    let sql = "CALL bg_run('users')";
    let mut until = None;
    while until.is_none_or(|until| Instant::now() < until) {
        match subject.batch_execute(sql) {
            Ok(()) => {}
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => return Ok(false),
            Err(error) => return Err(error).context(sql),
        }
        until.get_or_insert(Instant::now() + KEPT);
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

/// A kind of step, and from when to when it ran.
type Window = (String, SystemTime, SystemTime);

/// Each step lasts from the end of the one before to its own: also what lies between batches.
fn windows(steps: &Steps, prepared: SystemTime, ended: SystemTime) -> Result<Vec<Window>> {
    let mut windows: Vec<Window> = Vec::new();
    let mut begin = prepared;
    for step in &steps.0 {
        let end = step.ended()?;
        if step.kind() == "prepare" || end <= begin {
            continue;
        }
        match windows.last_mut().filter(|(kind, ..)| kind == step.kind()) {
            Some((_, _, last)) => *last = end,
            None => windows.push((step.kind().to_owned(), begin, end)),
        }
        begin = end;
    }
    // Kept in step, or what did not come to its end.
    windows.push(("sync".to_owned(), begin, ended));
    Ok(windows)
}

fn counts(kind: &str) -> bool {
    kind.contains("copy") || kind.contains("sync")
}

impl Run {
    fn of(
        transactions: &Transactions,
        window: Duration,
        before: Latencies,
        windows: &[Window],
        in_step: bool,
    ) -> Result<Self> {
        let part = |(kind, from, to): &Window| -> Result<Part> {
            let clients = transactions.between(*from, *to)?;
            Ok(Part {
                kind: kind.clone(),
                counts: counts(kind),
                seconds: to.duration_since(*from).unwrap_or_default().as_secs_f64(),
                clients,
                throughput: clients.per_second / before.per_second,
                p99: clients.p99_ms / before.p99_ms,
            })
        };
        let counted: Vec<_> = windows
            .iter()
            .filter(|(kind, ..)| counts(kind))
            .map(|(_, from, to)| (*from, *to))
            .collect();
        let together = transactions.within(&counted)?;
        Ok(Self {
            before_seconds: window.as_secs_f64(),
            before,
            parts: windows.iter().map(part).collect::<Result<_>>()?,
            throughput: together.per_second / before.per_second,
            p99: together.p99_ms / before.p99_ms,
            in_step,
        })
    }

    fn print(&self) {
        println!(
            "   before: {:.1} s, {:.0} transactions a second, p99 {:.2} ms",
            self.before_seconds, self.before.per_second, self.before.p99_ms
        );
        for part in &self.parts {
            println!(
                "     {:<24}{:>7.2} s: throughput × {:.3}, p99 × {:.2}{}",
                part.kind,
                part.seconds,
                part.throughput,
                part.p99,
                if part.counts { "" } else { "; not counted" }
            );
        }
        println!("     copy and sync: throughput × {:.3}, p99 × {:.2}", self.throughput, self.p99);
    }
}
