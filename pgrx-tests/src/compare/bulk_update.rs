//! How long a deployment takes to `ready` where one statement changes every row meanwhile.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::judge::Judge;
use super::load::{Load, Mix, Pace};
use super::place::Place;
use super::session::{self, execute};
use super::table::Name;
use super::{Arguments, median, save};
use crate::setup::Workspace;

/// The time from the statement's commit to `ready` by that of the whole way without it, at most.
const GOAL: f64 = 3.0;

const UPDATE: &str = "UPDATE users SET version = version + 1";

/// When every row is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum When {
    /// Never.
    Never,
    /// Right after bg_prepare.
    Prepared,
    /// When half of the blocks are copied.
    Half,
}

/// A run.
#[derive(Debug, Serialize)]
struct Run {
    load: Pace,
    when: When,
    seconds: f64,
}

/// Runs all in turns, prints and saves them.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let mut place = Place::fill(Name::Users.table(), arguments.rows(1_000_000))?;
    println!("bulk-update: {} rows of users, {UPDATE}", place.rows);
    let mut runs = Vec::new();
    for _ in 0..arguments.pairs(3) {
        for load in [Pace::Idle, Pace::Trickle] {
            for when in [When::Never, When::Prepared, When::Half] {
                let seconds = one(&mut place, load, when)?;
                println!("   {:<8} {:<9} {seconds:>7.2} s", load.word(), format!("{when:?}"));
                runs.push(Run { load, when, seconds });
            }
        }
    }
    let of = |load, when| {
        let some = runs.iter().filter(|run| run.load == load && run.when == when);
        median(some.map(|run| run.seconds))
    };
    for load in [Pace::Idle, Pace::Trickle] {
        for (when, words) in [(When::Prepared, "after bg_prepare"), (When::Half, "at half")] {
            let what = format!("{}, all rows changed {words} ÷ not", load.word());
            judge.at_most(&what, of(load, when) / of(load, When::Never), GOAL, "");
        }
    }
    save(workspace, "bulk-update", &runs)
}

/// Seconds from the statement's commit, or from the beginning where there is none, to `ready`.
fn one(place: &mut Place, load: Pace, when: When) -> Result<f64> {
    execute(&mut place.admin, "VACUUM FULL public.users")?;
    place.settle()?;
    let mut subject = session::subject(&place.cluster, &[])?;
    let clients = Load::start(place, load, Mix::All)?;
    execute(&mut subject, "SELECT bg_prepare('users', 'ADD COLUMN phone text')")?;
    if when == When::Half {
        let half = format!("SELECT rows_copied >= {} FROM bg_status('users')", place.rows / 2);
        while !subject.query_one(&half, &[])?.get::<_, bool>(0) {
            execute(&mut subject, "SELECT bg_backfill('users', '0')")?;
        }
    }
    if when != When::Never {
        execute(&mut subject, UPDATE)?;
    }
    let begin = Instant::now();
    execute(&mut subject, "CALL bg_run('users')")?;
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(clients) = clients {
        clients.stop()?;
    }
    place.abandon(&mut subject)?;
    Ok(seconds)
}
