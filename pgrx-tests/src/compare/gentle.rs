//! What a change in gentle mode costs clients that are as fast as they can: their throughput and
//! p99 while rows are copied and synced, by those of the same clients in a window before.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use postgres::error::SqlState;
use postgres::{Client, NoTls};
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
const GENTLE: [Setting; 4] = [
    ("bluegreen.copy_workers", "1"),
    ("bluegreen.nice", "19"),
    ("bluegreen.batch_time", "5ms"),
    ("bluegreen.max_wal_rate", "10MB"),
];

/// Throughput by that before, at least.
const GOAL: f64 = 0.90;
/// p99 by that before, at most.
const GOAL_P99: f64 = 2.0;
/// Until clients are at their speed.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long rows are synced beside the clients, and how long nobody does in between.
const SYNCED: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

const RUN: &str = "CALL bg_run('users')";
/// The step of the history after which rows are synced.
const LAST_BEFORE_SYNC: &str = "dependents";

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
    /// Seconds until blue was in step when the clients had stopped; None: not within the limit.
    caught_up: Option<f64>,
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
    let mut place = Place::fill(Name::Users.table(), arguments.rows(1_000_000))?;
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
    let late = runs.iter().filter(|run| run.caught_up.is_none()).count();
    judge.never(&format!("gentle: not in step {limit} after the clients"), u64::try_from(late)?);
    save(workspace, "gentle", &Runs { rows: place.rows, settings, throughput, p99, runs })
}

fn one(place: &mut Place, window: Duration, limit: &str) -> Result<Run> {
    place.settle()?;
    let mut subject = session::subject(&place.cluster, &GENTLE)?;
    let load = Load::start(place, Pace::Flat, Mix::All)?.context("no clients")?;
    std::thread::sleep(WARM_UP + window);
    let began = SystemTime::now();
    execute(&mut subject, "SELECT bg_prepare('users', '')")?;
    let prepared = SystemTime::now();
    run_until_synced_for_a_while(place, &mut subject)?;
    let ended = SystemTime::now();
    let transactions = load.stop()?;
    let steps = Steps::of_last_deployment(&mut place.admin)?;
    let caught_up = catch_up(&mut subject, limit)?;
    place.abandon(&mut subject)?;

    let before = transactions.between(began - window, began)?;
    let windows = windows(&steps, prepared, ended)?;
    Run::of(&transactions, window, before, &windows, caught_up)
}

/// Drives the change, whatever else the clients leave to do, until blue was synced for a while.
fn run_until_synced_for_a_while(place: &mut Place, subject: &mut Client) -> Result<()> {
    let cancel = subject.cancel_token();
    let (stop, stopped) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let runner = scope.spawn(move || -> Result<()> {
            while stopped.try_recv().is_err() {
                match subject.batch_execute(RUN) {
                    Ok(()) => std::thread::sleep(PAUSE),
                    Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
                    Err(error) => return Err(error).context(RUN),
                }
            }
            Ok(())
        });
        let syncs = |steps: &Steps| steps.0.iter().any(|step| step.kind() == LAST_BEFORE_SYNC);
        while !runner.is_finished() && !syncs(&Steps::of_last_deployment(&mut place.admin)?) {
            std::thread::sleep(PAUSE);
        }
        std::thread::sleep(SYNCED);
        // The other end is gone only if the runner has failed, which it says.
        stop.send(()).ok();
        cancel.cancel_query(NoTls).context("ending bg_run")?;
        runner.join().map_err(|_| anyhow!("the runner panicked"))?
    })
}

/// Seconds until blue is in step, without clients, as fast as it goes.
fn catch_up(subject: &mut Client, limit: &str) -> Result<Option<f64>> {
    for name in GENTLE.map(|(name, _)| name) {
        execute(subject, &format!("RESET {name}"))?;
    }
    execute(subject, &format!("SET statement_timeout = '{limit}'"))?;
    let began = Instant::now();
    match subject.batch_execute(RUN) {
        Ok(()) => Ok(Some(began.elapsed().as_secs_f64())),
        Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => Ok(None),
        Err(error) => Err(error).context(RUN),
    }
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
    // Kept in step, or what has not come to its end.
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
        caught_up: Option<f64>,
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
            caught_up,
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
        if let Some(seconds) = self.caught_up {
            println!("     in step {seconds:.1} s after the clients");
        }
    }
}
