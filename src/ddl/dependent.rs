//! Statements about what other objects say of a table.

use crate::catalog::dependent::ForeignKey;
use crate::ident::{Ident, QualifiedName, list, literal};

/// A row filter as a policy, to be led through changes.
pub fn create_filter(name: &Ident, table: &QualifiedName, filter: &str) -> String {
    format!("CREATE POLICY {name} ON {table} USING ({filter})")
}

/// Takes a policy off.
pub fn drop_policy(name: &Ident, table: &QualifiedName) -> String {
    format!("DROP POLICY {name} ON {table}")
}

/// Takes a table out of a publication.
pub fn unpublish(publication: &Ident, table: &QualifiedName) -> String {
    format!("ALTER PUBLICATION {publication} DROP TABLE ONLY {table}")
}

/// Puts a table into a publication.
pub fn publish(
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
pub struct Ends<'a> {
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
pub fn add_foreign_key(key: &ForeignKey, ends: &Ends<'_>) -> Vec<String> {
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
    sql.push_str(" NOT VALID");
    let comment = key.comment.as_ref().map(|comment| {
        format!("COMMENT ON CONSTRAINT {} ON {child} IS {}", key.name, literal(comment))
    });
    std::iter::once(sql).chain(comment).collect()
}

/// Takes a constraint off.
pub fn drop_constraint(table: &QualifiedName, name: &Ident) -> String {
    format!("ALTER TABLE ONLY {table} DROP CONSTRAINT {name} RESTRICT")
}

/// Looks at the rows of a constraint that was added NOT VALID.
pub fn validate_constraint(table: &QualifiedName, name: &Ident) -> String {
    format!("ALTER TABLE ONLY {table} VALIDATE CONSTRAINT {name}")
}
