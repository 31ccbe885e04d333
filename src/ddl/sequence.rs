//! Statements on sequences.

use crate::ident::{Ident, QualifiedName, literal};

/// Gives a sequence these options.
pub(crate) fn alter(name: &QualifiedName, options: &str) -> String {
    format!("ALTER SEQUENCE {name} {options}")
}

/// Lets a column take its values from a sequence.
pub(crate) fn feed(table: &QualifiedName, column: &Ident, sequence: &QualifiedName) -> String {
    let sequence = literal(&sequence.to_string());
    format!(
        "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT pg_catalog.nextval({sequence}::pg_catalog.regclass)"
    )
}
