//! The copy alone, beside CREATE TABLE AS: how fast rows get from one table into another, for rows
//! of several kinds.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::judge::Judge;
use super::place::Place;
use super::session::{self, execute};
use super::side::{BySide, Sides};
use super::steps::Steps;
use super::table::Name;
use super::{Arguments, median, save};
use crate::setup::Workspace;

/// The copy's time by that of CREATE TABLE AS, at most.
const GOAL: f64 = 1.0;
/// The time of bg_verify by that of the copy, at most.
const VERIFY_GOAL: f64 = 0.3;

/// Two runs, one after the other, in seconds.
#[derive(Debug, Serialize)]
struct Pair {
    copy: f64,
    verify: f64,
    create_table_as: f64,
}

/// All runs of one table, as they are saved.
#[derive(Debug, Serialize)]
struct Runs {
    table: Name,
    rows: i64,
    ratio: f64,
    verify_ratio: f64,
    /// The copy's time, and that of bg_verify, by that of the other commit.
    beside: Option<[f64; 2]>,
    pairs: Vec<BySide<Pair>>,
}

/// Runs the pairs on each table.
pub(super) fn run(
    workspace: &Workspace,
    arguments: &Arguments,
    sides: &Sides,
    judge: &mut Judge,
) -> Result<()> {
    use Name::{Composite, Narrow, Users, Uuid, Wide};
    let mut all = Vec::new();
    for table in arguments.tables(&[Users, Narrow, Wide, Uuid, Composite]) {
        let filled = arguments.rows(2_000_000);
        let rows = table.table().rows(filled);
        println!("copy: {rows} rows of {}, no clients", table.word());
        let mut pairs = Vec::new();
        for (order, count) in sides.orders(arguments.pairs(5)).into_iter().enumerate() {
            let mut places =
                sides.in_turn(order, |side| Place::fill_on(side, table.table(), filled))?;
            for number in 0..count as usize {
                pairs.push(sides.in_turn(number, |side| {
                    // Not in step with the sides' turns: each order comes with each side first.
                    let pair = pair(places.of(side), number / 2 % 2 == 0)?;
                    pair.print(sides.name(side));
                    Ok(pair)
                })?);
            }
        }
        let ours = || pairs.iter().map(|pair| &pair.ours);
        let ratio = median(ours().map(|pair| pair.copy / pair.create_table_as));
        let verify_ratio = median(ours().map(|pair| pair.verify / pair.copy));
        let word = table.word();
        judge.at_most(&format!("copy ÷ CREATE TABLE AS of {word}"), ratio, GOAL, "");
        judge.at_most(&format!("bg_verify ÷ copy of {word}"), verify_ratio, VERIFY_GOAL, "");
        let copies = sides.ratio(&format!("copy of {word}"), &pairs, |pair| pair.copy);
        let verified = sides.ratio(&format!("bg_verify of {word}"), &pairs, |pair| pair.verify);
        let beside = copies.zip(verified).map(<[f64; 2]>::from);
        all.push(Runs { table, rows, ratio, verify_ratio, beside, pairs });
    }
    save(workspace, "copy", &all)
}

fn pair(place: &mut Place, copy_first: bool) -> Result<Pair> {
    if copy_first {
        let (copy, verify) = ours(place)?;
        Ok(Pair { copy, verify, create_table_as: floor(place)? })
    } else {
        let create_table_as = floor(place)?;
        let (copy, verify) = ours(place)?;
        Ok(Pair { copy, verify, create_table_as })
    }
}

impl Pair {
    fn print(&self, name: &str) {
        let Self { copy, verify, create_table_as } = self;
        println!(
            "   {name}: copy {copy:>7.2} s, CREATE TABLE AS {create_table_as:>7.2} s: {:.3}; \
             bg_verify {verify:.2} s: {:.3}",
            copy / create_table_as,
            verify / copy
        );
    }
}

/// Seconds of the copy in a backfill that nobody disturbs, with one worker, and of bg_verify after
/// it; nothing of it stays.
fn ours(place: &mut Place) -> Result<(f64, f64)> {
    place.settle()?;
    let mut subject = session::subject(&place.cluster, &[("bluegreen.copy_workers", "1")])?;
    place.deploy(&mut subject)?;
    let copy = Steps::of_last_deployment(&mut place.admin)?.copy()?.seconds;
    let begin = Instant::now();
    let sql = format!("SELECT * FROM bg_verify('{}')", place.table.name);
    let found = subject.query(&sql, &[]).context("verifying")?;
    let verify = begin.elapsed().as_secs_f64();
    ensure!(found.is_empty(), "bg_verify found {} differences", found.len());
    place.abandon(&mut subject)?;
    Ok((copy, verify))
}

/// Seconds of CREATE TABLE AS.
fn floor(place: &mut Place) -> Result<f64> {
    place.settle()?;
    let mut subject = session::subject(&place.cluster, &[])?;
    let table = place.table.name;
    let begin = Instant::now();
    execute(&mut subject, &format!("CREATE TABLE floor.{table} AS SELECT * FROM {table}"))?;
    let seconds = begin.elapsed().as_secs_f64();
    execute(&mut subject, &format!("DROP TABLE floor.{table}"))?;
    Ok(seconds)
}
