//! How long a swap makes clients wait: eight writers, two readers in REPEATABLE READ beside them, and for
//! each swap or revert the longest transaction of a writer in the second from its begin, less the longest
//! in the three seconds before.
//!
//! Goals are for steady writers. Writers as fast as they can leave so much to the last drain, while the
//! swap waits for the readers, that it is refused until it happens to find both readers between two
//! transactions; how often it is tried, and how much is left to it then, is chance on either side.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use postgres::Client;
use postgres::error::SqlState;
use serde::Serialize;

use super::judge::Judge;
use super::latencies::Transactions;
use super::ledger::Sums;
use super::load::{Load, Mix, Pace};
use super::place::Place;
use super::readers::Readers;
use super::session::{self, execute, set};
use super::side::{BySide, Side, Sides};
use super::table::Name;
use super::{Arguments, median, save};
use crate::setup::Workspace;
use crate::setup::command::say;

/// Milliseconds that the median swap adds, at most.
const GOAL: f64 = 20.0;
/// Milliseconds that it adds more than that of another commit, at most.
const GOAL_ADDED: f64 = 5.0;
/// Until the clients are at their speed.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long is looked before a swap, and from its begin.
const BEFORE: Duration = Duration::from_secs(3);
const AROUND: Duration = Duration::from_secs(1);
/// Between two syncs while nothing is swapped.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a swap is tried with the settings as they are, and how often at all.
const TRIES_AS_IS: usize = 10;
const TRIES: usize = 30;

/// From the begin of the first try to the end of the one that succeeded.
struct Swap {
    verb: &'static str,
    began: SystemTime,
    ended: SystemTime,
    tries: usize,
}

/// What a swap did to the writers, in milliseconds.
#[derive(Debug, Serialize)]
struct Stall {
    verb: &'static str,
    longest_before_ms: f64,
    longest_around_ms: f64,
    added_ms: f64,
    call_ms: f64,
    tries: usize,
    /// Transactions of the writers.
    per_second: f64,
}

/// All of them under one load, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    load: Pace,
    /// Transactions of the writers.
    per_second: BySide<f64>,
    median_ms: BySide<f64>,
    worst_ms: BySide<f64>,
    stalls: Vec<BySide<Stall>>,
}

/// A deployment under the eyes of writers and readers.
struct Stage {
    place: Place,
    subject: Client,
    before: Sums,
    patient: bool,
}

/// Swaps and reverts in turns under the writers' eyes.
pub(super) fn run(
    workspace: &Workspace,
    arguments: &Arguments,
    sides: &Sides,
    judge: &mut Judge,
) -> Result<()> {
    let rows = arguments.rows(1_000_000);
    let mut stages = sides.in_turn(0, |side| Stage::set(side, rows))?;
    let mut runs = Vec::new();
    for load in arguments.loads(&[Pace::Steady, Pace::Flat]) {
        let count = if arguments.quick { 4 } else { 20 };
        runs.push(under(load, count, rows, &mut stages, sides, judge)?);
    }
    save(workspace, "stall", &runs)
}

/// So many swaps and reverts under one load.
fn under(
    load: Pace,
    count: usize,
    rows: i64,
    stages: &mut BySide<Stage>,
    sides: &Sides,
    judge: &mut Judge,
) -> Result<Runs> {
    let word = load.word();
    println!("stall: {rows} rows of users, 8 {word} writers, 2 readers, {count} swaps and reverts");
    let mut stalls = Vec::new();
    for number in 0..count {
        let verb = if number % 2 == 0 { "bg_swap" } else { "bg_revert" };
        // A swap and a revert in each order.
        stalls.push(sides.in_turn(number / 2, |side| {
            let stall = stages.of(side).exchange_under_load(verb, load)?;
            stall.print(sides.name(side));
            Ok(stall)
        })?);
    }

    let columns = sides.in_turn(0, |side| {
        let of = |pair: &BySide<Stall>, figure: fn(&Stall) -> f64| match side {
            Side::Ours => figure(&pair.ours),
            Side::Beside => pair.beside.as_ref().map_or(f64::NAN, figure),
        };
        let added = || stalls.iter().map(|pair| of(pair, |stall| stall.added_ms));
        let per_second = median(stalls.iter().map(|pair| of(pair, |stall| stall.per_second)));
        let (middle, worst) = (median(added()), added().fold(f64::NEG_INFINITY, f64::max));
        let name = sides.name(side);
        println!(
            "stall, {word}, {name}: median {middle:+.1} ms, worst {worst:+.1} ms, at {per_second:.0} \
             transactions a second"
        );
        let lost = stages.of(side).lost()?;
        judge.never(&format!("stall, {word}, {name}: writes lost"), lost);
        Ok([middle, worst, per_second])
    })?;
    let median_ms = columns.map(|column| column[0]);
    if load == Pace::Steady {
        let what = "what a swap adds to the longest transaction, median";
        judge.at_most(what, median_ms.ours, GOAL, " ms");
        if let Some((theirs, name)) = median_ms.beside.zip(sides.beside()) {
            let what = format!("{what}, less that of {name}");
            judge.at_most(&what, median_ms.ours - theirs, GOAL_ADDED, " ms");
        }
    }
    let ratio = |what: &str, figure: fn(&Stall) -> f64| {
        sides.ratio(&format!("stall, {word}: {what}"), &stalls, figure);
    };
    ratio("the longest transaction around a swap", |stall| stall.longest_around_ms);
    ratio("transactions a second", |stall| stall.per_second);
    let (worst_ms, per_second) = (columns.map(|column| column[1]), columns.map(|c| c[2]));
    Ok(Runs { rows, load, per_second, median_ms, worst_ms, stalls })
}

