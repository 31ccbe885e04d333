//! The trees that the server keeps of definitions, and whether two of them are the same.

use std::collections::HashMap;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::plan::{Meaning, RecordedConstraint};
use crate::model::tree::{self, Class, Columns, Counterparts, Item, Part, written};
use crate::oid::{ObjectId, OperatorId, RelationId, TypeId};
use crate::pg::spi::{self, Arg};

/// Catalogs by whose names [`parts`] knows objects.
pub(crate) const INDEX: &str = "pg_catalog.pg_index";
/// Of constraints.
pub(crate) const CONSTRAINT: &str = "pg_catalog.pg_constraint";

/// The trees of an object of a catalog, part by part. OIDs of copies become those of their originals.
pub(crate) fn parts(
    catalog: &str,
    oid: ObjectId,
    counterparts: &Counterparts,
) -> Result<Vec<Part>> {
    #[derive(Deserialize)]
    struct Row {
        part: String,
        tree: Option<String>,
        form: Option<String>,
        relation: RelationId,
    }
    let args = [Arg::Text(catalog), Arg::oid(oid)];
    let rows: Vec<Row> = spi::rows(include_str!("queries/tree/parts.sql"), &args)?;
    let read = rows.into_iter().map(|row| {
        let tree = match (&row.tree, row.form) {
            (Some(tree), _) => Item::read(tree, row.relation, counterparts)?,
            (None, form) => Item::form(&form.unwrap_or_default()),
        };
        Ok(Part { part: row.part, tree })
    });
    read.collect()
}

/// What the text of an object means: where it is read, and its trees.
pub(crate) fn meaning(catalog: &str, oid: ObjectId) -> Result<Meaning> {
    let parts = parts(catalog, oid, &Counterparts::default())?;
    Ok(Meaning { path: unnamed_schemas(&parts)?, tree: Some(written(&parts)) })
}

/// Refuses an object that is not the tree that was recorded of it.
pub(crate) fn require(title: &str, catalog: &str, oid: ObjectId, recorded: &Meaning) -> Result<()> {
    let Some(tree) = &recorded.tree else { return Ok(()) };
    let found = parts(catalog, oid, &Counterparts::default())?;
    tree::require(title, tree, &written(&found))
}

/// The same of an index, by its name.
pub(crate) fn require_index(name: &QualifiedName, recorded: &Meaning) -> Result<()> {
    let Some(oid) = super::relation_oid(name)? else { return Ok(()) };
    require(&format!("index {}", plain(name.name.as_str())), INDEX, oid.into(), recorded)
}

/// The same of a CHECK constraint, by its name.
pub(crate) fn require_check(table: &QualifiedName, constraint: &RecordedConstraint) -> Result<()> {
    let sql = "SELECT k.oid::int8 FROM pg_catalog.pg_constraint k
                 JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3";
    let args = [
        Arg::Text(table.schema.as_str()),
        Arg::Text(table.name.as_str()),
        Arg::Text(constraint.name.as_str()),
    ];
    let Some(oid) = spi::one_kept::<i64>(sql, &args)? else { return Ok(()) };
    let title = format!("constraint {}", plain(constraint.name.as_str()));
    require(&title, CONSTRAINT, ObjectId::new(oid as u32), &constraint.meaning)
}

/// The schemas that must be searched for operators of the trees that are not named in their text.
pub(crate) fn unnamed_schemas(parts: &[Part]) -> Result<Vec<Ident>> {
    schemas_of(&parts.iter().flat_map(|part| part.tree.unnamed()).collect::<Vec<_>>())
}

