//! Which tests from outside run on which major version: all on one, on the others those whose result depends on
//! the version, and some of the rest in turn.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use crate::setup::Major;

/// Tests from outside, by the modules they are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of them, and the programs that need no server.
    All,
    /// Those of these modules, each as deep as a file and with a `::` behind it.
    Modules(Vec<String>),
}

/// Modules whose tests run on every version: what they test reads or writes the server's own catalogs, pages,
/// plans or messages, or has another form in each version.
const ALWAYS: &[&str] = &[
    "backfill::copier::",
    "backfill::copier_values::",
    "backfill::copy::",
    "concurrency::isolation::",
    "dependents::foreign_keys::",
    "dependents::kinds::",
    "dependents::properties::",
    "dependents::row_types::",
    "dependents::same_tree::",
    "dependents::sequences::",
    "dependents::views::",
    "operations::dumps::",
    "operations::extensions::",
    "operations::upgrades::",
    "prepare::names::",
    "rights::",
    "runner::time_limits::",
    "runner::workers::",
    "swap::at_once::",
    "swap::history::",
    "swap::kept::",
    "sync::capture::",
    "upgrade::",
    "verify::order::",
    "versions::",
];

/// Every module of the rest has its turn on a version once in so many days.
const TURN: u64 = 20;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The tests that run today on a version on which not all of them run, of all as the test program lists them.
pub(super) fn today(major: Major, list: &str) -> Result<Selection> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let modules = of_day(days / DAY.as_secs(), major, list);
    let is_there = |always: &&str| modules.iter().any(|module| module.starts_with(*always));
    if let Some(unknown) = ALWAYS.iter().find(|always| !is_there(always)) {
        bail!("no test is in {unknown}, which is to run on every version");
    }
    Ok(Selection::Modules(modules))
}

fn of_day(day: u64, major: Major, list: &str) -> Vec<String> {
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let modules: BTreeSet<String> = tests.filter_map(module).collect();
    let is_always = |module: &String| ALWAYS.iter().any(|always| module.starts_with(always));
    let (always, rest): (Vec<_>, Vec<_>) = modules.into_iter().partition(is_always);
    // On one day the versions have different ones.
    let turns = day + u64::from(major.number())..;
    let in_turn = rest.into_iter().zip(turns).filter(|(_, turn)| turn.is_multiple_of(TURN));
    always.into_iter().chain(in_turn.map(|(module, _)| module)).collect()
}

/// The module that a test is in: at most two names deep, as files are.
fn module(test: &str) -> Option<String> {
    let (path, _) = test.rsplit_once("::")?;
    let names: Vec<&str> = path.split("::").take(2).collect();
    Some(format!("{}::", names.join("::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "sync::plans::one: test\nsync::plans::other: test\nfuzz::grammar::x: test\n\
        fuzz::whole: test\nsync::capture::a: test\nswap::locks::b: test\nrights::escalation::c: test\n\n\
        7 tests, 0 benchmarks\n";

    #[test]
    fn in_twenty_days_each_module_has_its_turn_on_each_version_once() {
        for major in [Major::V16, Major::V17, Major::V18] {
            let days: Vec<_> = (20_000..20_020).map(|day| of_day(day, major, LIST)).collect();
            for module in ["sync::plans::", "fuzz::grammar::", "fuzz::", "swap::locks::"] {
                let turns = days.iter().filter(|day| day.iter().any(|m| m == module)).count();
                assert_eq!(turns, 1, "{module} on {major}");
            }
            for always in ["sync::capture::", "rights::escalation::"] {
                assert!(days.iter().all(|day| day.iter().any(|module| module == always)));
            }
        }
    }
}
