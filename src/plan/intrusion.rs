//! What a step of ours is meant to do to the definition of a table. Everything else that is different
//! afterwards was done by code of others that runs in our commands: an event trigger.
//!
//! Values are compared where a step must not change them. Comments are nobody's business.

use serde_json::Value;

use crate::model::changes::{Action, Change, ConstraintKind};
use crate::plan::difference::{self, Difference, How};

/// A step that writes definitions.
pub(crate) enum Step<'a> {
    /// Row security, labels and replica identity of the live table are put on the new one.
    Marked,
    /// The user's changes are made.
    Changed(&'a [Change]),
    /// Everything is tried out, indexes and constraints are taken off, the table moves.
    Laid,
    /// Capture begins.
    Captured,
    /// What hangs on the table is made on the new one. Names of its triggers and policies; whether
    /// it gets a replica identity.
    TakenAlong {
        /// Of the table itself.
        names: &'a [&'a str],
        /// A mark sets it.
        replica_identity: bool,
    },
    /// The tables change places. Names of the foreign keys, which move.
    Swapped(&'a [&'a str]),
    /// The offline table follows what was changed on the live one.
    Followed,
}

/// Parts by which others' code can do harm: what the table has of them is what was meant, or we stop.
const WATCHED: &[&str] = &[
    "column ",
    "index ",
    "constraint ",
    "trigger ",
    "capture trigger ",
    "policy ",
    "rule ",
    "inheritance ",
    "publication ",
    "statistics ",
    "foreign key ",
    "use of its row type by ",
];

/// Parts that every table has, and that no step but those that say so changes.
const FIXED: &[&str] = &["owner", "row level security", "replica identity"];

/// What is different and was not meant.
pub(crate) fn unmeant(before: &Value, now: &Value, step: &Step<'_>) -> Vec<Difference> {
    let found = difference::parts(before, now).unwrap_or_default();
    found.into_iter().filter(|d| is_watched(d) && !step.means(d)).collect()
}

fn is_watched(difference: &Difference) -> bool {
    let part = difference.part.as_str();
    match difference.how {
        How::Changed => FIXED.contains(&part),
        How::Added | How::Removed => WATCHED.iter().any(|watched| part.starts_with(watched)),
        How::Unreadable => false,
    }
}

/// Whether a table captures (live) or is guarded, as its definition says: all triggers are there, in the states
/// that they have then.
pub(crate) fn captures(definition: &Value, live: bool) -> bool {
    let states = if live { ["A", "A", "D"] } else { ["D", "D", "A"] };
    ["bluegreen_capture", "bluegreen_truncate", "bluegreen_guard"].into_iter().zip(states).all(
        |(name, state)| {
            let value = definition.get(format!("capture trigger {name}")).and_then(Value::as_str);
            // Its OID and the transaction that wrote it stand before.
            value.and_then(|value| value.split(' ').nth(2)) == Some(state)
        },
    )
}

/// A policy or a rule of another table: `policy p of s.t`.
fn is_of_another(part: &str) -> bool {
    (part.starts_with("policy ") || part.starts_with("rule ")) && part.contains(" of ")
}

impl Step<'_> {
    fn means(&self, difference: &Difference) -> bool {
        let (part, how) = (difference.part.as_str(), difference.how);
        let (added, removed) = (how == How::Added, how == How::Removed);
        match self {
            Self::Marked => matches!(part, "row level security" | "replica identity"),
            Self::Changed(changes) => explains(changes, part, how),
            Self::Laid => {
                removed && (part.starts_with("index ") || part.starts_with("constraint "))
            }
            Self::Captured => added && part.starts_with("capture trigger "),
            Self::TakenAlong { names, replica_identity } => {
                // A constraint trigger has a constraint of its name.
                let own = ["trigger ", "policy ", "constraint "].into_iter();
                let own = own.filter_map(|prefix| part.strip_prefix(prefix)).next();
                (part == "replica identity" && *replica_identity)
                    || (added && own.is_some_and(|name| names.contains(&name)))
                    || is_of_another(part)
                    || part.starts_with("use of its row type by ")
            }
            Self::Swapped(keys) => {
                // They move with the swap, or are other tables'.
                let moves = ["rule ", "publication ", "foreign key ", "use of its row type by "];
                is_of_another(part)
                    || moves.iter().any(|prefix| part.starts_with(prefix))
                    || part.strip_prefix("constraint ").is_some_and(|name| keys.contains(&name))
            }
            Self::Followed => {
                removed
                    || part.starts_with("index ")
                    || is_of_another(part)
                    || matches!(part, "row level security" | "replica identity")
            }
        }
    }
}

