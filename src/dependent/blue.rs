//! The copies on blue: made when it is filled and has its indexes, filled themselves, taken off again.

use std::collections::HashMap;

use crate::catalog::{self, dependent as reader, tree};
use crate::ddl::dependent as ddl;
use crate::dependent::array_type;
use crate::dependent::kinds;
use crate::dependent::replica::Exact;
use crate::dependent::replica::Making;
use crate::dependent::replica::Tables;
use crate::dependent::replica::make_all;
use crate::dependent::replica::of_side;
use crate::dependent::search_paths::SearchPaths;
use crate::dependent::trees;
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{DependentKind, ReplicaPair};
use crate::model::member::Member;
use crate::model::tree::{Counterparts, FORM, Part};
use crate::oid::ObjectId;
use crate::pg::reasons::Reasons;
use crate::pg::security::{self, SettingsLevel};
use crate::pg::spi::{self, Arg};
use crate::pg::{relation, xact};

/// Makes the copies over the filled blue table, which the caller has locked, and gives twins their
/// place in the blue schemas. `blue_of` makes and names the blue schema of a live one.
pub(crate) fn take_along(
    member: &Member,
    blue_of: impl Fn(&Ident) -> Result<Ident>,
) -> Result<Vec<ReplicaPair>> {
    let plan = &member.plan.dependents;
    let staging = member.staging_schema();
    let paths = SearchPaths::new(&plan.schemas, &staging);
    let mut twins = Vec::new();
    if !plan.copies.is_empty() {
        let mut copies = plan.copies.clone();
        let (offline, through) =
            (catalog::existing_schema(&member.blue_schema)?, catalog::existing_schema(&staging)?);
        paths.open()?;
        relation::set_schema(member.blue(), offline, through);
        let by_hand = member.plan.target.is_some();
        let tables = Tables::new(member.green(), member.blue(), by_hand)?;
        let made = make_all(
            &mut copies,
            &Making {
                paths: &paths,
                tables: &tables,
                exact: Exact::AsRecorded,
                cascade: false,
                reasons: &Reasons::first(),
            },
        )?;
        relation::set_schema(member.blue(), through, offline);
        for copy in copies.iter().filter(|c| c.kind.lives_in_schema()) {
            let Some(live) = &copy.schema else { continue };
            let blue = blue_of(live)?;
            let shadow = made.get(&copy.origin).copied();
            if let Some(oid) = shadow {
                if copy.kind != DependentKind::Function {
                    array_type::same_names(&[(oid, copy.origin)])?;
                }
                set_schema(copy.kind, oid, paths.build_schema(live), &blue)?;
            }
            twins.push(ReplicaPair {
                kind: copy.kind,
                name: copy.name.clone(),
                schema: live.clone(),
                blue_schema: blue,
                origin: copy.origin,
                shadow,
                to_fill: shadow.is_some() && copy.populated,
                contents: None,
            });
        }
        paths.close()?;
    }
    let blue = SearchPaths::new(std::slice::from_ref(&member.blue_schema), &member.blue_schema);
    let _path = blue.live_path(None, &[])?;
    for mark in &plan.marks {
        spi::run(mark, &[])?;
    }
    Ok(twins)
}

/// Moves a view or a function to another schema.
pub(super) fn set_schema(
    kind: DependentKind,
    oid: ObjectId,
    from: &Ident,
    to: &Ident,
) -> Result<()> {
    if kind == DependentKind::Function {
        if let Some(name) = reader::function_name(oid.into())? {
            spi::run(&ddl::move_routine(&name, to), &[])?;
        }
        return Ok(());
    }
    let (from, to) = (catalog::existing_schema(from)?, catalog::existing_schema(to)?);
    relation::set_schema(oid.into(), from, to);
    Ok(())
}

/// Fills the next materialized view; the server runs its query as its owner. None when all are full.
pub(crate) fn refresh(member: &mut Member) -> Result<Option<String>> {
    let live = member.green_side();
    let twins = &mut member.progress.twins;
    let Some(twin) = twins.iter_mut().find(|t| t.to_fill) else { return Ok(None) };
    // Before it is filled: whatever comes later is for the next time.
    let contents = match of_side(twin, live) {
        Some(oid) => reader::contents(oid.into())?,
        None => None,
    };
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
            .hint("Give each function that its query calls a search_path of its own (ALTER FUNCTION … SET search_path): it is filled with pg_catalog alone, as PostgreSQL 17 refreshes all. Or correct the rows or the rights that the query fails on, or drop the materialized view; then call again."));
    }
    twin.to_fill = false;
    twin.contents = contents;
    Ok(Some(name.plain()))
}

