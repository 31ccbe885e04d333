//! How long a swap makes clients wait: eight writers as fast as they can, and for each swap or
//! revert the longest transaction in the second from its begin, less the longest in the three
//! seconds before.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use postgres::Client;
use postgres::error::SqlState;
use serde::Serialize;

use super::judge::Judge;
use super::latencies::Transactions;
use super::load::{Load, Mix, Pace};
use super::place::Place;
use super::session::{self, execute, set};
use super::table::Name;
use super::{Arguments, median, save};
use crate::setup::Workspace;
use crate::setup::command::say;

/// Milliseconds that the median swap adds, at most.
const GOAL: f64 = 20.0;
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
}

/// All of them, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    per_second: f64,
    median_ms: f64,
    worst_ms: f64,
    stalls: Vec<Stall>,
}

/// Swaps and reverts in turn under the writers' eyes.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let mut place = Place::fill(Name::Users.table(), arguments.rows(1_000_000))?;
    let count = if arguments.quick { 4 } else { 20 };
    println!("stall: {} rows of users, 8 writers, {count} swaps and reverts", place.rows);
    place.settle()?;
    let before = place.beyond_ledger()?;
    let mut subject = session::subject(&place.cluster, &[])?;
    place.deploy(&mut subject)?;

    let load = Load::start(&place, Pace::Flat, Mix::Updates)?.context("no writers")?;
    let began = SystemTime::now();
    let mut swaps = Vec::new();
    let mut patient = false;
    for number in 0..count {
        keep_in_step(&mut subject, BEFORE)?;
        let verb = if number % 2 == 0 { "bg_swap" } else { "bg_revert" };
        swaps.push(exchange(&mut subject, verb, &mut patient)?);
    }
    keep_in_step(&mut subject, AROUND)?;
    let ended = SystemTime::now();
    let transactions = load.stop()?;
    let lost = place.beyond_ledger()?.lost_since(before);

    let stalls: Vec<Stall> =
        swaps.iter().map(|swap| stall(&transactions, swap)).collect::<Result<_>>()?;
    let median_ms = median(stalls.iter().map(|stall| stall.added_ms));
    let worst_ms = stalls.iter().map(|stall| stall.added_ms).fold(f64::NEG_INFINITY, f64::max);
    let per_second = transactions.between(began, ended)?.per_second;
    for stall in &stalls {
        println!(
            "   {:>9}: longest before {:>7.1} ms, around {:>7.1} ms: {:>+7.1} ms; {} tries, {:.0} ms",
            stall.verb,
            stall.longest_before_ms,
            stall.longest_around_ms,
            stall.added_ms,
            stall.tries,
            stall.call_ms
        );
    }
    println!("worst: {worst_ms:+.1} ms, at {per_second:.0} transactions a second");
    judge.at_most("what a swap adds to the longest transaction, median", median_ms, GOAL, " ms");
    judge.never("stall: writes lost", lost);
    save(workspace, "stall", &Runs { rows: place.rows, per_second, median_ms, worst_ms, stalls })
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

fn stall(transactions: &Transactions, swap: &Swap) -> Result<Stall> {
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
    })
}