/// The schemas that must be searched for operators to be found, without pg_catalog.
pub(crate) fn schemas_of(operators: &[OperatorId]) -> Result<Vec<Ident>> {
    #[derive(Deserialize)]
    struct Named {
        name: Ident,
    }
    if operators.is_empty() {
        return Ok(Vec::new());
    }
    let operators: Vec<i64> = operators.iter().copied().map(i64::from).collect();
    let args = [Arg::Ints(&operators)];
    let rows: Vec<Named> = spi::rows(include_str!("queries/tree/unnamed.sql"), &args)?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// The counterparts for copies by their originals: relations and functions. `columns` says which
/// columns correspond, where it is not by their numbers.
pub(crate) fn counterparts(
    copies: &HashMap<ObjectId, ObjectId>,
    columns: impl IntoIterator<Item = (RelationId, Columns)>,
) -> Result<Counterparts> {
    let mut found = Counterparts { columns: columns.into_iter().collect(), ..Default::default() };
    let types = row_types(copies.iter().flat_map(|(original, copy)| [*original, *copy]))?;
    for (original, copy) in copies.iter().map(|(original, copy)| (*original, *copy)) {
        let (Some((row, array)), Some((copy_row, copy_array))) =
            (types.get(&RelationId::from(original)), types.get(&RelationId::from(copy)))
        else {
            found.functions.insert(copy.into(), original.into());
            continue;
        };
        found.relations.insert(copy.into(), original.into());
        found.types.extend([(*copy_row, *row), (*copy_array, *array)]);
        found.rows.insert(*copy_row, copy.into());
    }
    found.types.remove(&TypeId::INVALID);
    Ok(found)
}

/// Takes one more copy in, a relation or a function.
pub(crate) fn add(known: &mut Counterparts, original: ObjectId, copy: ObjectId) -> Result<()> {
    let one = counterparts(&HashMap::from([(original, copy)]), [])?;
    known.relations.extend(one.relations);
    known.functions.extend(one.functions);
    known.types.extend(one.types);
    known.rows.extend(one.rows);
    Ok(())
}

fn row_types(
    objects: impl Iterator<Item = ObjectId>,
) -> Result<HashMap<RelationId, (TypeId, TypeId)>> {
    #[derive(Deserialize)]
    struct Row {
        relation: RelationId,
        #[serde(rename = "type")]
        row: TypeId,
        array: TypeId,
    }
    let objects: Vec<i64> = objects.map(i64::from).collect();
    let args = [Arg::Ints(&objects)];
    let rows: Vec<Row> = spi::rows(include_str!("queries/tree/row_types.sql"), &args)?;
    Ok(rows.into_iter().map(|r| (r.relation, (r.row, r.array))).collect())
}

/// The columns of a copy that was made with all columns of its original, in their order.
pub(crate) fn columns_in_order(original: RelationId) -> Result<Columns> {
    #[derive(Deserialize)]
    struct Row {
        attnum: i16,
    }
    let args = [Arg::oid(original)];
    let rows: Vec<Row> = spi::rows(include_str!("queries/tree/live_columns.sql"), &args)?;
    Ok((1..).zip(rows.into_iter().map(|row| row.attnum)).collect())
}

/// Whether what stands in the place of `from` is the same thing for another type.
pub(crate) fn is_same_for_other_type(class: Class, from: ObjectId, to: ObjectId) -> Result<bool> {
    let sql = match class {
        Class::Operator => include_str!("queries/tree/same_operator.sql"),
        Class::Function => include_str!("queries/tree/same_function.sql"),
        // Follows from the operator.
        Class::Family => return Ok(true),
    };
    Ok(spi::one_kept(sql, &[Arg::oid(from), Arg::oid(to)])?.unwrap_or(false))
}

/// Something that a tree calls, as SQL names it.
pub(crate) fn called(class: Class, oid: ObjectId) -> Result<String> {
    let catalog = match class {
        Class::Operator => "pg_operator",
        Class::Function => "pg_proc",
        Class::Family => "pg_opfamily",
    };
    let sql = "SELECT o.type || ' ' || o.identity
                 FROM pg_catalog.pg_identify_object(('pg_catalog.' || $1)::regclass, $2, 0) o";
    let name: Option<String> = spi::one_kept(sql, &[Arg::Text(catalog), Arg::oid(oid)])?;
    name.ok_or_else(|| {
        Error::state(format!("there is no object of {catalog} with OID {oid} any more"))
            .hint("Call again: it was dropped meanwhile.")
    })
}
