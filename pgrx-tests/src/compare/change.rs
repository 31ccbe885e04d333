//! A whole change, from `bg_prepare` to swapped, beside other ways to rewrite the same table under
//! the same load: the least that any rewrite must do, pg_repack, and the manual way.
//!
//! All contenders of one table and one load run in one cluster, in an order that turns with each
//! repetition, so that nobody profits from another's order.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde::Serialize;

use super::contender::Contender;
use super::judge::Judge;
use super::latencies::{Latencies, Moment};
use super::load::{Load, Mix, Pace};
use super::place::Place;
use super::steps::Steps;
use super::table::Name;
use super::watch::{Oldest, Watch};
use super::{Arguments, median, picture, save};
use crate::setup::Workspace;
use crate::setup::command::say;

/// Steps that the others do not do, and that are printed by themselves.
const APART: [&str; 2] = ["vacuum", "verify"];

/// `bluegreen.batch_time` when nobody sets it, in seconds.
const BATCH_TIME: f64 = 0.2;

/// What each picture shows before the change begins and after it has ended.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_millis(500);

/// One rewrite under load.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) contender: Contender,
    /// Without the steps that are apart.
    pub(super) seconds: f64,
    /// From begin to end.
    pub(super) whole_seconds: f64,
    wal_bytes: i64,
    oldest_snapshot: Oldest,
    clients: Option<Latencies>,
    client_errors: u64,
    writes_lost: u64,
    /// When the table was exchanged, in seconds from the begin.
    pub(super) swapped_at: Option<f64>,
    steps: Steps,
    #[serde(skip)]
    pub(super) trace: Vec<Moment>,
}

/// All runs of one table under one load, as they are saved.
#[derive(Debug, Serialize)]
pub(super) struct Runs {
    pub(super) table: Name,
    pub(super) load: Pace,
    pub(super) rows: i64,
    contenders: Vec<Contender>,
    ratios: Vec<Ratio>,
    pub(super) repetitions: Vec<Vec<Run>>,
}

/// The median of the ratios within each repetition.
#[derive(Debug, Serialize)]
struct Ratio {
    what: &'static str,
    of: Contender,
    by: Contender,
    ratio: f64,
}

/// Runs all contenders on all tables under all loads that were asked for.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    use Contender::{Floor, Ours1, Ours2, Repack};
    let mut contenders = arguments.contenders(&[Ours1, Ours2, Floor, Repack]);
    contenders.retain(|contender| contender.is_there(workspace));
    for table in arguments.tables(&[Name::Users]) {
        for load in arguments.loads(&[Pace::Idle, Pace::Steady]) {
            let runs = compare(arguments, table, load, &contenders)?;
            let name = format!("change-{}-{}", table.word(), load.word());
            save(workspace, &name, &runs)?;
            if let Some(svg) = picture::draw(workspace, &name, &runs)? {
                say(&format!("The clients' latency is drawn in {}", svg.display()));
            }
            runs.judge(judge);
        }
    }
    Ok(())
}

fn compare(
    arguments: &Arguments,
    table: Name,
    load: Pace,
    contenders: &[Contender],
) -> Result<Runs> {
    let mut place = Place::fill(table.table(), arguments.rows(2_000_000))?;
    for contender in contenders {
        contender.enter(&mut place)?;
    }
    let (rows, count) = (place.rows, arguments.pairs(5));
    let contenders = contenders.to_vec();
    let mut runs =
        Runs { table, load, rows, contenders, ratios: Vec::new(), repetitions: Vec::new() };
    println!("change: {rows} rows of {}, load {}, repetitions: {count}", table.word(), load.word());
    println!(
        "{:>8}{:>9}{:>9}{:>12}{:>12}{:>9}{:>9}{:>12}{:>7}{:>8}",
        "",
        "seconds",
        "WAL MB",
        "snapshot s",
        "no index s",
        "p50 ms",
        "p99 ms",
        "longest ms",
        "lost",
        "errors"
    );
    if count > 1 {
        // The first run of a server has its WAL's files to make.
        let run = one(&mut place, load, runs.contenders[0])?;
        line("warm-up", &run.figures());
    }
    for number in 0..count as usize {
        let mut order = runs.contenders.clone();
        let turn = number % order.len().max(1);
        order.rotate_left(turn);
        let mut repetition = Vec::new();
        for contender in order {
            let run = one(&mut place, load, contender)?;
            line(contender.word(), &run.figures());
            steps_line(&run.steps.kinds());
            repetition.push(run);
        }
        runs.repetitions.push(repetition);
    }
    if count > 1 {
        runs.print_medians();
    }
    runs.take_ratios();
    Ok(runs)
}

