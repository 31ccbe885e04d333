//! What hangs on the table and would be left behind: refused by name, never lost.

use pgrx::PgSqlErrorCode as Code;

use crate::catalog::Dependent;
use crate::check::Facts;
use crate::model::finding::Finding;

/// One refusal for each object.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let table = facts.table.qualified().plain();
    let mut found: Vec<_> = facts.dependents.iter().map(|d| refusal(&table, d)).collect();
    if facts.table.row_security || facts.table.force_row_security {
        found.push(not_carried(&table, "row level security", "ROW LEVEL SECURITY", "row_security"));
    }
    if facts.table.kind == "r" && facts.table.replica_identity != "d" {
        found.push(not_carried(
            &table,
            "its replica identity",
            "REPLICA IDENTITY",
            "replica_identity",
        ));
    }
    found
}

fn not_carried(table: &str, what: &str, object: &str, code: &'static str) -> Finding {
    Finding::error(
        code,
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        object,
        format!("{table} has {what} set, which is not carried over yet"),
        "Change it back for the deployment, or wait for a version that carries it.",
    )
}

fn refusal(table: &str, dependent: &Dependent) -> Finding {
    let Dependent { kind, name } = dependent;
    let unsupported = Code::ERRCODE_FEATURE_NOT_SUPPORTED;
    match kind.as_str() {
        "subscription" => Finding::error(
            "subscription",
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            name,
            format!(
                "{table} is filled by subscription {name}, which would skip the table after a swap"
            ),
            "Deploy on the publisher, or end the subscription of this table first.",
        ),
        "extension" => Finding::error(
            "extension",
            unsupported,
            name,
            format!("{table} belongs to extension {name}"),
            "Tables of extensions are changed by their extension.",
        ),
        "invalid index" => Finding::error(
            "invalid_index",
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            name,
            format!("index {name} of {table} is invalid"),
            format!("REINDEX INDEX CONCURRENTLY {name}, or drop it, then call again."),
        ),
        "publication" => Finding::error(
            "publication",
            unsupported,
            name,
            format!(
                "{table} is published by {name}; the copy and the logs would be published too, or not at all"
            ),
            "Take the table out of the publication for the deployment (for a publication of all tables or of a schema, name its tables instead).",
        ),
        "inheritance child" | "inheritance parent" => Finding::error(
            "inheritance",
            unsupported,
            name,
            format!("{table} is tied to {name} by inheritance, which is not carried over yet"),
            "ALTER TABLE … NO INHERIT (for a partition DETACH PARTITION) for the deployment.",
        ),
        "cluster mark" => Finding::error(
            "cluster_mark",
            unsupported,
            name,
            format!("{table} is marked to be clustered on {name}, which is not carried over yet"),
            format!("ALTER TABLE {table} SET WITHOUT CLUSTER for the deployment."),
        ),
        "statistics target" => Finding::error(
            "statistics_target",
            unsupported,
            name,
            format!(
                "statistics object {name} of {table} has a target of its own, which is not carried over yet"
            ),
            format!("ALTER STATISTICS {name} SET STATISTICS -1 for the deployment."),
        ),
        "security label" => Finding::error(
            "security_label",
            unsupported,
            name,
            format!(
                "{table} has a security label of provider {name}, which is not carried over yet"
            ),
            "Take the label off for the deployment.",
        ),
        "use of the table's row type" => Finding::error(
            "row_type",
            unsupported,
            name,
            format!("{name} uses the row type of {table}, which stays the old one after a swap"),
            "Use a composite type of its own there.",
        ),
        "object" => Finding::error(
            "dependent",
            unsupported,
            name,
            format!("{name} depends on {table} and is not carried over yet"),
            "Drop it for the deployment and make it again after bg_finish.",
        ),
        _ => Finding::error(
            "dependent",
            unsupported,
            name,
            format!("{kind} {name} depends on {table} and is not carried over yet"),
            format!("Drop the {kind} for the deployment and make it again after bg_finish."),
        ),
    }
}