/// The materialized views whose live one has changed since the copy was filled, as places among the twins.
pub(crate) fn outdated(member: &Member) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for (place, twin) in member.progress.twins.iter().enumerate() {
        let (live, copy) = (of_side(twin, member.green_side()), of_side(twin, member.blue_side()));
        let (Some(live), Some(_), Some(known)) = (live, copy, &twin.contents) else { continue };
        if !twin.to_fill && reader::contents(live.into())?.is_some_and(|now| now != *known) {
            found.push(place);
        }
    }
    Ok(found)
}

/// After a swap: the copies are as old as what is live now.
pub(crate) fn note_contents(member: &mut Member) -> Result<()> {
    let live = member.green_side();
    for twin in &mut member.progress.twins {
        if twin.kind == DependentKind::MaterializedView
            && let Some(oid) = of_side(twin, live)
        {
            twin.contents = reader::contents(oid.into())?;
        }
    }
    Ok(())
}

/// Row security and labels of green, on blue.
pub(crate) fn mark_early(member: &Member) -> Result<()> {
    let green =
        SearchPaths::new(std::slice::from_ref(&member.source.schema), &member.staging_schema());
    let marks = {
        let _path = green.live_path(None, &[])?;
        reader::marks(member.green())?
    };
    let blue =
        SearchPaths::new(std::slice::from_ref(&member.blue_schema), &member.staging_schema());
    let _path = blue.live_path(None, &[])?;
    for (statement, _) in marks.iter().filter(|(_, late)| !late) {
        spi::run(statement, &[])?;
    }
    Ok(())
}

/// Makes an index of green's on blue too. False where its columns have other names there, or where it
/// would be another one.
pub(crate) fn copy_index(member: &Member, name: &Ident) -> Result<bool> {
    let paths = SearchPaths::new(std::slice::from_ref(&member.source.schema), &member.blue_schema);
    let live = QualifiedName { schema: member.source.schema.clone(), name: name.clone() };
    let Some(index) = catalog::relation_oid(&live)? else { return Ok(false) };
    let original = tree::parts(tree::INDEX, index.into(), &Counterparts::default())?;
    let last = tree::unnamed_schemas(&original)?;
    let statement = {
        let _path = paths.live_path(None, &last)?;
        spi::one::<String>("SELECT pg_catalog.pg_get_indexdef($1, 0, true)", &[Arg::oid(index)])?
    };
    let Some(statement) = statement else { return Ok(false) };
    let pairs: Vec<_> = member.plan.pairs.iter().map(|(o, s)| (s.clone(), o.clone())).collect();
    let columns = trees::columns_by_name(member.green(), member.blue(), &pairs)?;
    let retyped = trees::are_retyped(member.green(), member.blue(), &columns)?;
    let known = tree::counterparts(
        &HashMap::from([(member.green().into(), member.blue().into())]),
        [(member.blue(), columns)],
    )?;
    let made = xact::subtransaction(|| {
        {
            let _path = paths.build_path(&last)?;
            spi::run(&statement, &[])?;
        }
        let copy = QualifiedName { schema: member.blue_schema.clone(), name: name.clone() };
        let copy = catalog::relation_oid(&copy)?
            .ok_or_else(|| Error::internal("the index was not made where it belongs"))?;
        let title = format!("index {}", live.plain());
        // Its operator classes are those of its columns' types.
        let trees_of = |parts: &[Part]| -> Vec<Part> {
            parts.iter().filter(|part| part.tree.what != FORM).cloned().collect()
        };
        let copy = trees_of(&tree::parts(tree::INDEX, copy.into(), &known)?);
        trees::prove(&title, &trees_of(&original), &copy, retyped)
    });
    Ok(made.is_ok())
}

/// Takes the table's own triggers and policies off the offline table: they may use its views and
/// functions, as these use the table.
pub(crate) fn drop_attached_objects(member: &Member) -> Result<()> {
    let Some(blue) = catalog::relation_oid(&member.blue_name())? else { return Ok(()) };
    for copy in member.plan.dependents.copies.iter().rev() {
        if copy.kind.lives_in_schema() || copy.parent != member.origin.root {
            continue;
        }
        if reader::part(kinds::of(copy.kind).catalog, blue, &copy.name)?.is_some() {
            let word = copy.kind.word().to_uppercase();
            spi::run(&ddl::drop_part(&word, &copy.name, &member.blue_name()), &[])?;
        }
    }
    Ok(())
}
