//! Statements about what other objects say of a table.

use crate::catalog::dependent::ForeignKey;
use crate::ddl::constraint;
use crate::ident::{Ident, QualifiedName, list};

/// A row filter as a policy, to be led through changes.
pub(crate) fn create_filter(name: &Ident, table: &QualifiedName, filter: &str) -> String {
    format!("CREATE POLICY {name} ON {table} USING ({filter})")
}

/// Takes a part (TRIGGER, RULE, POLICY) off its relation.
pub(crate) fn drop_part(word: &str, name: &Ident, on: &QualifiedName) -> String {
    format!("DROP {word} {name} ON {on} RESTRICT")
}

/// Drops something that lives in a schema, if it is there.
pub(crate) fn drop_in_schema(word: &str, name: &QualifiedName) -> String {
    format!("DROP {word} IF EXISTS {name} RESTRICT")
}

/// Drops a function or a procedure; `signature` as the server prints it.
pub(crate) fn drop_routine(signature: &str) -> String {
    format!("DROP ROUTINE {signature} RESTRICT")
}

/// Moves a function or a procedure; `signature` as the server prints it.
pub(crate) fn move_routine(signature: &str, to: &Ident) -> String {
    format!("ALTER ROUTINE {signature} SET SCHEMA {to}")
}

/// Renames a function or a procedure; `signature` as the server prints it.
pub(crate) fn rename_routine(signature: &str, to: &Ident) -> String {
    format!("ALTER ROUTINE {signature} RENAME TO {to}")
}

/// Fills a materialized view, and tells the planner what is in it.
pub(crate) fn fill(view: &QualifiedName) -> [String; 2] {
    [format!("REFRESH MATERIALIZED VIEW {view}"), format!("ANALYZE {view}")]
}

/// An empty table with the columns of another one, for a trial.
pub(crate) fn create_trial(trial: &QualifiedName, like: &QualifiedName) -> String {
    format!("CREATE TABLE {trial} (LIKE {like})")
}

/// A key for a foreign key to reference, on a trial table.
pub(crate) fn add_unique(table: &QualifiedName, columns: &[Ident]) -> String {
    format!("ALTER TABLE {table} ADD UNIQUE ({})", list(columns))
}

/// Takes a table out of a publication.
pub(crate) fn unpublish(publication: &Ident, table: &QualifiedName) -> String {
    format!("ALTER PUBLICATION {publication} DROP TABLE ONLY {table}")
}

/// Puts a table into a publication.
pub(crate) fn publish(
    publication: &Ident,
    table: &QualifiedName,
    columns: Option<&[Ident]>,
    filter: Option<&str>,
) -> String {
    let columns = columns.map_or(String::new(), |c| format!(" ({})", list(c)));
    let filter = filter.map_or(String::new(), |f| format!(" WHERE ({f})"));
    format!("ALTER PUBLICATION {publication} ADD TABLE ONLY {table}{columns}{filter}")
}

/// The tables and columns of a foreign key.
pub(crate) struct Ends<'a> {
    /// The table that has it.
    pub child: &'a QualifiedName,
    /// Its columns.
    pub columns: &'a [Ident],
    /// Its columns of ON DELETE SET.
    pub set_columns: &'a [Ident],
    /// The table that it references.
    pub parent: &'a QualifiedName,
    /// The columns there.
    pub referenced: &'a [Ident],
}

/// Adds a foreign key without looking at the rows, and its comment.
pub(crate) fn add_foreign_key(key: &ForeignKey, ends: &Ends<'_>) -> Vec<String> {
    let Ends { child, columns, set_columns, parent, referenced } = ends;
    let mut sql = format!(
        "ALTER TABLE ONLY {child} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {parent} ({})",
        key.name,
        list(*columns),
        list(*referenced)
    );
    if key.match_type == 'f' {
        sql.push_str(" MATCH FULL");
    }
    for (event, action) in [("UPDATE", key.on_update), ("DELETE", key.on_delete)] {
        let action = match action {
            'r' => "RESTRICT",
            'c' => "CASCADE",
            'n' => "SET NULL",
            'd' => "SET DEFAULT",
            _ => continue,
        };
        sql.push_str(&format!(" ON {event} {action}"));
        if event == "DELETE" && !set_columns.is_empty() {
            sql.push_str(&format!(" ({})", list(*set_columns)));
        }
    }
    if key.deferrable {
        sql.push_str(" DEFERRABLE");
    }
    if key.deferred {
        sql.push_str(" INITIALLY DEFERRED");
    }
    // What is not enforced is not validated either.
    sql.push_str(if key.enforced { " NOT VALID" } else { " NOT ENFORCED" });
    let comment = key.comment.as_ref().map(|text| constraint::comment(child, &key.name, text));
    std::iter::once(sql).chain(comment).collect()
}