impl Stage {
    fn set(side: Side, rows: i64) -> Result<Self> {
        let mut place = Place::fill_on(side, Name::Users.table(), rows)?;
        place.settle()?;
        let before = place.beyond_ledger()?;
        let mut subject = session::subject(&place.cluster, &[])?;
        place.deploy(&mut subject)?;
        Ok(Self { place, subject, before, patient: false })
    }

    /// One swap or revert, while the other side rests.
    fn exchange_under_load(&mut self, verb: &'static str, pace: Pace) -> Result<Stall> {
        let load = Load::start(&self.place, pace, Mix::Updates)?.context("no writers")?;
        let readers = Readers::start(&self.place)?;
        let began = SystemTime::now();
        // Clients that have just come are slow at first, which is not to count as before the swap.
        keep_in_step(&mut self.subject, WARM_UP + BEFORE)?;
        let swap = exchange(&mut self.subject, verb, &mut self.patient)?;
        keep_in_step(&mut self.subject, AROUND)?;
        let ended = SystemTime::now();
        let transactions = load.stop()?;
        readers.stop()?;
        stall(&transactions, &swap, (began + WARM_UP, ended))
    }

    fn lost(&mut self) -> Result<u64> {
        Ok(self.place.beyond_ledger()?.lost_since(self.before))
    }
}

impl Stall {
    fn print(&self, name: &str) {
        println!(
            "   {name}: {:>9}: longest before {:>7.1} ms, around {:>7.1} ms: {:>+7.1} ms; {} tries, {:.0} ms",
            self.verb,
            self.longest_before_ms,
            self.longest_around_ms,
            self.added_ms,
            self.tries,
            self.call_ms
        );
    }
}

/// Syncs now and then, so that not much is left to the swap; the last time at the end.
fn keep_in_step(subject: &mut Client, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::sleep(PAUSE);
        execute(subject, "CALL bg_run('users')")?;
    }
    Ok(())
}

/// Swaps or reverts; where it is refused because of a lock or because too much is still to sync,
/// syncs and tries again.
fn exchange(subject: &mut Client, verb: &'static str, patient: &mut bool) -> Result<Swap> {
    let sql = format!("SELECT {verb}('users')");
    let began = SystemTime::now();
    for tries in 1..=TRIES {
        match subject.batch_execute(&sql) {
            Ok(()) => return Ok(Swap { verb, began, ended: SystemTime::now(), tries }),
            Err(error) if may_pass(&error) => {
                if tries == TRIES_AS_IS && !*patient {
                    say("The writers are too fast: bluegreen.max_final_drain is set to 2 s");
                    set(subject, ("bluegreen.max_final_drain", "2s"))?;
                    *patient = true;
                }
                execute(subject, "CALL bg_run('users')")?;
            }
            Err(error) => return Err(error).context(sql),
        }
    }
    bail!("{sql} was refused {TRIES} times")
}

fn may_pass(error: &postgres::Error) -> bool {
    let code = error.code();
    code == Some(&SqlState::LOCK_NOT_AVAILABLE)
        || code == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE)
}

fn stall(
    transactions: &Transactions,
    swap: &Swap,
    (from, to): (SystemTime, SystemTime),
) -> Result<Stall> {
    let &Swap { verb, began, ended, tries } = swap;
    let before = transactions.between(began - BEFORE, began)?;
    // What waited for a swap that took long ends after it.
    let until = (began + AROUND).max(ended + AROUND / 2);
    let around = transactions.between(began, until)?;
    Ok(Stall {
        verb,
        longest_before_ms: before.longest_ms,
        longest_around_ms: around.longest_ms,
        added_ms: around.longest_ms - before.longest_ms,
        call_ms: ended.duration_since(began).unwrap_or_default().as_secs_f64() * 1000.0,
        tries,
        per_second: transactions.between(from, to)?.per_second,
    })
}
