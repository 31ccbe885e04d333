//! What can be deployed at all: an ordinary table of a user.

use pgrx::PgSqlErrorCode as Code;

use crate::check::facts::Facts;
use crate::model::finding::Finding;

/// Refuses views, foreign, temporary, system and partitioned tables, partitions and typed tables.
// Long: a refusal for each kind.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let table = &facts.table;
    let name = table.qualified().plain();
    let mut found = Vec::new();
    let mut refuse = |code, sqlstate, what: &str, hint: &str| {
        found.push(Finding::error(code, sqlstate, &name, format!("{name} is {what}"), hint));
    };
    let wrong = Code::ERRCODE_WRONG_OBJECT_TYPE;
    let unsupported = Code::ERRCODE_FEATURE_NOT_SUPPORTED;
    match table.kind.as_str() {
        "r" => {}
        "p" => refuse(
            "partitioned",
            unsupported,
            "a partitioned table, which cannot be deployed yet",
            "Deploy its partitions' tables after DETACH PARTITION, or change it by other means.",
        ),
        "v" => refuse("kind", wrong, "a view", "Give the table behind it."),
        "m" => refuse("kind", wrong, "a materialized view", "Give the table behind it."),
        "f" => {
            refuse("kind", wrong, "a foreign table", "Deploy it on the server where its rows are.")
        }
        "S" => refuse("kind", wrong, "a sequence", "Give the table that uses it."),
        "i" | "I" => refuse("kind", wrong, "an index", "Give the table that it belongs to."),
        _ => refuse("kind", wrong, "not a table", "Give an ordinary table."),
    }
    if table.is_system {
        refuse(
            "system",
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "a system table",
            "Only tables of users can be deployed.",
        );
    }
    if table.persistence == "t" {
        refuse(
            "temporary",
            wrong,
            "a temporary table",
            "No other session can write to it: change it with ALTER TABLE.",
        );
    }
    if table.is_partition {
        refuse("partition", unsupported, "a partition", "DETACH PARTITION first.");
    }
    if table.is_typed {
        refuse(
            "typed",
            unsupported,
            "a table OF a composite type",
            "Make it an ordinary table with ALTER TABLE … NOT OF first.",
        );
    }
    if table.access_method.as_ref().is_some_and(|m| m.as_str() != "heap") && table.kind == "r" {
        refuse(
            "access_method",
            unsupported,
            "not stored in heap pages, whose blocks the copy walks",
            "Only tables of access method heap can be deployed.",
        );
    }
    found
}
