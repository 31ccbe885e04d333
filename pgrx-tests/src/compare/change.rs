//! A whole change, from `bg_prepare` to swapped, beside other ways to rewrite the same table under
//! the same load: the least that any rewrite must do, pg_repack, and the manual way.
//!
//! All contenders of one table and one load run in one cluster, in an order that turns with each
//! repetition, so that nobody profits from another's order.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde::Serialize;

use super::contender::{Contender, Entrant};
use super::judge::Judge;
use super::latencies::{Latencies, Moment};
use super::load::{Load, Mix, Pace};
use super::place::Place;
use super::side::{BySide, Side, Sides};
use super::steps::Steps;
use super::table::{Name, Table};
use super::watch::{Oldest, Watch};
use super::{Arguments, median, picture, save};
use crate::setup::Workspace;
use crate::setup::command::say;

/// Without the steps that the others do not do; those are printed by themselves.
const RULES: Rules = {
    use Contender::{Floor, Ours1, Ours2, Repack};
    Rules {
        name: "change",
        apart: &["vacuum", "verify"],
        place: Place::fill_on,
        ratios: &[
            Ratio::seconds(Ours1, Floor, Some(1.0)),
            Ratio::seconds(Ours2, Floor, Some(0.9)),
            Ratio::seconds(Ours1, Repack, Some(0.8)),
            Ratio::seconds(Repack, Floor, None),
            Ratio::wal(Ours1, Floor, Some(1.1)),
        ],
    }
};

/// `bluegreen.batch_time` when nobody sets it, in seconds.
const BATCH_TIME: f64 = 0.2;

/// What each picture shows before the change begins and after it has ended.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_millis(500);

/// How contenders are measured.
#[derive(Debug)]
pub(super) struct Rules {
    /// The comparison, as it is typed.
    pub(super) name: &'static str,
    /// Steps that are not counted.
    pub(super) apart: &'static [&'static str],
    /// Where each build is measured.
    pub(super) place: fn(Side, &'static Table, i64) -> Result<Place>,
    /// What is judged.
    pub(super) ratios: &'static [Ratio],
}

/// A figure of one contender by that of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ratio {
    /// Its place among the figures of a run.
    figure: usize,
    of: Contender,
    by: Contender,
    /// At most.
    goal: Option<f64>,
}

impl Ratio {
    /// Of the time.
    pub(super) const fn seconds(of: Contender, by: Contender, goal: Option<f64>) -> Self {
        Self { figure: 0, of, by, goal }
    }

    /// Of the WAL.
    pub(super) const fn wal(of: Contender, by: Contender, goal: Option<f64>) -> Self {
        Self { figure: 1, of, by, goal }
    }
}

/// One rewrite under load.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) entrant: Entrant,
    /// As it is printed.
    pub(super) name: String,
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
    #[serde(skip)]
    rules: &'static Rules,
    entrants: Vec<Entrant>,
    ratios: Vec<Found>,
    /// By the other commit: each figure of each contender that is of both builds.
    beside: Vec<(Contender, [f64; 9])>,
    pub(super) repetitions: Vec<Vec<Run>>,
}

/// The median of the ratios within each repetition.
#[derive(Debug, Serialize)]
struct Found {
    what: &'static str,
    of: Contender,
    by: Contender,
    #[serde(skip)]
    goal: Option<f64>,
    ratio: f64,
}

/// Runs all contenders on all tables under all loads that were asked for.
pub(super) fn run(
    workspace: &Workspace,
    arguments: &Arguments,
    sides: &Sides,
    judge: &mut Judge,
) -> Result<()> {
    use Contender::{Floor, Ours1, Ours2, Repack};
    let contenders = arguments.contenders(&[Ours1, Ours2, Floor, Repack]);
    run_by(&RULES, workspace, arguments, sides, &contenders, judge)
}

