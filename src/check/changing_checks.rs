//! CHECK constraints whose result changes by itself: rows that they admitted may not meet them when they are
//! copied or brought in, and stand in the way of the swap or of a revert.

use crate::check::facts::Facts;
use crate::ident::plain;
use crate::model::changes::Change;
use crate::model::finding::Finding;

/// A warning for each.
pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let table = facts.table.qualified().plain();
    let stays = |name: &str| {
        !facts.changes.iter().any(|change| match change {
            Change::Alter { text, .. } => {
                text.contains(name) && text.to_uppercase().contains("DROP")
            }
            _ => false,
        })
    };
    let checks = facts.changing_checks.iter().filter(|check| stays(check.name.as_str()));
    checks
        .map(|check| {
            let name = plain(check.name.as_str());
            Finding::warning(
                "changing_check",
                &name,
                format!(
                    "constraint {name} of {table} calls {}, so that rows which met it once may not meet it when they are written to the other table",
                    check.calls
                ),
                format!(
                    "Let the changes replace it by one that does not look at rows which are there: DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK (…) NOT VALID; or check it in a trigger. Such rows are shown by bg_misfits() and prevent the swap or the revert."
                ),
            )
        })
        .collect()
}
