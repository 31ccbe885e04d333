//! Whether the copy costs the same for each row of a large table, in time and in memory, and how
//! much memory rows with very large values take.

use anyhow::{Context, Result};
use serde::Serialize;

use super::judge::Judge;
use super::memory::{self, Memory};
use super::place::Place;
use super::session;
use super::steps::Steps;
use super::table::{HUGE, Name};
use super::{Arguments, median, save};
use crate::setup::Workspace;

/// Time per row at the larger size by that at the smaller one, at most.
const GOAL: f64 = 1.1;
/// MB of memory above an idle session, at most.
const GOAL_MEMORY: f64 = 32.0;
/// The same where each row has a value of 10 MB.
const GOAL_MEMORY_HUGE: f64 = 128.0;
/// How many times larger the larger table is.
const FACTOR: i64 = 10;

/// One copy.
#[derive(Debug, Clone, Copy, Serialize)]
struct Run {
    microseconds_per_row: f64,
    /// The most that the copying backend had above an idle one.
    memory_mb: f64,
}

impl Run {
    fn mean(self, other: Self) -> Self {
        Self {
            microseconds_per_row: f64::midpoint(
                self.microseconds_per_row,
                other.microseconds_per_row,
            ),
            memory_mb: self.memory_mb.max(other.memory_mb),
        }
    }
}

/// All runs, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    rows: [i64; 2],
    ratio: f64,
    pairs: Vec<[Run; 2]>,
    huge_rows: i64,
    huge: Run,
}

/// Runs both sizes in pairs, and the huge values once.
pub(super) fn run(workspace: &Workspace, arguments: &Arguments, judge: &mut Judge) -> Result<()> {
    let rows = arguments.rows(1_000_000);
    // Both in shared buffers as a whole: that one is read from the kernel's cache would be a cost of
    // the server's settings, not of the number of rows.
    let mut small = Place::fill_large(Name::Narrow.table(), rows)?;
    let mut large = Place::fill_large(Name::Narrow.table(), rows * FACTOR)?;
    let rows = [small.rows, large.rows];
    println!("scale: {} and {} rows of narrow, no clients, one copy worker", rows[0], rows[1]);
    // The first run of a server has its catalogs to read and its WAL's files to make.
    one(&mut small)?;
    one(&mut large)?;
    let mut pairs = Vec::new();
    for _ in 0..arguments.pairs(5) {
        // The small one takes a tenth of the time, and so is measured on both sides of the large one.
        let before = one(&mut small)?;
        let large = one(&mut large)?;
        let small = before.mean(one(&mut small)?);
        println!(
            "   {:.3} µs a row, {:.1} MB; {:.3} µs a row, {:.1} MB: {:.3}",
            small.microseconds_per_row,
            small.memory_mb,
            large.microseconds_per_row,
            large.memory_mb,
            large.microseconds_per_row / small.microseconds_per_row
        );
        pairs.push([small, large]);
    }
    drop((small, large));

    let ratios = pairs.iter().map(|[s, l]| l.microseconds_per_row / s.microseconds_per_row);
    let ratio = median(ratios);
    judge.at_most(&format!("time per row at {FACTOR} × the rows"), ratio, GOAL, "");
    for (number, rows) in rows.iter().enumerate() {
        let peak = pairs.iter().map(|pair| pair[number].memory_mb).fold(0.0, f64::max);
        judge.at_most(&format!("memory of a copy of {rows} rows"), peak, GOAL_MEMORY, " MB");
    }
    let huge_rows = if arguments.quick { 4 } else { 40 };
    let huge = one(&mut Place::fill(&HUGE, huge_rows)?)?;
    let what = format!("memory of a copy of {huge_rows} rows of 10 MB");
    judge.at_most(&what, huge.memory_mb, GOAL_MEMORY_HUGE, " MB");
    save(workspace, "scale", &Runs { rows, ratio, pairs, huge_rows, huge })
}

fn one(place: &mut Place) -> Result<Run> {
    place.settle()?;
    place.warm_memory()?;
    let mut subject = session::subject(&place.cluster, &[("bluegreen.copy_workers", "1")])?;
    let idle = memory::of_session(&mut subject)?;
    let memory = Memory::watch(place)?;
    place.deploy(&mut subject)?;
    let samples = memory.stop()?;
    let steps = Steps::of_last_deployment(&mut place.admin)?;
    place.abandon(&mut subject)?;
    let copy = steps.copy()?;
    #[allow(clippy::cast_precision_loss)]
    let rows = copy.count.context("the history does not say how many rows were copied")? as f64;
    Ok(Run {
        microseconds_per_row: copy.seconds * 1e6 / rows,
        memory_mb: samples.peak_until(copy.ended()?) - idle,
    })
}
