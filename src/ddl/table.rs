//! Statements on tables.

use crate::catalog::Table;
use crate::ddl::object;
use crate::ident::{Ident, QualifiedName, literal};

/// Makes an empty copy of a table, with what LIKE copies, its access method and its storage
/// parameters.
pub(crate) fn create_like(table: &QualifiedName, like: &Table) -> String {
    let unlogged = if like.persistence == "u" { "UNLOGGED " } else { "" };
    let mut sql =
        format!("CREATE {unlogged}TABLE {table} (LIKE {} INCLUDING ALL)", like.qualified());
    if let Some(method) = &like.access_method {
        sql.push_str(&format!(" USING {method}"));
    }
    let mut parameters = parameters(&like.options, "");
    parameters.extend(self::parameters(&like.toast_options, "toast."));
    if !parameters.is_empty() {
        sql.push_str(&format!(" WITH ({})", parameters.join(", ")));
    }
    sql
}

/// Drops a table.
pub(crate) fn drop(table: &QualifiedName) -> String {
    format!("DROP TABLE {table} RESTRICT")
}

/// Empties it.
pub(crate) fn truncate(table: &QualifiedName) -> String {
    format!("TRUNCATE TABLE ONLY {table}")
}

/// Whether it has rows.
pub(crate) fn has_rows(table: &QualifiedName) -> String {
    format!("SELECT EXISTS (SELECT FROM ONLY {table})")
}

/// Reads its rows, without a column of them.
pub(crate) fn read(table: &QualifiedName) -> String {
    format!("SELECT FROM ONLY {table}")
}

/// Whether a column of OIDs, or of arrays of them, holds `$1`.
pub(crate) fn holds(table: &QualifiedName, column: &Ident, is_array: bool) -> String {
    let equals = "OPERATOR(pg_catalog.=)";
    let condition = match is_array {
        true => format!("$1::pg_catalog.oid {equals} ANY (t.{column}::pg_catalog.oid[])"),
        false => format!("t.{column} {equals} $1::pg_catalog.oid"),
    };
    format!("SELECT EXISTS (SELECT FROM {table} t WHERE {condition})")
}

/// Actions of the user's, admitted by the parser.
pub(crate) fn alter(table: &QualifiedName, actions: &[&str]) -> String {
    format!("ALTER TABLE {table} {}", actions.join(", "))
}

/// Takes a column's default off.
pub(crate) fn drop_default(table: &QualifiedName, column: &Ident) -> String {
    format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT")
}

/// Renames a column.
pub(crate) fn rename_column(table: &QualifiedName, from: &Ident, to: &Ident) -> String {
    format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}")
}

/// Renames a constraint.
pub(crate) fn rename_constraint(table: &QualifiedName, from: &Ident, to: &Ident) -> String {
    format!("ALTER TABLE {table} RENAME CONSTRAINT {from} TO {to}")
}

/// Moves it to another tablespace.
pub(crate) fn set_tablespace(table: &QualifiedName, tablespace: &Ident) -> String {
    format!("ALTER TABLE {table} SET TABLESPACE {tablespace}")
}

/// Switches its autovacuum on or off; None leaves it to the server.
pub(crate) fn set_autovacuum(table: &QualifiedName, enabled: Option<&str>) -> String {
    match enabled {
        Some(value) => {
            format!("ALTER TABLE {table} SET (autovacuum_enabled = {})", literal(value))
        }
        None => format!("ALTER TABLE {table} RESET (autovacuum_enabled)"),
    }
}

/// Gives a column stored parameters such as `n_distinct=5`.
pub(crate) fn set_column_parameters(
    table: &QualifiedName,
    column: &Ident,
    stored: &[String],
) -> String {
    let parameters = parameters(stored, "").join(", ");
    format!("ALTER TABLE {table} ALTER COLUMN {column} SET ({parameters})")
}

/// Gives its TOAST table stored parameters.
pub(crate) fn set_toast_parameters(table: &QualifiedName, stored: &[String]) -> String {
    format!("ALTER TABLE {table} SET ({})", parameters(stored, "toast.").join(", "))
}

/// Comments on a column, or takes its comment off.
pub(crate) fn comment_on_column(
    table: &QualifiedName,
    column: &Ident,
    comment: Option<&str>,
) -> String {
    object::comment("COLUMN", format!("{table}.{column}"), comment)
}

/// `name = 'value'` of stored parameters such as `fillfactor=70`, with a prefix such as `toast.`.
fn parameters(stored: &[String], prefix: &str) -> Vec<String> {
    stored
        .iter()
        .filter_map(|option| option.split_once('='))
        .map(|(name, value)| {
            let name = match name.split_once('.') {
                Some((space, name)) => format!("{}.{}", Ident::new(space), Ident::new(name)),
                None => Ident::new(name).to_string(),
            };
            format!("{prefix}{name} = {}", literal(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_parameters_become_settings() {
        assert_eq!(parameters(&["fillfactor=70".to_owned()], ""), vec!["\"fillfactor\" = '70'"]);
    }

    #[test]
    fn autovacuum_that_was_never_set_is_reset() {
        let table = QualifiedName::new("s", "t");

        assert_eq!(
            set_autovacuum(&table, Some("false")),
            "ALTER TABLE \"s\".\"t\" SET (autovacuum_enabled = 'false')"
        );
        assert_eq!(
            set_autovacuum(&table, None),
            "ALTER TABLE \"s\".\"t\" RESET (autovacuum_enabled)"
        );
    }
}
