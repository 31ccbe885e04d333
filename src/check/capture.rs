//! What others may notice of the deployment while it runs.

use crate::check::facts::Facts;
use crate::model::finding::Finding;

/// Event triggers, standbys, unlogged tables.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for trigger in &facts.event_triggers {
        found.push(Finding::note(
            "event_trigger",
            trigger.name.as_str(),
            format!(
                "event trigger {} runs in the commands of a deployment: it can refuse them, and what it puts on a new table is taken off or refused",
                trigger.title()
            ),
            "See that it lets what is in the schemas *_blue, bluegreen and bluegreen_* pass as it is.",
        ));
    }
    if facts.has_standby {
        found.push(Finding::note(
            "standby",
            facts.table.qualified().plain(),
            "a query on a hot standby whose snapshot is older than the last large sync is cancelled there when the swap is replayed",
            "End long transactions on standbys before the swap.",
        ));
    }
    if facts.table.persistence == "u" {
        found.push(Finding::warning(
            "unlogged",
            facts.table.qualified().plain(),
            "the table is UNLOGGED: a crash empties it, its copy and its change log",
            "After a crash run bg_abort and begin again.",
        ));
    }
    found
}
