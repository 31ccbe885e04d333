//! What subscribers of the table will miss: their tables are not changed with it.

use crate::catalog::dependent::Published;
use crate::check::facts::Facts;
use crate::ident::plain;
use crate::model::changes::{Action, Change, Generated};
use crate::model::finding::Finding;

/// Columns that are sent from the swap on, and that a subscriber need not have; and those that are not sent.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.changes.iter().flat_map(|change| of_change(&facts.publications, change)).collect()
}

fn of_change(publications: &[Published], change: &Change) -> Vec<Finding> {
    let names = |is_meant: &dyn Fn(&Published) -> bool| {
        let meant = publications.iter().filter(|p| is_meant(p));
        let names: Vec<_> = meant.map(|p| plain(p.name.as_str())).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    match change {
        Change::Alter { action: Action::AddColumn { column, generated, .. }, .. } => {
            let sends = |p: &Published| match generated {
                None => true,
                Some(Generated::Stored) => p.sends_generated,
                Some(Generated::Virtual) => false,
            };
            // A list of columns does not get longer.
            let added = names(&|p| p.columns.is_none() && sends(p)).map(|who| {
                Finding::warning(
                    "subscriber",
                    column.clone(),
                    format!(
                        "{who} sends column {} from the swap on: a subscriber that lacks it stops with an error until it has it",
                        plain(column)
                    ),
                    "Add the column there before the swap. Values that the copy gives it are not sent.",
                )
            });
            let left_out = names(&|p| p.columns.is_none() && !sends(p)).map(|who| {
                Finding::warning(
                    "subscriber",
                    column.clone(),
                    format!("{who} does not send column {}, which is generated", plain(column)),
                    "Where a subscriber needs it, add it there as a generated column, too.",
                )
            });
            added.into_iter().chain(left_out).collect()
        }
        Change::RenameColumn { from, to } => {
            let renamed = names(&|_| true).map(|who| {
                Finding::warning(
                    "subscriber",
                    from.clone(),
                    format!(
                        "{who} sends column {} as {} from the swap on: a subscriber stops with an error until it has that name there",
                        plain(from),
                        plain(to)
                    ),
                    "Rename the column there after the swap, and back after a revert: nothing is lost meanwhile.",
                )
            });
            renamed.into_iter().collect()
        }
        _ => Vec::new(),
    }
}
