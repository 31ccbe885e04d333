//! What capture costs a statement that changes every row.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::judge::Judge;
use super::place::Place;
use super::session::{self, execute};
use super::table::Name;
use super::{Arguments, median, save};
use crate::setup::Workspace;

/// The statement's time with capture by that without, at most.
const GOAL: f64 = 1.30;

const UPDATE: &str = "UPDATE users SET version = version + 1";

/// Two runs, one after the other, in seconds.
#[derive(Debug, Serialize)]
struct Pair {
    with: f64,
    without: f64,
}

/// All runs, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: i64,
    ratio: f64,
    pairs: Vec<Pair>,
}

/// Runs the pairs, prints and saves them.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let mut place = Place::fill(Name::Users.table(), arguments.rows(1_000_000))?;
    let rows = place.rows;
    println!("bulk: {rows} rows of users, {UPDATE}");
    // The table gets the room for a second version of each row, which later runs find free.
    execute(&mut place.admin, UPDATE)?;
    let mut pairs = Vec::new();
    for number in 0..arguments.pairs(5) {
        let pair = if number % 2 == 0 {
            let with = one(&mut place, true)?;
            Pair { with, without: one(&mut place, false)? }
        } else {
            let without = one(&mut place, false)?;
            Pair { with: one(&mut place, true)?, without }
        };
        println!(
            "   with {:>7.2} s, without {:>7.2} s: {:.3}",
            pair.with,
            pair.without,
            pair.with / pair.without
        );
        pairs.push(pair);
    }
    let ratio = median(pairs.iter().map(|pair| pair.with / pair.without));
    judge.at_most("a bulk update with capture ÷ without", ratio, GOAL, "");
    save(workspace, "bulk", &Runs { rows, ratio, pairs })
}

/// Seconds of the statement, with the table under deployment or not.
fn one(place: &mut Place, captured: bool) -> Result<f64> {
    let mut subject = session::subject(&place.cluster, &[])?;
    if captured {
        place.deploy(&mut subject)?;
    }
    place.settle()?;
    let begin = Instant::now();
    execute(&mut subject, UPDATE)?;
    let seconds = begin.elapsed().as_secs_f64();
    if captured {
        place.abandon(&mut subject)?;
    }
    Ok(seconds)
}
