//! What the change may cost clients, and a revert.

use crate::catalog::Column;
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
            "Renew the clients' connections after the swap (recycle connection pools), or name columns instead of *.",
        ));
    }
    for change in &facts.changes {
        let Change::Alter { action, .. } = change else { continue };
        let Some((object, what)) = unfit_rows(action, facts) else { continue };
        found.push(Finding::warning(
            "revert_misfit",
            object.clone(),
            what,
            "Such rows are misfits: bg_revert refuses, or sets them aside with misfits => 'set_aside'.",
        ));
    }
    found
}

/// Rows that an action lets in, and that the old table does not take: because of what, and why.
fn unfit_rows<'a>(action: &'a Action, facts: &Facts) -> Option<(&'a String, String)> {
    let old = "do not fit the old table on a revert";
    Some(match action {
        Action::DropColumn { column, .. } => {
            let is_needed = |c: &&Column| {
                c.name.as_str() == column && c.not_null && !c.has_default && c.identity.is_empty()
            };
            facts.columns.iter().find(is_needed)?;
            let what = "is NOT NULL without a default: rows inserted after the swap";
            (column, format!("column {} {what} {old}", plain(column)))
        }
        Action::DropNotNull { column } => {
            (column, format!("rows with NULL in {} {old}", plain(column)))
        }
        Action::DropConstraint { name, .. } => {
            (name, format!("rows that constraint {} would refuse {old}", plain(name)))
        }
        Action::AlterType { column, .. } => {
            let what = "that the old type cannot hold";
            (column, format!("values of {} {what} {old}", plain(column)))
        }
        _ => return None,
    })
}
