//! What subscribers of the table will miss: their tables are not changed with it.

use crate::check::facts::Facts;
use crate::ident::plain;
use crate::model::changes::{Action, Change};
use crate::model::finding::Finding;

/// Columns that are sent from the swap on, and that a subscriber need not have.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let names = |everything: bool| {
        let sends = facts.publications.iter().filter(|p| !everything || p.columns.is_none());
        let names: Vec<_> = sends.map(|p| plain(p.name.as_str())).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let mut found = Vec::new();
    for change in &facts.changes {
        match change {
            Change::Alter { action: Action::AddColumn { column, .. }, .. } => {
                // A list of columns does not get longer.
                let Some(publications) = names(true) else { continue };
                found.push(Finding::warning(
                    "subscriber",
                    column.clone(),
                    format!(
                        "{publications} sends column {} from the swap on: a subscriber that lacks it stops with an error until it has it",
                        plain(column)
                    ),
                    "Add the column there before the swap. Values that the copy gives it are not sent.",
                ));
            }
            Change::RenameColumn { from, to } => {
                let Some(publications) = names(false) else { continue };
                found.push(Finding::warning(
                    "subscriber",
                    from.clone(),
                    format!(
                        "{publications} sends column {} as {} from the swap on: a subscriber stops with an error until it has that name there",
                        plain(from),
                        plain(to)
                    ),
                    "Rename the column there after the swap, and back after a revert: nothing is lost meanwhile.",
                ));
            }
            _ => {}
        }
    }
    found
}
