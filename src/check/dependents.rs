//! What hangs on the table and would be left behind: refused by name, never lost.

use pgrx::PgSqlErrorCode as Code;

use crate::catalog::dependent::UnsupportedDependent;
use crate::check::facts::Facts;
use crate::model::finding::Finding;

/// One refusal for each object.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let table = facts.table.qualified().plain();
    facts.strangers.iter().map(|s| refusal(&table, s)).collect()
}

// Long: an arm for each kind.
fn refusal(table: &str, stranger: &UnsupportedDependent) -> Finding {
    let UnsupportedDependent { kind, name } = stranger;
    let unsupported = Code::ERRCODE_FEATURE_NOT_SUPPORTED;
    let state = Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    match kind.as_str() {
        "subscription" => Finding::error(
            "subscription",
            state,
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
            "Leave it to its extension, which makes and changes it.",
        ),
        "use of an extension" => Finding::error(
            "extension",
            unsupported,
            name,
            format!("dependence of {name}, which hangs on {table}, is not carried over"),
            "ALTER … NO DEPENDS ON EXTENSION for the deployment.",
        ),
        "invalid index" => Finding::error(
            "invalid_index",
            state,
            name,
            format!("index {name} of {table} is invalid"),
            format!("REINDEX INDEX CONCURRENTLY {name}, or drop it, then call again."),
        ),
        "publication of everything" => Finding::error(
            "publication",
            unsupported,
            name,
            format!(
                "{table} is published by {name}, which publishes all tables: the copy and the logs would be published too"
            ),
            "Name the tables in the publication instead of FOR ALL TABLES.",
        ),
        "inheritance child" | "inheritance parent" => Finding::error(
            "inheritance",
            unsupported,
            name,
            format!("{table} is tied to {name} by inheritance, which is not carried over"),
            "ALTER TABLE … NO INHERIT (for a partition DETACH PARTITION) for the deployment.",
        ),
        "column" => Finding::error(
            "row_type",
            unsupported,
            name,
            format!("{name} has the row type of {table}, which stays the old one after a swap"),
            "Use a composite type of its own there.",
        ),
        "key WITHOUT OVERLAPS" | "foreign key with PERIOD" => Finding::error(
            "dependent",
            unsupported,
            name,
            format!("constraint {name}, a {kind} on or to {table}, is not carried over"),
            "Drop it for the deployment, and add it again after bg_finish.",
        ),
        "NOT NULL that is not valid" => Finding::error(
            "dependent",
            state,
            name,
            format!("constraint {name}, a {kind}, is not carried over"),
            "ALTER TABLE … VALIDATE CONSTRAINT first, or drop it for the deployment.",
        ),
        "temporary view" => Finding::error(
            "temporary_view",
            state,
            name,
            format!("temporary view {name} of some session depends on {table}"),
            "Drop it or end that session, then call again.",
        ),
        "foreign key of a partitioned table" => Finding::error(
            "foreign_key",
            unsupported,
            name,
            format!(
                "{name}, a partitioned table, references {table}: it cannot be added NOT VALID"
            ),
            "Drop the foreign key for the deployment and add it again after bg_finish.",
        ),
        "foreign key that is switched off" => Finding::error(
            "foreign_key",
            state,
            name,
            format!("triggers of {name}, which joins it with {table}, are disabled"),
            "ALTER TABLE … ENABLE TRIGGER ALL on both tables first.",
        ),
        _ => Finding::error(
            "dependent",
            unsupported,
            name,
            format!("{name} depends on {table} and cannot be carried over"),
            "Drop it for the deployment and make it again after bg_finish.",
        ),
    }
}
