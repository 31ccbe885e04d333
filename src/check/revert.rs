//! What the change may cost clients, and a revert.

use crate::check::facts::Facts;
use crate::ident::plain;
use crate::model::changes::{Action, Change};
use crate::model::finding::Finding;

/// Plans that break, and rows that may not fit the old table.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let table = facts.table.qualified().plain();
    let shape_changes = facts.changes.iter().any(|c| {
        matches!(
            c,
            Change::RenameColumn { .. }
                | Change::Alter {
                    action: Action::AddColumn { .. }
                        | Action::DropColumn { .. }
                        | Action::AlterType { .. },
                    ..
                }
        )
    });
    if shape_changes {
        found.push(Finding::warning(
            "plan_break",
            &table,
            "statements like SELECT * that clients prepared before the swap fail after it with \"cached plan must not change result type\"",
            "Recycle connection pools after the swap, or run DEALLOCATE ALL; name columns instead of *.",
        ));
    }
    for change in &facts.changes {
        let Change::Alter { action, .. } = change else { continue };
        let (object, what) = match action {
            Action::DropColumn { column, .. } => {
                let needed = facts.columns.iter().any(|c| {
                    c.name.as_str() == column
                        && c.not_null
                        && !c.has_default
                        && c.identity.is_empty()
                });
                if !needed {
                    continue;
                }
                (
                    column,
                    format!(
                        "column {} is NOT NULL without a default: rows inserted after the swap do not fit the old table on a revert",
                        plain(column)
                    ),
                )
            }
            Action::DropNotNull { column } => (
                column,
                format!("rows with NULL in {} do not fit the old table on a revert", plain(column)),
            ),
            Action::DropConstraint { name, .. } => (
                name,
                format!(
                    "rows that constraint {} would refuse do not fit the old table on a revert",
                    plain(name)
                ),
            ),
            Action::AlterType { column, .. } => (
                column,
                format!(
                    "values of {} that the old type cannot hold do not fit the old table on a revert",
                    plain(column)
                ),
            ),
            _ => continue,
        };
        found.push(Finding::warning(
            "revert_misfit",
            object.clone(),
            what,
            "Such rows are misfits: bg_revert refuses, or sets them aside with misfits => 'set_aside'.",
        ));
    }
    found
}
