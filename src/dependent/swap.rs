//! The dependents' part of a swap, of finish and of abort.

use std::collections::HashMap;

use crate::catalog::{self, dependent as reader, row_type, tree};
use crate::ddl::constraint;
use crate::ddl::dependent as ddl;
use crate::ddl::shadow;
use crate::dependent::array_type;
use crate::dependent::blue::set_schema;
use crate::dependent::kinds;
use crate::dependent::pg_depend;
use crate::dependent::replica::of_side;
use crate::dependent::search_paths::SearchPaths;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{DependentKind, DetachAttach, ReattachedObject};
use crate::model::member::{Member, Side};
use crate::model::tree::{Counterparts, require, written};
use crate::oid::{FunctionId, ObjectId, RelationId};
use crate::pg::lock;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;

/// What a move says while a side is live.
fn said(moved: &ReattachedObject, side: Side) -> Option<&DetachAttach> {
    match side {
        Side::Origin => Some(&moved.origin),
        Side::Shadow => moved.shadow.as_ref(),
    }
}

/// Relations that the swap locks besides the two tables: views and their copies, the tables at the
/// other end of foreign keys with their partitions, those whose policies and rules it gives new
/// expressions.
pub(crate) fn locks(member: &Member) -> Result<Vec<RelationId>> {
    let mut found = relations(member);
    for table in member.plan.dependents.moves.iter().filter_map(|m| m.table.as_ref()) {
        found.extend(catalog::relation_oid(table)?);
    }
    found.extend(partitions(member)?);
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The partitions of the tables at the other end of foreign keys: the server has triggers of the key on
/// each, and locks each when the key is dropped and when it is added.
pub(crate) fn partitions(member: &Member) -> Result<Vec<RelationId>> {
    let mut tables = Vec::new();
    for moved in &member.plan.dependents.moves {
        // A policy or a rule is of the partitioned table alone.
        if let (Some(table), None) = (&moved.table, &moved.part) {
            tables.extend(catalog::relation_oid(table)?);
        }
    }
    reader::partitions(&tables)
}

/// Locks the functions of both sides: nobody may replace one while it changes its place.
pub(crate) fn lock_functions(member: &Member) -> Result<()> {
    let twins = member.progress.twins.iter().filter(|t| t.kind == DependentKind::Function);
    let functions: Vec<FunctionId> =
        twins.flat_map(|t| [Some(t.origin), t.shadow]).flatten().map(FunctionId::from).collect();
    if functions.is_empty() {
        return Ok(());
    }
    let _us = Identity::extension()?;
    for function in &functions {
        lock::function(*function);
    }
    let oids: Vec<i64> = functions.into_iter().map(i64::from).collect();
    // CREATE OR REPLACE FUNCTION locks nothing but the row.
    let sql = "SELECT FROM pg_catalog.pg_proc WHERE oid = ANY ($1::oid[]) FOR NO KEY UPDATE";
    spi::run(sql, &[Arg::Ints(&oids)]).map(drop)
}

/// The names of what moves between the tables, of both sides.
pub(crate) fn moving_names(member: &Member) -> Vec<String> {
    let moves = member.plan.dependents.moves.iter();
    moves
        .flat_map(|m| std::iter::once(&m.names.0).chain(&m.names.1))
        .map(|name| name.as_str().to_owned())
        .collect()
}

/// Views of the side that is offline.
pub(crate) fn offline(member: &Member) -> Vec<RelationId> {
    let twins = member.progress.twins.iter().filter(|t| t.kind != DependentKind::Function);
    twins.filter_map(|t| of_side(t, member.blue_side())).map(RelationId::from).collect()
}

/// Views of both sides.
fn relations(member: &Member) -> Vec<RelationId> {
    let twins = member.progress.twins.iter().filter(|t| t.kind != DependentKind::Function);
    twins.flat_map(|t| [Some(t.origin), t.shadow]).flatten().map(RelationId::from).collect()
}

fn say(member: &Member, moved: &ReattachedObject, statements: &[String]) -> Result<()> {
    let paths = SearchPaths::new(&member.plan.dependents.schemas, &member.staging_schema());
    let _path = paths.live_path(moved.table.as_ref().map(|t| &t.schema), &moved.path)?;
    statements.iter().try_for_each(|s| spi::run(s, &[]).map(drop))
}

/// Takes what others say off the table that is live. Before the tables change places.
pub(crate) fn take_off(member: &Member) -> Result<()> {
    for moved in &member.plan.dependents.moves {
        if let Some(said) = said(moved, member.green_side()) {
            say(member, moved, &said.off)?;
        }
    }
    Ok(())
}

/// Puts it on the table that has gone live. `d` has still the phase of before.
pub(crate) fn put_on(member: &Member) -> Result<()> {
    let family = family(member, member.blue_side());
    let mut known = None;
    for moved in &member.plan.dependents.moves {
        if let Some(said) = said(moved, member.blue_side()) {
            say(member, moved, &said.on)?;
            if let Some((kind, table)) = &moved.part
                && let Some(relation) = catalog::relation_oid(table)?
                && let Some(part) =
                    reader::part(kinds::of(*kind).catalog, relation, &moved.names.0)?
            {
                let found = kinds::of(*kind).needs(part)?;
                pg_depend::require(&moved.title, &said.uses, &found, &family)?;
                if let Some(recorded) = &said.tree {
                    let known = match &mut known {
                        Some(known) => known,
                        none => none.insert(tree::counterparts(&family, [])?),
                    };
                    let found = tree::parts(kinds::of(*kind).catalog, part, known)?;
                    require(&moved.title, recorded, &written(&found))?;
                }
            }
        }
    }
    Ok(())
}

/// Asks once what [`same_array_names`] and [`put_on`] will ask, so that plans are there before anybody waits.
pub(crate) fn rehearse(member: &Member) -> Result<()> {
    row_type::other_array_names(&taking_places(member))?;
    let mut parts = member.plan.dependents.moves.iter().filter_map(|moved| moved.part.as_ref());
    let Some((kind, _)) = parts.next() else { return Ok(()) };
    tree::counterparts(&family(member, member.blue_side()), [])?;
    tree::parts(kinds::of(*kind).catalog, ObjectId::INVALID, &Counterparts::default()).map(drop)
}

/// The table, its views and its functions on a side, by their originals.
fn family(member: &Member, side: Side) -> HashMap<ObjectId, ObjectId> {
    let twins = member.progress.twins.iter().filter_map(|t| Some((t.origin, of_side(t, side)?)));
    twins.chain([(member.origin.root.into(), member.oid(side).into())]).collect()
}

/// Sees to it that the table that goes live and its views can take the places of the others: somebody may have made a
/// type since that has a name which the server has given before.
pub(crate) fn same_array_names(member: &Member) -> Result<()> {
    array_type::same_names(&taking_places(member))
}

/// The relations that go live, each with the one whose place it takes.
fn taking_places(member: &Member) -> Vec<(ObjectId, ObjectId)> {
    let (from, to) = (member.green_side(), member.blue_side());
    let twins = member.progress.twins.iter().filter(|twin| twin.kind != DependentKind::Function);
    let mut pairs: Vec<(ObjectId, ObjectId)> =
        twins.filter_map(|twin| Some((of_side(twin, to)?, of_side(twin, from)?))).collect();
    pairs.push((member.blue().into(), member.green().into()));
    pairs
}

/// Views and functions change places with their copies.
pub(crate) fn swap_twins(member: &Member) -> Result<()> {
    let staging = member.staging_schema();
    for twin in &member.progress.twins {
        let (from, to) = (of_side(twin, member.green_side()), of_side(twin, member.blue_side()));
        let (live, blue) = (&twin.schema, &twin.blue_schema);
        if let Some(from) = from {
            set_schema(twin.kind, from, live, &staging)?;
        }
        if let Some(to) = to {
            set_schema(twin.kind, to, blue, live)?;
        }
        if let Some(from) = from {
            set_schema(twin.kind, from, &staging, blue)?;
        }
    }
    Ok(())
}

/// Clauses of ALTER TABLE that give the triggers of a side their states: as they are
/// recorded, or off while the table is blue.
pub(crate) fn switch(member: &Member, side: Side, live: bool) -> Vec<String> {
    let parts = member.plan.dependents.copies.iter().filter(|c| {
        c.kind == DependentKind::Trigger
            && c.parent == member.origin.root
            && (side == Side::Origin || c.statements.is_some())
    });
    parts
        .map(|part| shadow::trigger_state(&part.name, if live { part.enabled } else { 'D' }))
        .collect()
}

/// Drops the offline copies of views and functions, the last made first. RESTRICT: what others made
/// over them is theirs. By name where the OIDs are those of another database.
pub(crate) fn drop_offline(member: &Member) -> Result<()> {
    let side = member.blue_side();
    for twin in member.progress.twins.iter().rev() {
        let Some(oid) = of_side(twin, side) else { continue };
        if twin.kind == DependentKind::Function {
            let there = reader::functions(&twin.blue_schema, &twin.name)?;
            let ours: Vec<_> = match there.contains(&oid.into()) {
                true => vec![oid.into()],
                false => there,
            };
            for function in ours {
                if let Some(name) = reader::function_name(function)? {
                    spi::run(&ddl::drop_routine(&name), &[])?;
                }
            }
            continue;
        }
        let name = QualifiedName { schema: twin.blue_schema.clone(), name: twin.name.clone() };
        let word = twin.kind.word().to_uppercase();
        spi::run(&ddl::drop_in_schema(&word, &name), &[])?;
    }
    Ok(())
}

/// The live table was dropped, and with it what hung on it: the old ones come back where their places
/// are free. What cannot be said of the old table any more is returned.
pub(crate) fn bring_back(member: &Member) -> Result<Vec<String>> {
    let mut lost = Vec::new();
    for twin in &member.progress.twins {
        let live = QualifiedName { schema: twin.schema.clone(), name: twin.name.clone() };
        let free = twin.kind == DependentKind::Function || catalog::relation_oid(&live)?.is_none();
        let back = xact::subtransaction(|| {
            set_schema(twin.kind, twin.origin, &twin.blue_schema, &twin.schema)
        });
        if !free || back.is_err() {
            lost.push(format!("{} {}", twin.kind.word(), live.plain()));
        }
    }
    for moved in &member.plan.dependents.moves {
        if xact::subtransaction(|| say(member, moved, &moved.origin.on)).is_err() {
            lost.push(moved.title.clone());
        }
    }
    Ok(lost)
}

/// Constraints of the live table that the swap left NOT VALID.
pub(crate) fn not_valid(member: &Member) -> Result<Vec<(QualifiedName, Ident)>> {
    let mut found = Vec::new();
    for moved in &member.plan.dependents.moves {
        let name = match member.green_side() {
            Side::Origin => Some(&moved.names.0),
            Side::Shadow => moved.names.1.as_ref(),
        };
        if let (Some(table), Some(name)) = (&moved.validate, name)
            && !is_valid(table, name)?
        {
            found.push((table.clone(), name.clone()));
        }
    }
    Ok(found)
}

/// Whether a constraint is validated; one that is gone has nothing to validate.
pub(super) fn is_valid(table: &QualifiedName, name: &Ident) -> Result<bool> {
    let sql = "SELECT k.convalidated FROM pg_catalog.pg_constraint k
                 JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = $1 AND c.relname = $2 AND k.conname = $3";
    let args = [
        Arg::Text(table.schema.as_str()),
        Arg::Text(table.name.as_str()),
        Arg::Text(name.as_str()),
    ];
    Ok(spi::one_kept::<bool>(sql, &args)?.unwrap_or(true))
}

/// Validates a constraint as the owner of its table. Locks: SHARE UPDATE EXCLUSIVE on it, ROW SHARE on
/// the table that it references; neither keeps readers or writers out.
pub(crate) fn validate(member: &Member, table: &QualifiedName, name: &Ident) -> Result<()> {
    let owner = {
        let _us = Identity::extension()?;
        match catalog::relation_oid(table)? {
            Some(oid) => catalog::existing_table(oid)?.owner,
            None => return Ok(()),
        }
    };
    let _owner = Identity::table_owner(owner, &member.plan.session)?;
    spi::run(&constraint::validate(table, name), &[])?;
    Ok(())
}
