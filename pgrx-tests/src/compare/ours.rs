//! What a user runs: a column is added with `bg_prepare` and `CALL bg_run(table, 'swapped')`, the
//! extension's settings as they are, and the server's but for two that are named. All steps are counted, freezing and
//! verification included.

use anyhow::Result;

use super::Arguments;
use super::change::{self, Ratio, Rules};
use super::contender::Contender::{Floor, Ours, OursWorkers2, Repack};
use super::judge::Judge;
use super::place::{AS_DELIVERED_BUT, Place};
use super::side::Sides;
use crate::setup::Workspace;

const RULES: Rules = Rules {
    name: "ours",
    apart: &[],
    place: Place::fill_as_delivered,
    ratios: &[
        Ratio::seconds(Ours, Floor, None),
        Ratio::seconds(OursWorkers2, Floor, None),
        Ratio::seconds(Ours, Repack, None),
        Ratio::seconds(OursWorkers2, Repack, None),
        Ratio::seconds(Repack, Floor, None),
        Ratio::wal(Ours, Floor, None),
    ],
};

/// Runs it beside the least that a rewrite must do, and pg_repack.
pub(super) fn run(
    workspace: &Workspace,
    arguments: &Arguments,
    sides: &Sides,
    judge: &mut Judge,
) -> Result<()> {
    let but = AS_DELIVERED_BUT.map(|(name, value)| format!("{name} = {value}")).join(", ");
    println!("ours: all settings are those of a server as delivered, but {but}");
    let contenders = arguments.contenders(&[Ours, OursWorkers2, Floor, Repack]);
    change::run_by(&RULES, workspace, arguments, sides, &contenders, judge)
}