fn one(place: &mut Place, pace: Pace, contender: Contender) -> Result<Run> {
    place.settle()?;
    let before = place.beyond_ledger()?;
    let load = Load::start(place, pace, Mix::All)?;
    if load.is_some() {
        std::thread::sleep(BEFORE);
    }

    let mut subject = contender.subject(place)?;
    let watch = Watch::start(place)?;
    let wal = place.wal_position()?;
    let (from, begin) = (SystemTime::now(), Instant::now());
    contender.rewrite(place, &mut subject)?;
    let (whole_seconds, to) = (begin.elapsed().as_secs_f64(), SystemTime::now());
    let wal_bytes = place.wal_position()? - wal;
    // Whoever was queued behind the swap is through after that; the watch sees the swap.
    std::thread::sleep(AFTER);
    let seen = watch.stop()?;

    let (mut clients, mut client_errors, mut trace) = (None, 0, Vec::new());
    if let Some(load) = load {
        let transactions = load.stop_whatever_happened()?;
        clients = Some(transactions.during(from, to)?);
        client_errors = transactions.errors;
        let every = Duration::from_millis(50);
        trace = transactions.trace(from, from - BEFORE, to + AFTER, every)?;
    }
    let writes_lost = place.beyond_ledger()?.lost_since(before);
    let steps = if contender.is_ours() {
        Steps::of_last_deployment(&mut place.admin)?
    } else {
        Steps::default()
    };
    contender.tidy_up(place, &mut subject)?;
    let swapped_at = seen.swapped.and_then(|at| at.duration_since(from).ok());
    Ok(Run {
        contender,
        seconds: whole_seconds - APART.iter().map(|kind| steps.seconds(kind)).sum::<f64>(),
        whole_seconds,
        wal_bytes,
        oldest_snapshot: seen.oldest,
        clients,
        client_errors,
        writes_lost,
        swapped_at: swapped_at.map(|after| after.as_secs_f64()),
        steps,
        trace,
    })
}

impl Run {
    fn figures(&self) -> [f64; 9] {
        let clients =
            |figure: fn(&Latencies) -> f64| self.clients.as_ref().map_or(f64::NAN, figure);
        #[allow(clippy::cast_precision_loss)]
        [
            self.seconds,
            self.wal_bytes as f64 / 1e6,
            self.oldest_snapshot.all,
            self.oldest_snapshot.outside_index_builds,
            clients(|latencies| latencies.p50_ms),
            clients(|latencies| latencies.p99_ms),
            clients(|latencies| latencies.longest_ms),
            self.writes_lost as f64,
            self.client_errors as f64,
        ]
    }
}

impl Runs {
    /// Prints the medians.
    fn print_medians(&self) {
        println!("medians:");
        for contender in &self.contenders {
            let runs: Vec<&Run> = self.of(*contender).collect();
            let figures: Vec<[f64; 9]> = runs.iter().map(|run| run.figures()).collect();
            let column = |number: usize| median(figures.iter().map(|figures| figures[number]));
            line(contender.word(), &std::array::from_fn(column));
            let kinds = runs.first().map(|run| run.steps.kinds()).unwrap_or_default();
            let middle = |kind: &str| median(runs.iter().map(|run| run.steps.seconds(kind)));
            let kinds: Vec<_> = kinds
                .into_iter()
                .map(|(kind, _)| {
                    let seconds = middle(&kind);
                    (kind, seconds)
                })
                .collect();
            steps_line(&kinds);
        }
    }

