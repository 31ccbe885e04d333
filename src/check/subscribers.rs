//! What subscribers of the table will miss: their tables are not changed with it.

use crate::catalog::dependent::Published;
use crate::check::facts::Facts;
use crate::ident::plain;
use crate::model::changes::{Action, Change, Generated};
use crate::model::finding::Finding;

/// Columns that are sent from the swap on, and that a subscriber need not have; and those that are not sent.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.changes.iter().flat_map(|change| of_change(facts, change)).collect()
}

fn of_change(facts: &Facts, change: &Change) -> Vec<Finding> {
    match change {
        Change::Alter { action: Action::AddColumn { column, generated: None, .. }, .. } => {
            added(facts, column)
        }
        Change::Alter {
            action: Action::AddColumn { column, generated: Some(how), .. }, ..
        } => added_generated(facts, column, *how),
        Change::Alter { action: Action::DropExpression { column, .. }, .. } => {
            no_longer_generated(facts, column)
        }
        Change::RenameColumn { from, to } => renamed(facts, from, to),
        _ => Vec::new(),
    }
}

/// The names of the publications that are meant, if there is one.
fn names(facts: &Facts, is_meant: impl Fn(&Published) -> bool) -> Option<String> {
    let meant = facts.publications.iter().filter(|p| is_meant(p));
    let names: Vec<_> = meant.map(|p| plain(p.name.as_str())).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// A list of columns does not get longer.
fn has_all(published: &Published) -> bool {
    published.columns.is_none()
}

fn added(facts: &Facts, column: &str) -> Vec<Finding> {
    let told = |who| {
        Finding::warning(
            "subscriber",
            column.to_owned(),
            format!(
                "{who} sends column {} from the swap on: a subscriber that lacks it stops with an error until it has it",
                plain(column)
            ),
            "Add the column there before the swap. Values that the copy gives it are not sent.",
        )
    };
    names(facts, has_all).map(told).into_iter().collect()
}

fn added_generated(facts: &Facts, column: &str, how: Generated) -> Vec<Finding> {
    let sends = |p: &Published| has_all(p) && p.sends_generated;
    let sends_others = |p: &Published| has_all(p) && !p.sends_generated;
    let is_sent = |p: &Published| sends(p) && how == Generated::Stored;
    let mut found = Vec::new();
    if let Some(who) = names(facts, is_sent) {
        found.push(Finding::warning(
            "subscriber",
            column.to_owned(),
            format!(
                "{who} sends column {} from the swap on: a subscriber that lacks it or generates it stops with an error until it has it as an ordinary column",
                plain(column)
            ),
            "Add it there before the swap, as an ordinary column. Values that the copy gives it are not sent.",
        ));
    }
    if let Some(who) = names(facts, |p| has_all(p) && !is_sent(p)) {
        found.push(Finding::warning(
            "subscriber",
            column.to_owned(),
            format!("{who} does not send column {}, which is generated", plain(column)),
            "Where a subscriber needs it, add it there as a generated column, too.",
        ));
    }
    if let (Some(some), Some(others)) = (names(facts, sends), names(facts, sends_others)) {
        found.push(Finding::warning(
            "subscriber",
            column.to_owned(),
            format!(
                "publish_generated_columns of {some} is not that of {others}: a subscription to both stops with an error as soon as the table has a generated column"
            ),
            "Give the publications the same value before the swap.",
        ));
    }
    found
}

fn no_longer_generated(facts: &Facts, column: &str) -> Vec<Finding> {
    let told = |who| {
        Finding::warning(
            "subscriber",
            column.to_owned(),
            format!(
                "{who} sends column {} from the swap on, when it is no longer generated: a subscriber that lacks it or generates it stops with an error until it has it as an ordinary column",
                plain(column)
            ),
            "Add it there before the swap, or drop its expression there.",
        )
    };
    names(facts, |p| has_all(p) && !p.sends_generated).map(told).into_iter().collect()
}

fn renamed(facts: &Facts, from: &str, to: &str) -> Vec<Finding> {
    let column = facts.columns.iter().find(|column| column.name.as_str() == from);
    let generated = column.map_or("", |column| column.generated.as_str());
    let is_sent = |p: &Published| match &p.columns {
        Some(list) => list.iter().any(|column| column.as_str() == from),
        None => generated.is_empty() || generated == "s" && p.sends_generated,
    };
    let told = |who| {
        Finding::warning(
            "subscriber",
            from.to_owned(),
            format!(
                "{who} sends column {} as {} from the swap on: a subscriber stops with an error until it has that name there",
                plain(from),
                plain(to)
            ),
            "Rename the column there after the swap, and back after a revert: nothing is lost meanwhile.",
        )
    };
    names(facts, is_sent).map(told).into_iter().collect()
}
