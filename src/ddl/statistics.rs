//! Statements on statistics: extended ones, and the targets of columns.

use crate::ident::{Ident, QualifiedName};

/// Moves extended statistics to another schema.
pub(crate) fn set_schema(name: &QualifiedName, schema: &Ident) -> String {
    format!("ALTER STATISTICS {name} SET SCHEMA {schema}")
}

/// Gives extended statistics to another owner.
pub(crate) fn set_owner(name: &QualifiedName, owner: &Ident) -> String {
    format!("ALTER STATISTICS {name} OWNER TO {owner}")
}

/// Sets the target of extended statistics.
pub(crate) fn set_target(name: &QualifiedName, target: i32) -> String {
    format!("ALTER STATISTICS {name} SET STATISTICS {target}")
}

/// Sets the target of a table's column.
pub(crate) fn set_column_target(table: &QualifiedName, column: &Ident, target: i32) -> String {
    format!("ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS {target}")
}

/// Sets the target of an index's column, by its number.
pub(crate) fn set_index_target(index: &QualifiedName, column: i16, target: i32) -> String {
    format!("ALTER INDEX {index} ALTER COLUMN {column} SET STATISTICS {target}")
}

/// Drops extended statistics, if they are there.
pub(crate) fn drop(name: &QualifiedName) -> String {
    format!("DROP STATISTICS IF EXISTS {name} RESTRICT")
}