/// The same by other rules.
pub(super) fn run_by(
    rules: &'static Rules,
    workspace: &Workspace,
    arguments: &Arguments,
    sides: &Sides,
    contenders: &[Contender],
    judge: &mut Judge,
) -> Result<()> {
    let mut contenders = contenders.to_vec();
    contenders.retain(|contender| contender.is_there(workspace));
    let entrants = Entrant::all(&contenders, sides);
    for table in arguments.tables(&[Name::Users]) {
        for load in arguments.loads(&[Pace::Idle, Pace::Steady]) {
            let filled = arguments.rows(2_000_000);
            let mut runs = Runs {
                table,
                load,
                rows: table.table().rows(filled),
                rules,
                entrants: entrants.clone(),
                ratios: Vec::new(),
                beside: Vec::new(),
                repetitions: Vec::new(),
            };
            for (order, count) in sides.orders(arguments.pairs(5)).into_iter().enumerate() {
                let places =
                    sides.in_turn(order, |side| (rules.place)(side, table.table(), filled))?;
                runs.repeat(count, places, sides)?;
            }
            runs.take_ratios(sides);
            let name = format!("{}-{}-{}", rules.name, table.word(), load.word());
            save(workspace, &name, &runs)?;
            if let Some(svg) = picture::draw(workspace, &name, &runs)? {
                say(&format!("The clients' latency is drawn in {}", svg.display()));
            }
            runs.judge(judge, sides);
        }
    }
    Ok(())
}

fn one(place: &mut Place, pace: Pace, entrant: Entrant, sides: &Sides) -> Result<Run> {
    let contender = entrant.contender;
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
        entrant,
        name: entrant.name(sides),
        seconds: whole_seconds,
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
    fn repeat(&mut self, count: u32, mut places: BySide<Place>, sides: &Sides) -> Result<()> {
        for entrant in &self.entrants {
            entrant.contender.enter(places.of(entrant.side))?;
        }
        let (rows, table, load) = (self.rows, self.table.word(), self.load.word());
        println!("{}: {rows} rows of {table}, load {load}, repetitions: {count}", self.rules.name);
        println!(
            "{:>22}{:>9}{:>9}{:>12}{:>12}{:>9}{:>9}{:>12}{:>7}{:>8}",
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
            for side in sides.all() {
                let first = self.entrants.iter().find(|entrant| entrant.side == side);
                if let Some(entrant) = first {
                    let run = self.one(&mut places, *entrant, sides)?;
                    line("warm-up", &run.figures());
                }
            }
        }
        for _ in 0..count {
            let number = self.repetitions.len();
            let mut order = self.entrants.clone();
            let turn = number % order.len().max(1);
            order.rotate_left(turn);
            // So that of two builds each comes before the other as often.
            if number % 2 == 1 {
                order.reverse();
            }
            let mut repetition = Vec::new();
            for entrant in order {
                let run = self.one(&mut places, entrant, sides)?;
                line(&run.name, &run.figures());
                steps_line(&run.steps.kinds(), self.rules.apart);
                repetition.push(run);
            }
            self.repetitions.push(repetition);
        }
        if count > 1 {
            self.print_medians();
        }
        Ok(())
    }

    fn one(&self, places: &mut BySide<Place>, entrant: Entrant, sides: &Sides) -> Result<Run> {
        let mut run = one(places.of(entrant.side), self.load, entrant, sides)?;
        let apart = self.rules.apart.iter().map(|kind| run.steps.seconds(kind));
        run.seconds -= apart.sum::<f64>();
        Ok(run)
    }

    /// Prints the medians.
    fn print_medians(&self) {
        println!("medians:");
        for entrant in &self.entrants {
            let runs: Vec<&Run> = self.of(*entrant).collect();
            let figures: Vec<[f64; 9]> = runs.iter().map(|run| run.figures()).collect();
            let column = |number: usize| median(figures.iter().map(|figures| figures[number]));
            let name = runs.first().map(|run| run.name.as_str()).unwrap_or_default();
            line(name, &std::array::from_fn(column));
            let kinds = runs.first().map(|run| run.steps.kinds()).unwrap_or_default();
            let middle = |kind: &str| median(runs.iter().map(|run| run.steps.seconds(kind)));
            let kinds: Vec<_> = kinds
                .into_iter()
                .map(|(kind, _)| {
                    let seconds = middle(&kind);
                    (kind, seconds)
                })
                .collect();
            steps_line(&kinds, self.rules.apart);
        }
    }

    fn take_ratios(&mut self, sides: &Sides) {
        for &Ratio { figure, of, by, goal } in self.rules.ratios {
            let ratio = self.ratio(figure, Entrant::here(of), Entrant::here(by));
            if !ratio.is_nan() {
                let what = if figure == 0 { "seconds" } else { "WAL" };
                self.ratios.push(Found { what, of, by, goal, ratio });
            }
        }
        for &Entrant { contender, side } in &self.entrants.clone() {
            if side == Side::Beside {
                let (of, by) = (Entrant::here(contender), Entrant { contender, side });
                let figures = std::array::from_fn(|figure| self.ratio(figure, of, by));
                columns(&format!("ours ÷ {}", by.name(sides)), &figures, [2; 9]);
                self.beside.push((contender, figures));
            }
        }
    }

    /// The median of the ratios within each repetition; nothing where one of the two was not there.
    fn ratio(&self, figure: usize, of: Entrant, by: Entrant) -> f64 {
        median(self.repetitions.iter().filter_map(|runs| {
            let find = |who| runs.iter().find(|run| run.entrant == who);
            Some(find(of)?.figures()[figure] / find(by)?.figures()[figure])
        }))
    }

    fn of(&self, entrant: Entrant) -> impl Iterator<Item = &Run> {
        self.repetitions.iter().flatten().filter(move |run| run.entrant == entrant)
    }

    /// The run of a contender that took the median time.
    pub(super) fn typical(&self) -> Vec<&Run> {
        let typical = |entrant: &Entrant| {
            let mut runs: Vec<&Run> = self.of(*entrant).collect();
            runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            runs.get(runs.len() / 2).copied()
        };
        self.entrants.iter().filter_map(typical).collect()
    }

    fn judge(&self, judge: &mut Judge, sides: &Sides) {
        let title = format!("{} of {}, {}", self.rules.name, self.table.word(), self.load.word());
        for Found { what, of, by, goal, ratio } in &self.ratios {
            let text = format!("{title}: {} ÷ {} ({what})", of.word(), by.word());
            // Beside clients that take all of the machine, what does not wait for them is faster.
            let flat = self.load == Pace::Flat && *what == "seconds" && *by == Contender::Floor;
            match goal {
                Some(goal) if !flat => judge.at_most(&text, *ratio, *goal, ""),
                _ => println!("{text}: {ratio:.3}"),
            }
        }
        for entrant in self.entrants.iter().filter(|entrant| entrant.contender.is_ours()) {
            let oldest = || self.of(*entrant).map(|run| run.oldest_snapshot);
            let name = entrant.name(sides);
            println!(
                "{title}: {name}'s oldest snapshot of an ANALYZE: {:.3} s",
                median(oldest().map(|oldest| oldest.analyze))
            );
            let what = format!("{title}: {name}'s oldest snapshot of copy, purge and sync");
            let batches = median(oldest().map(|oldest| oldest.batches));
            match entrant.side {
                Side::Ours => judge.at_most(&what, batches, 2.0 * BATCH_TIME, " s"),
                Side::Beside => println!("{what}: {batches:.3} s"),
            }
        }
        let others = || {
            let runs = self.repetitions.iter().flatten();
            runs.filter(|run| run.entrant.contender != Contender::Manual)
        };
        judge.never(&format!("{title}: writes lost"), others().map(|run| run.writes_lost).sum());
        let errors = others().map(|run| run.client_errors).sum();
        judge.never(&format!("{title}: clients ended by an error"), errors);
    }
}