    fn take_ratios(&mut self) {
        use Contender::{Floor, Ours1, Ours2, Repack};
        let seconds: fn(&Run) -> f64 = |run| run.seconds;
        let wal: fn(&Run) -> f64 = |run| run.figures()[1];
        for (what, figure, of, by) in [
            ("seconds", seconds, Ours1, Floor),
            ("seconds", seconds, Ours2, Floor),
            ("seconds", seconds, Ours1, Repack),
            ("seconds", seconds, Repack, Floor),
            ("WAL", wal, Ours1, Floor),
        ] {
            let both = self.repetitions.iter().filter_map(|runs| {
                let find = |who| runs.iter().find(|run| run.contender == who).map(figure);
                Some(find(of)? / find(by)?)
            });
            let ratio = median(both);
            if !ratio.is_nan() {
                self.ratios.push(Ratio { what, of, by, ratio });
            }
        }
    }

    fn of(&self, contender: Contender) -> impl Iterator<Item = &Run> {
        self.repetitions.iter().flatten().filter(move |run| run.contender == contender)
    }

    /// The run of a contender that took the median time.
    pub(super) fn typical(&self) -> Vec<&Run> {
        let typical = |contender: &Contender| {
            let mut runs: Vec<&Run> = self.of(*contender).collect();
            runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            runs.get(runs.len() / 2).copied()
        };
        self.contenders.iter().filter_map(typical).collect()
    }

    fn judge(&self, judge: &mut Judge) {
        use Contender::{Floor, Manual, Ours1, Ours2, Repack};
        let title = format!("change of {}, {}", self.table.word(), self.load.word());
        for Ratio { what, of, by, ratio } in &self.ratios {
            let text = format!("{title}: {} ÷ {} ({what})", of.word(), by.word());
            let goal = match (*what, of, by) {
                ("seconds", Ours1, Floor) if self.load != Pace::Flat => Some(1.0),
                ("seconds", Ours2, Floor) if self.load != Pace::Flat => Some(0.9),
                ("seconds", Ours1, Repack) => Some(0.8),
                ("WAL", Ours1, Floor) => Some(1.1),
                _ => None,
            };
            match goal {
                Some(goal) => judge.at_most(&text, *ratio, goal, ""),
                None => println!("{text}: {ratio:.3}"),
            }
        }
        for contender in [Ours1, Ours2] {
            let oldest = || self.of(contender).map(|run| run.oldest_snapshot);
            if oldest().next().is_some() {
                let word = contender.word();
                println!(
                    "{title}: {word}'s oldest snapshot of an ANALYZE: {:.3} s",
                    median(oldest().map(|oldest| oldest.analyze))
                );
                let what = format!("{title}: {word}'s oldest snapshot of copy, purge and sync");
                let batches = median(oldest().map(|oldest| oldest.batches));
                judge.at_most(&what, batches, 2.0 * BATCH_TIME, " s");
            }
        }
        let others = || self.repetitions.iter().flatten().filter(|run| run.contender != Manual);
        judge.never(&format!("{title}: writes lost"), others().map(|run| run.writes_lost).sum());
        let errors = others().map(|run| run.client_errors).sum();
        judge.never(&format!("{title}: clients ended by an error"), errors);
    }
}

fn line(name: &str, figures: &[f64; 9]) {
    let columns = [(9, 2), (9, 0), (12, 2), (12, 2), (9, 2), (9, 2), (12, 1), (7, 0), (8, 0)];
    let mut text = format!("{name:>8}");
    for (figure, (width, decimals)) in figures.iter().zip(columns) {
        let figure =
            if figure.is_nan() { "–".to_owned() } else { format!("{figure:.decimals$}") };
        text.push_str(&format!("{figure:>width$}"));
    }
    println!("{text}");
}

/// Where the time goes; with what is not in the seconds at the end.
fn steps_line(kinds: &[(String, f64)]) {
    if kinds.is_empty() {
        return;
    }
    let text = |apart: bool| {
        let some = kinds.iter().filter(|(kind, _)| APART.contains(&kind.as_str()) == apart);
        let some: Vec<_> = some.map(|(kind, seconds)| format!("{kind} {seconds:.2}")).collect();
        some.join(", ")
    };
    let apart = text(true);
    let apart = if apart.is_empty() { apart } else { format!("; not counted: {apart}") };
    println!("{:>10}{}{apart}", "", text(false));
}
