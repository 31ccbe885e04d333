//! Names that have to fit.

use pgrx::PgSqlErrorCode as Code;

use crate::check::facts::Facts;
use crate::model::finding::Finding;

/// Columns whose names our own statements use.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts
        .columns
        .iter()
        .filter(|c| c.name.as_str().starts_with("bluegreen."))
        .map(|c| {
            let name = c.name.to_string();
            Finding::error(
                "column_name",
                Code::ERRCODE_RESERVED_NAME,
                &name,
                format!("column {name} begins with bluegreen., which is reserved"),
                "Rename the column first.",
            )
        })
        .collect()
}