fn line(name: &str, figures: &[f64; 9]) {
    columns(name, figures, [2, 0, 2, 2, 2, 2, 1, 0, 0]);
}

fn columns(name: &str, figures: &[f64; 9], decimals: [usize; 9]) {
    let widths = [9, 9, 12, 12, 9, 9, 12, 7, 8];
    let mut text = format!("{name:>22}");
    for ((figure, width), decimals) in figures.iter().zip(widths).zip(decimals) {
        let figure =
            if figure.is_nan() { "–".to_owned() } else { format!("{figure:.decimals$}") };
        text.push_str(&format!("{figure:>width$}"));
    }
    println!("{text}");
}

/// Where the time goes; with what is not in the seconds at the end.
fn steps_line(kinds: &[(String, f64)], not_counted: &[&str]) {
    if kinds.is_empty() {
        return;
    }
    let text = |apart: bool| {
        let some = kinds.iter().filter(|(kind, _)| not_counted.contains(&kind.as_str()) == apart);
        let some: Vec<_> = some.map(|(kind, seconds)| format!("{kind} {seconds:.2}")).collect();
        some.join(", ")
    };
    let apart = text(true);
    let apart = if apart.is_empty() { apart } else { format!("; not counted: {apart}") };
    println!("{:>24}{}{apart}", "", text(false));
}
