//! How well `bg_status.eta` foretells the end of the way to `ready`: somebody asks all the time while a
//! deployment is run, and what was foretold is held against what came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use postgres::{Client, NoTls};
use serde::Serialize;

use super::judge::Judge;
use super::place::Place;
use super::session::{self, execute};
use super::steps::Steps;
use super::table::Name;
use super::{Arguments, OWNER, median, save};
use crate::setup::Workspace;

/// How far, at the first of the shares, what is foretold may be from what comes.
const GOAL: f64 = 0.25;
/// What the measurement behind it may take of the time, at most.
const GOAL_SAMPLE: f64 = 0.005;
/// How often somebody asks.
const EVERY: Duration = Duration::from_millis(25);
/// At which shares of the real time one looks back at what was foretold.
const SHARES: [f64; 3] = [0.1, 0.25, 0.5];

/// An answer of `bg_status`.
#[derive(Debug, Clone, Copy, Serialize)]
struct Answer {
    /// Seconds since the call began.
    at: f64,
    progress: f64,
    /// Seconds; NULL is nothing.
    eta: Option<f64>,
}

/// What was foretold at a share of the real time.
#[derive(Debug, Clone, Copy, Serialize)]
struct Foretold {
    share: f64,
    /// Seconds of the whole.
    seconds: Option<f64>,
    progress: f64,
}

impl Foretold {
    /// What the last answer until then says.
    fn at(share: f64, real: f64, answers: &[Answer]) -> Self {
        let until = answers.iter().rev().find(|answer| answer.at <= share * real);
        let seconds = until.and_then(|answer| Some(answer.at + answer.eta?));
        Self { share, seconds, progress: until.map_or(0.0, |answer| answer.progress) }
    }

    /// How far it is from what came, as a share of that; without bound where nothing was foretold.
    fn off(&self, real: f64) -> f64 {
        self.seconds.map_or(f64::INFINITY, |seconds| (seconds / real - 1.0).abs())
    }
}

/// One deployment.
#[derive(Debug, Serialize)]
struct Run {
    /// Seconds to `ready`.
    real: f64,
    foretold: Vec<Foretold>,
    /// The most by which the progress went back.
    back: f64,
    answers: Vec<Answer>,
    steps: Steps,
    /// What was measured.
    sample: serde_json::Value,
}

impl Run {
    fn print(&self) {
        let parts: Vec<_> = self
            .foretold
            .iter()
            .map(|f| {
                let seconds = f.seconds.map_or("unknown".to_owned(), |s| format!("{s:.2} s"));
                let off = f.seconds.map_or(String::new(), |s| {
                    format!(" ({:+.0} %)", 100.0 * (s / self.real - 1.0))
                });
                format!("at {:.0} % {seconds}{off}, progress {:.2}", 100.0 * f.share, f.progress)
            })
            .collect();
        println!(
            "   ready after {:.2} s; foretold {}; back by {:.3}",
            self.real,
            parts.join("; "),
            self.back
        );
        let kinds =
            self.steps.kinds().into_iter().map(|(kind, seconds)| format!("{kind} {seconds:.2}"));
        println!("      {}", kinds.collect::<Vec<_>>().join(", "));
    }
}

/// All runs of one table, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    table: Name,
    rows: i64,
    off: f64,
    runs: Vec<Run>,
}

/// Runs each table.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    use Name::{Composite, Narrow, Users, Uuid, Wide};
    let mut all = Vec::new();
    for table in arguments.tables(&[Users, Narrow, Wide, Uuid, Composite]) {
        let mut place = Place::fill(table.table(), arguments.rows(2_000_000))?;
        println!("eta: {} rows of {}, no clients", place.rows, table.word());
        let mut runs = Vec::new();
        for _ in 0..arguments.pairs(3) {
            let run = one(&mut place)?;
            run.print();
            runs.push(run);
        }
        let off = median(runs.iter().map(|run| run.foretold[0].off(run.real)));
        let what = format!("{}: foretold at 10 % of the time, off by", table.word());
        judge.at_most(&what, 100.0 * off, 100.0 * GOAL, " %");
        let sample = median(runs.iter().map(|run| run.steps.seconds("sample") / run.real));
        let what = format!("{}: measured for it in", table.word());
        judge.at_most(&what, 100.0 * sample, 100.0 * GOAL_SAMPLE, " %");
        all.push(Runs { table, rows: place.rows, off, runs });
    }
    save(workspace, "eta", &all)
}

