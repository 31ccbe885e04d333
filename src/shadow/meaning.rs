//! Indexes and constraints that are taken off as texts, and made again from them when the rows are
//! there: each is made once on the empty table, and has to be what it was.
//!
//! The server itself copies what LIKE and ALTER TABLE make as trees; see [`crate::model::tree`] for
//! what is lost in a text.

use crate::catalog::{self, tree};
use crate::ddl;
use crate::error::Result;
use crate::ident::{QualifiedName, plain};
use crate::model::mapping::Mapping;
use crate::model::plan::{Meaning, RecordedConstraint, RecordedIndex};
use crate::model::tree::{another, require};
use crate::oid::RelationId;
use crate::pg::parse;
use crate::pg::security;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;

/// Takes an index off: its text with what it means is what is left of it.
pub(crate) fn take_off_index(table: &QualifiedName, index: &mut RecordedIndex) -> Result<()> {
    let name = QualifiedName { schema: table.schema.clone(), name: index.name.clone() };
    let Some(oid) = catalog::relation_oid(&name)? else { return Ok(()) };
    index.meaning = tree::meaning(tree::INDEX, oid.into())?;
    if !index.meaning.path.is_empty() {
        // Printed as it will be read.
        let _path = security::search(&index.meaning.path)?;
        let definition = "SELECT pg_catalog.pg_get_indexdef($1)";
        if let Some(text) = spi::one(definition, &[Arg::oid(oid)])? {
            index.definition = text;
        }
        let definition =
            "SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k
                           WHERE k.conindid = $1 AND k.contype = 'x'";
        if let Some(constraint) = &mut index.constraint
            && let Some(text) = spi::one(definition, &[Arg::oid(oid)])?
        {
            constraint.definition = text;
        }
    }
    spi::run(&ddl::shadow::drop_index(table, index), &[])?;
    if index.constraint.as_ref().is_some_and(|c| c.kind != "x") {
        // Columns only.
        return Ok(());
    }
    let title = format!("index {}", plain(index.name.as_str()));
    try_once(&title, &index.meaning, || {
        let statements = ddl::shadow::build_index(table, index);
        for statement in statements.build.iter().chain(&statements.exclusive) {
            spi::run(statement, &[])?;
        }
        tree::require_index(&name, &index.meaning)
    })?;
    spi::run(&ddl::shadow::drop_index(table, index), &[]).map(drop)
}

/// Takes a CHECK constraint off in the same way.
pub(crate) fn take_off_check(
    table: &QualifiedName,
    check: catalog::Check,
) -> Result<RecordedConstraint> {
    let recorded = read_check(check)?;
    let drop_it = ddl::constraint::drop(table, &recorded.name);
    spi::run(&drop_it, &[])?;
    let title = format!("constraint {}", plain(recorded.name.as_str()));
    try_once(&title, &recorded.meaning, || {
        add_check(table, &recorded)?;
        tree::require_check(table, &recorded)
    })?;
    spi::run(&drop_it, &[])?;
    Ok(recorded)
}

/// A CHECK constraint as text, with what it means.
pub(crate) fn read_check(check: catalog::Check) -> Result<RecordedConstraint> {
    let catalog::Check { oid, mut recorded, .. } = check;
    recorded.meaning = tree::meaning(tree::CONSTRAINT, oid.into())?;
    if !recorded.meaning.path.is_empty() {
        let _path = security::search(&recorded.meaning.path)?;
        let definition = "SELECT pg_catalog.pg_get_constraintdef($1)";
        if let Some(text) = spi::one(definition, &[Arg::oid(oid)])? {
            recorded.definition = text;
        }
    }
    Ok(recorded)
}

/// Adds a CHECK constraint from its text.
pub(crate) fn add_check(table: &QualifiedName, check: &RecordedConstraint) -> Result<()> {
    let _path = security::search(&check.meaning.path)?;
    let statements = ddl::constraint::add(table, check);
    statements.iter().try_for_each(|s| spi::run(s, &[]).map(drop))
}

/// Refuses expressions that would not be read as they were, because something of the same name has come
/// to a schema that is searched. The caller is the table's owner with the deployment's settings.
pub(crate) fn require_mapping(mapping: &Mapping, relation: RelationId) -> Result<()> {
    for column in &mapping.columns {
        if let Some(tree) = &column.tree {
            let what = format!("mapping for column {}", column.column);
            require(&what, tree, &parse::tree_of(&column.expression, relation.into(), &what)?)?;
        }
    }
    Ok(())
}

/// Makes something from its text; that it cannot be read is told as that it is another thing.
fn try_once(title: &str, meaning: &Meaning, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let made = xact::subtransaction(|| {
        let _path = security::search(&meaning.path)?;
        make()
    });
    made.or_else(|caught| match caught.class().as_str() {
        "42" => Err(another(title).detail(caught.error.message)),
        _ => caught.raise(),
    })
}
