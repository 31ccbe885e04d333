//! Tables whose rows are not in their own file, or that others know by their OID. An extension may keep
//! the rows of a table elsewhere and show them by what its hooks make of each query: the copy would be one
//! of an empty file. Two nets, neither of which knows an extension by name: what the server would read
//! for the table, and what the tables of extensions hold.

use pgrx::PgSqlErrorCode as Code;

use crate::check::facts::{Facts, Seen};
use crate::model::finding::Finding;

/// One refusal for each.
pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    refusals(&facts.table.qualified().plain(), &facts.seen)
}

/// The refusals for a table.
pub(crate) fn refusals(table: &str, seen: &Seen) -> Vec<Finding> {
    let unsupported = Code::ERRCODE_FEATURE_NOT_SUPPORTED;
    let read = seen.read.iter().map(|(what, extension)| {
        let whose = extension.as_ref().map_or(String::new(), |e| format!(" of extension {e}"));
        Finding::error(
            "rows_elsewhere",
            unsupported,
            extension.as_deref().unwrap_or(table),
            format!("a query of {table} is planned as {what}{whose}, so its rows are not in its own file"),
            "Make it a table whose rows are in its own file first, with the means of the extension that keeps them: only such a table can be deployed.",
        )
    });
    let held = seen.held.iter().map(|(extension, place)| {
        Finding::error(
            "known_by_oid",
            unsupported,
            extension,
            format!("extension {extension} knows {table} by its OID, in {place}, and would go on with the old table after a swap"),
            format!("Take {table} out of what {extension} manages for the deployment, and put it back after bg_finish."),
        )
    });
    read.chain(held).collect()
}
