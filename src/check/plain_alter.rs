//! Changes for which PostgreSQL needs no copy.

use crate::model::finding::Finding;

/// Says so, with the statements in their order.
pub(crate) fn finding(table: &str, statements: &[String]) -> Finding {
    Finding::note(
        "plain_alter",
        table,
        format!(
            "PostgreSQL makes these changes of {table} without writing the table again and without keeping writers out while rows are read: no copy is needed, and ALTER TABLE alone has no way back"
        ),
        statements.iter().map(|s| format!("{s};")).collect::<Vec<_>>().join("\n"),
    )
}