fn one(place: &mut Place) -> Result<Run> {
    place.settle()?;
    let name = place.table.name;
    let mut subject = session::subject(&place.cluster, &[])?;
    execute(&mut subject, &format!("SELECT bg_prepare('{name}', '')"))?;
    let asking = Asking::start(place)?;
    execute(&mut subject, &format!("CALL bg_run('{name}')"))?;
    let real = asking.begin.elapsed().as_secs_f64();
    let answers = asking.stop()?;
    let steps = Steps::of_last_deployment(&mut place.admin)?;
    let sample = "SELECT coalesce(progress->'sample', 'null') FROM bluegreen.deployment ORDER BY id DESC LIMIT 1";
    let sample = place.admin.query_one(sample, &[]).context("reading the sample")?.get(0);
    place.abandon(&mut subject)?;
    let foretold = SHARES.map(|share| Foretold::at(share, real, &answers)).to_vec();
    Ok(Run { real, foretold, back: back(&answers), answers, steps, sample })
}

/// The most by which the progress was below what it had been.
fn back(answers: &[Answer]) -> f64 {
    let (mut most, mut back) = (0.0_f64, 0.0_f64);
    for answer in answers {
        most = most.max(answer.progress);
        back = back.max(most - answer.progress);
    }
    back
}

/// The one who asks.
struct Asking {
    begin: Instant,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Answer>>>,
}

impl Asking {
    fn start(place: &Place) -> Result<Self> {
        let config = place.cluster.config(OWNER, "postgres");
        let mut client = config.connect(NoTls).context("connecting to ask")?;
        let table = place.table.name;
        ask(&mut client, table)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let begin = Instant::now();
        let asks = move || {
            let mut answers = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                let (progress, eta) = ask(&mut client, table)?;
                answers.push(Answer { at: begin.elapsed().as_secs_f64(), progress, eta });
                thread::sleep(EVERY);
            }
            Ok(answers)
        };
        let thread = thread::Builder::new().name("ask".to_owned()).spawn(asks);
        Ok(Self { begin, stop, thread: thread.context("starting a thread")? })
    }

    fn stop(self) -> Result<Vec<Answer>> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the thread that asks panicked"))?
    }
}

fn ask(client: &mut Client, table: &str) -> Result<(f64, Option<f64>)> {
    let sql = "SELECT progress, extract(epoch FROM eta)::float8 FROM bg_status($1::text::regclass)";
    let row = client.query_one(sql, &[&table]).context("asking bg_status")?;
    Ok((row.get(0), row.get(1)))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Foretold, back};

    fn answers() -> [Answer; 3] {
        let answer = |at, progress, eta| Answer { at, progress, eta };
        [answer(0.5, 0.1, None), answer(1.0, 0.3, Some(8.0)), answer(2.0, 0.2, Some(8.0))]
    }

    #[test]
    fn the_last_answer_until_then_counts_and_none_is_without_bound() {
        let found = [0.05, 0.1, 0.5].map(|share| Foretold::at(share, 10.0, &answers()).off(10.0));
        assert_eq!(found.map(|off| format!("{off:.2}")), ["inf", "0.10", "0.00"]);
    }

    #[test]
    fn the_progress_went_back_by_what_it_lost() {
        assert_eq!(format!("{:.2}", back(&answers())), "0.10");
    }
}
