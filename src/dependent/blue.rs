//! The copies on blue: made when it is filled and has its indexes, filled themselves, taken off again.

use std::collections::HashMap;

use crate::catalog::{self, dependent as reader, tree};
use crate::ddl::dependent as ddl;
use crate::dependent::kinds;
use crate::dependent::replica::Exact;
use crate::dependent::replica::Tables;
use crate::dependent::replica::make_all;
use crate::dependent::site::Site;
use crate::dependent::trees;
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{CopyKind, Twin};
use crate::model::deployment::Deployment;
use crate::model::tree::{Counterparts, FORM, Part};
use crate::pg::security::{self, SettingsLevel};
use crate::pg::spi::{self, Arg};
use crate::pg::{relation, xact};

/// Makes the copies over the filled blue table, which the caller has locked, and gives twins their
/// place in the blue schemas. `blue_of` makes and names the blue schema of a live one.
pub(crate) fn take_along(
    d: &Deployment,
    blue_of: impl Fn(&Ident) -> Result<Ident>,
) -> Result<Vec<Twin>> {
    let plan = &d.plan.dependents;
    let crossing = d.crossing_schema();
    let site = Site::new(&plan.schemas, &crossing);
    let schema = |name: &Ident| {
        catalog::schema_oid(name)?.ok_or_else(|| Error::state(format!("schema {name} is missing")))
    };
    let mut twins = Vec::new();
    if !plan.copies.is_empty() {
        let mut copies = plan.copies.clone();
        let (offline, through) = (schema(&d.blue_schema)?, schema(&crossing)?);
        site.open()?;
        relation::set_schema(d.blue(), offline, through);
        let by_hand = d.plan.target.is_some();
        let tables = Tables::new(d.green(), d.blue(), by_hand)?;
        let made = make_all(&mut copies, &site, &tables, false, Exact::AsRecorded)?;
        relation::set_schema(d.blue(), through, offline);
        for copy in copies.iter().filter(|c| c.kind.is_twin()) {
            let Some(live) = &copy.schema else { continue };
            let blue = blue_of(live)?;
            let shadow = made.get(&copy.origin).copied();
            if let Some(oid) = shadow {
                set_schema(copy.kind, oid, site.build_schema(live), &blue)?;
            }
            twins.push(Twin {
                kind: copy.kind,
                name: copy.name.clone(),
                schema: live.clone(),
                blue_schema: blue,
                origin: copy.origin,
                shadow,
                to_fill: shadow.is_some() && copy.populated,
            });
        }
        site.close()?;
    }
    let blue = Site::new(std::slice::from_ref(&d.blue_schema), &d.blue_schema);
    let _path = blue.live_path(None, &[])?;
    for mark in &plan.marks {
        spi::run(mark, &[])?;
    }
    Ok(twins)
}

/// Moves a view or a function to another schema.
pub(super) fn set_schema(kind: CopyKind, oid: u32, from: &Ident, to: &Ident) -> Result<()> {
    if kind == CopyKind::Function {
        if let Some(name) = reader::function_name(oid)? {
            spi::run(&ddl::move_routine(&name, to), &[])?;
        }
        return Ok(());
    }
    let (Some(from), Some(to)) = (catalog::schema_oid(from)?, catalog::schema_oid(to)?) else {
        return Err(Error::state(format!("schema {from} or {to} is missing")));
    };
    relation::set_schema(oid, from, to);
    Ok(())
}

