//! What somebody would run instead of a deployment, where PostgreSQL needs no copy: statements for people,
//! never run by us.

use crate::ddl::constraint;
use crate::ident::{Ident, QualifiedName};
use crate::model::plan::{RecordedConstraint, RecordedIndex};

/// Bounds the wait of each statement for its lock, so that nobody queues behind it for long.
pub(crate) fn bound_wait() -> String {
    "SET lock_timeout = '1s'".to_owned()
}

/// Adds a constraint without a look at the rows, and then looks at them under a lock that lets writers
/// pass. `text` is the action; `name` is put into it where it has none.
pub(crate) fn add_checked_later(
    table: &QualifiedName,
    text: &str,
    name: &Ident,
    is_named: bool,
) -> [String; 2] {
    let action = match text.split_at_checked("ADD".len()) {
        Some((add, rest)) if !is_named => format!("{add} CONSTRAINT {name} {}", rest.trim_start()),
        _ => text.to_owned(),
    };
    [format!("ALTER TABLE {table} {action} NOT VALID"), constraint::validate(table, name)]
}

/// Sets NOT NULL by a CHECK that proves it, so that no lock is held while the rows are looked at.
pub(crate) fn set_not_null(table: &QualifiedName, column: &Ident, check: &Ident) -> [String; 4] {
    [
        format!(
            "ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID"
        ),
        constraint::validate(table, check),
        format!("ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"),
        constraint::drop(table, check),
    ]
}

/// Builds the index of a constraint beside the writers and attaches it. `index` was read from the copy that
/// stands as `copy`.
pub(crate) fn add_by_index(
    table: &QualifiedName,
    copy: &QualifiedName,
    index: &RecordedIndex,
    owned: &RecordedConstraint,
) -> Option<Vec<String>> {
    let (_, rest) = index.definition.split_once(" USING ")?;
    if index.tablespace.is_some() {
        // The definition does not say it.
        return None;
    }
    // Neither name may be one in which these words stand.
    if [&copy.schema, &copy.name, &index.name].iter().any(|name| name.as_str().contains(" USING "))
    {
        return None;
    }
    let build = format!("CREATE UNIQUE INDEX CONCURRENTLY {} ON {table} USING {rest}", index.name);
    let bare = RecordedConstraint { comment: None, ..owned.clone() };
    // It waits for other transactions as for locks, and would leave an index that is not valid.
    let build = ["SET lock_timeout = 0".to_owned(), build, bound_wait()];
    Some(build.into_iter().chain(constraint::attach(table, &bare, &index.name)).collect())
}

/// Statistics of a column, which a change of its type removes.
pub(crate) fn analyze_column(table: &QualifiedName, column: &Ident) -> String {
    format!("ANALYZE {table} ({column})")
}
