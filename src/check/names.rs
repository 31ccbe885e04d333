//! Names that have to fit.

use pgrx::PgSqlErrorCode as Code;

use crate::check::facts::Facts;
use crate::model::finding::Finding;

/// Columns whose names our own statements use, and statistics whose names differ by their schemas only.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = columns(facts);
    found.extend(statistics(facts));
    found
}

fn statistics(facts: &Facts) -> Vec<Finding> {
    let all = &facts.statistics;
    let first = |later: usize| all[..later].iter().find(|first| first.name == all[later].name);
    let twice = (0..all.len()).filter_map(|later| Some((first(later)?, &all[later])));
    twice
        .map(|(first, second)| {
            let (first, second) = (first.qualified().plain(), second.qualified().plain());
            Finding::error(
                "statistics_name",
                Code::ERRCODE_DUPLICATE_OBJECT,
                &second,
                format!(
                    "statistics {first} and {second} of {} have one name, and their copies come to one schema",
                    facts.table.qualified().plain()
                ),
                format!("ALTER STATISTICS {second} RENAME TO another name, then call again."),
            )
        })
        .collect()
}

fn columns(facts: &Facts) -> Vec<Finding> {
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
