//! Statements on constraints.

use crate::ddl::object;
use crate::ident::{Ident, QualifiedName};
use crate::model::plan::RecordedConstraint;

/// Adds a constraint as it was deparsed, NOT VALID included, and its comment.
pub(crate) fn add(table: &QualifiedName, c: &RecordedConstraint) -> Vec<String> {
    let add = format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {} {}", c.name, c.definition);
    let comment = c.comment.as_ref().map(|text| comment(table, &c.name, text));
    std::iter::once(add).chain(comment).collect()
}

/// Makes an index that is there the index of a constraint, and adds its comment.
pub(crate) fn attach(table: &QualifiedName, c: &RecordedConstraint, index: &Ident) -> Vec<String> {
    let kind = if c.kind == "p" { "PRIMARY KEY" } else { "UNIQUE" };
    let attach = format!(
        "ALTER TABLE ONLY {table} ADD CONSTRAINT {} {kind} USING INDEX {index}{}",
        c.name,
        deferrability(c)
    );
    let comment = c.comment.as_ref().map(|text| comment(table, &c.name, text));
    std::iter::once(attach).chain(comment).collect()
}

fn deferrability(constraint: &RecordedConstraint) -> &'static str {
    match (constraint.deferrable, constraint.deferred) {
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
        (true, false) => " DEFERRABLE",
        (false, _) => "",
    }
}

/// Comments on a constraint.
pub(crate) fn comment(table: &QualifiedName, name: &Ident, text: &str) -> String {
    object::comment("CONSTRAINT", format!("{name} ON {table}"), Some(text))
}

/// Takes a constraint off.
pub(crate) fn drop(table: &QualifiedName, name: &Ident) -> String {
    format!("ALTER TABLE ONLY {table} DROP CONSTRAINT {name} RESTRICT")
}

/// Takes a constraint off, if it is there.
pub(crate) fn drop_if_exists(table: &QualifiedName, name: &Ident) -> String {
    format!("ALTER TABLE ONLY {table} DROP CONSTRAINT IF EXISTS {name} RESTRICT")
}

/// Looks at the rows of a constraint that was added NOT VALID.
pub(crate) fn validate(table: &QualifiedName, name: &Ident) -> String {
    format!("ALTER TABLE ONLY {table} VALIDATE CONSTRAINT {name}")
}

/// Has a deferred constraint checked with each statement, until the transaction ends.
pub(crate) fn check_at_once(name: &QualifiedName) -> String {
    format!("SET CONSTRAINTS {name} IMMEDIATE")
}