/// Whether one of the changes, or what the server does with it, adds or removes a part.
fn explains(changes: &[Change], part: &str, how: How) -> bool {
    let named = |prefix: &str| part.strip_prefix(prefix);
    if let Some(name) = named("column ") {
        return changes.iter().any(|change| about_column(change, name, how));
    }
    if let Some(name) = named("constraint ").or(named("index ")) {
        return changes.iter().any(|change| about_constraint(change, name, how));
    }
    // What stands on a column that goes.
    how == How::Removed && part.starts_with("statistics ") && drops_column(changes)
}

fn drops_column(changes: &[Change]) -> bool {
    let drops = |action: &Action| matches!(action, Action::DropColumn { .. });
    changes.iter().any(|c| matches!(c, Change::Alter { action, .. } if drops(action)))
}

fn about_column(change: &Change, name: &str, how: How) -> bool {
    match (change, how) {
        (Change::RenameColumn { to, .. }, How::Added) => to == name,
        (Change::RenameColumn { from, .. }, _) => from == name,
        (Change::Alter { action: Action::AddColumn { column, .. }, .. }, How::Added) => {
            column == name
        }
        // A generated column goes with what it is computed from.
        (
            Change::Alter { action: Action::DropColumn { column, cascade, .. }, .. },
            How::Removed,
        ) => column == name || *cascade,
        _ => false,
    }
}

fn about_constraint(change: &Change, name: &str, how: How) -> bool {
    match change {
        Change::RenameConstraint { from, to } => {
            if how == How::Added {
                to == name
            } else {
                from == name
            }
        }
        Change::RenameColumn { .. } => false,
        Change::Alter { action, .. } => match (action, how) {
            (Action::AddConstraint { kind: ConstraintKind::ForeignKey, .. }, _) => false,
            // The server makes the name. Since PostgreSQL 18 NOT NULL, which a primary key brings along,
            // is a constraint.
            (
                Action::AddConstraint { name: None, .. }
                | Action::AddConstraint { kind: ConstraintKind::PrimaryKey, .. }
                | Action::AddColumn { .. }
                | Action::SetNotNull { .. }
                | Action::AddIdentity { .. },
                How::Added,
            ) => true,
            (Action::AddConstraint { name: Some(own), .. }, How::Added) => own == name,
            (Action::DropConstraint { name: own, cascade, .. }, How::Removed) => {
                own == name || *cascade
            }
            (Action::DropColumn { .. } | Action::DropNotNull { .. }, How::Removed) => true,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn add_column(name: &str) -> Change {
        let action = Action::AddColumn {
            column: name.to_owned(),
            serial: false,
            generated: None,
            if_not_exists: false,
        };
        Change::Alter { text: String::new(), action }
    }

    fn words(before: &Value, now: &Value, step: &Step<'_>) -> Vec<String> {
        unmeant(before, now, step).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn a_column_that_no_change_adds_was_not_meant() {
        let before = json!({"column id": "1"});
        let now = json!({"column id": "1", "column phone": "2", "column stamp": "3"});

        let changes = [add_column("phone")];

        assert_eq!(words(&before, &now, &Step::Changed(&changes)), vec!["column stamp was added"]);
    }

    #[test]
    fn capture_is_on_where_all_triggers_have_their_states() {
        let mut live = json!({
            "capture trigger bluegreen_capture": "1 2 A 29 3",
            "capture trigger bluegreen_truncate": "1 2 A 32 3",
            "capture trigger bluegreen_guard": "1 2 D 30 3"
        });
        assert!(captures(&live, true) && !captures(&live, false));
        live["capture trigger bluegreen_capture"] = json!("1 2 O 29 3");
        assert!(!captures(&live, true));
        assert!(!captures(&json!({}), true));
    }

    #[test]
    fn row_security_is_a_mark_and_nothing_else() {
        let before = json!({"row level security": "f f", "comment 0": "a"});
        let now = json!({"row level security": "t f", "comment 0": "b"});

        assert_eq!(words(&before, &now, &Step::Marked), Vec::<String>::new());
        assert_eq!(words(&before, &now, &Step::Laid), vec!["row level security was changed"]);
    }

    #[test]
    fn a_swap_moves_foreign_keys_and_rules_and_no_triggers() {
        let before = json!({"constraint fk": "1", "trigger audit": "1"});
        let now = json!({"rule r": "1", "policy p of public.t": "1", "trigger late": "1"});

        assert_eq!(
            words(&before, &now, &Step::Swapped(&["fk"])),
            vec!["trigger audit was removed", "trigger late was added"]
        );
    }
}