/// Fills the next materialized view; the server runs its query as its owner. None when all are full.
pub(crate) fn refresh(twins: &mut [Twin]) -> Result<Option<String>> {
    let Some(twin) = twins.iter_mut().find(|t| t.to_fill) else { return Ok(None) };
    let name = QualifiedName { schema: twin.blue_schema.clone(), name: twin.name.clone() };
    // Its query sees what its owner may see, as in any refresh.
    let _level = SettingsLevel::open();
    security::set("row_security", "on")?;
    let filled = xact::subtransaction(|| {
        ddl::fill(&name).iter().try_for_each(|s| spi::run(s, &[]).map(drop))
    });
    if let Err(caught) = filled {
        let live = QualifiedName { schema: twin.schema.clone(), name: twin.name.clone() };
        let message = format!(
            "materialized view {} cannot be filled: {}",
            live.plain(),
            caught.error.message
        );
        return Err(Error { message, ..caught.error }
            .hint("Its query fails now, as REFRESH MATERIALIZED VIEW of the live one would. Correct the rows or the rights that it fails on, or drop it, and call again."));
    }
    twin.to_fill = false;
    Ok(Some(name.plain()))
}

/// Row security and labels of green, on blue.
pub(crate) fn mark_early(d: &Deployment) -> Result<()> {
    let green = Site::new(std::slice::from_ref(&d.source.schema), &d.crossing_schema());
    let marks = {
        let _path = green.live_path(None, &[])?;
        reader::marks(d.green())?
    };
    let blue = Site::new(std::slice::from_ref(&d.blue_schema), &d.crossing_schema());
    let _path = blue.live_path(None, &[])?;
    for (statement, _) in marks.iter().filter(|(_, late)| !late) {
        spi::run(statement, &[])?;
    }
    Ok(())
}

/// Makes an index of green's on blue too. False where its columns have other names there, or where it
/// would be another one.
pub(crate) fn copy_index(d: &Deployment, name: &Ident) -> Result<bool> {
    let site = Site::new(std::slice::from_ref(&d.source.schema), &d.blue_schema);
    let live = QualifiedName { schema: d.source.schema.clone(), name: name.clone() };
    let Some(index) = catalog::relation_oid(&live)? else { return Ok(false) };
    let original = tree::parts(tree::INDEX, index, &Counterparts::default())?;
    let last = tree::unnamed_schemas(&original)?;
    let statement = {
        let _path = site.live_path(None, &last)?;
        spi::one::<String>("SELECT pg_catalog.pg_get_indexdef($1, 0, true)", &[Arg::Oid(index)])?
    };
    let Some(statement) = statement else { return Ok(false) };
    let pairs: Vec<_> = d.plan.pairs.iter().map(|(o, s)| (s.clone(), o.clone())).collect();
    let columns = trees::columns_by_name(d.green(), d.blue(), &pairs)?;
    let retyped = trees::are_retyped(d.green(), d.blue(), &columns)?;
    let known = tree::counterparts(&HashMap::from([(d.green(), d.blue())]), [(d.blue(), columns)])?;
    let made = xact::subtransaction(|| {
        {
            let _path = site.build_path(&last)?;
            spi::run(&statement, &[])?;
        }
        let copy = QualifiedName { schema: d.blue_schema.clone(), name: name.clone() };
        let copy = catalog::relation_oid(&copy)?
            .ok_or_else(|| Error::internal("the index was not made where it belongs"))?;
        let title = format!("index {}", live.plain());
        // Its operator classes are those of its columns' types.
        let trees_of = |parts: &[Part]| -> Vec<Part> {
            parts.iter().filter(|part| part.tree.what != FORM).cloned().collect()
        };
        let copy = trees_of(&tree::parts(tree::INDEX, copy, &known)?);
        trees::prove(&title, &trees_of(&original), &copy, retyped)
    });
    Ok(made.is_ok())
}

/// Takes the table's own triggers and policies off the offline table: they may use its views and
/// functions, as these use the table.
pub(crate) fn strip(d: &Deployment) -> Result<()> {
    let Some(blue) = catalog::relation_oid(&d.blue_name())? else { return Ok(()) };
    for copy in d.plan.dependents.copies.iter().rev() {
        if copy.kind.is_twin() || copy.parent != d.origin {
            continue;
        }
        if reader::part(kinds::of(copy.kind).catalog, blue, &copy.name)?.is_some() {
            let word = copy.kind.word().to_uppercase();
            spi::run(&ddl::drop_part(&word, &copy.name, &d.blue_name()), &[])?;
        }
    }
    Ok(())
}
