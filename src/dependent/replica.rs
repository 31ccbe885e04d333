//! Objects that are made a second time over the shadow: made in their order, compared with their
//! originals, found, dropped again.

use std::collections::{HashMap, HashSet};

use crate::catalog::{self, dependent as reader, event_trigger::changed, tree};
use crate::dependent::failure::broken;
use crate::dependent::failure::cause;
use crate::dependent::kind::Place;
use crate::dependent::kinds;
use crate::dependent::pg_depend;
use crate::dependent::search_paths::SearchPaths;
use crate::dependent::trees;
use crate::error::{Error, Result};
use crate::model::dependent::{DependentKind, Replica, ReplicaPair};
use crate::model::member::Side;
use crate::model::tree::{Columns, Counterparts, written};
use crate::oid::{ObjectId, RelationId, RoleId};
use crate::pg::reasons::Reasons;
use crate::pg::{spi, xact};
use crate::plan::properties;

/// Copies by their originals.
pub(super) type Made = HashMap<ObjectId, ObjectId>;

/// A rule of the table. It is not made on blue: a table with a rule for UPDATE, disabled or not, takes
/// no INSERT … ON CONFLICT, which sync needs. So it moves in the swap.
pub(super) fn is_rule_of(copy: &Replica, table: RelationId) -> bool {
    copy.kind == DependentKind::Rule && copy.parent == table
}

/// What a copy may depend on.
#[derive(Clone, Copy)]
pub(super) enum Exact {
    /// What its original does; with changes (false) also what can be trusted.
    Compare(bool),
    /// What it depended on when prepare tried it.
    AsRecorded,
}

/// The two tables.
pub(super) struct Tables {
    /// The origin.
    pub(super) table: RelationId,
    /// The shadow.
    pub(super) shadow: RelationId,
    /// The shadow's columns, with those of the origin.
    pub(super) columns: Columns,
    /// One of them has another type.
    pub(super) retyped: bool,
}

impl Tables {
    /// `by_hand`: the shadow is a table made by hand.
    pub(super) fn new(table: RelationId, shadow: RelationId, by_hand: bool) -> Result<Self> {
        let columns = trees::columns(table, shadow, by_hand)?;
        let retyped = trees::are_retyped(table, shadow, &columns)?;
        Ok(Self { table, shadow, columns, retyped })
    }
}

/// How copies are made, and what becomes of those that cannot be.
pub(super) struct Making<'a> {
    /// Where they are made.
    pub(super) paths: &'a SearchPaths,
    /// Over which tables.
    pub(super) tables: &'a Tables,
    /// What a copy may depend on.
    pub(super) exact: Exact,
    /// What cannot be made is left out: a change says CASCADE.
    pub(super) cascade: bool,
    /// Otherwise that is a reason.
    pub(super) reasons: &'a Reasons<'a>,
}

/// Makes all copies in order. The shadow stands in the staging schema. What is refused is left out, with
/// what uses it.
pub(super) fn make_all(copies: &mut [Replica], making: &Making<'_>) -> Result<Made> {
    let tables = making.tables;
    // A name of the shadow's own sequences would be found before the live sequence.
    let spare: Vec<ObjectId> =
        catalog::sequences(tables.shadow)?.iter().map(|s| s.oid.into()).collect();
    let mut dropped: HashSet<ObjectId> = HashSet::new();
    let mut made = Made::from([(tables.table.into(), tables.shadow.into())]);
    let mut known = tree::counterparts(&made, [(tables.shadow, tables.columns.clone())])?;
    for copy in copies.iter_mut() {
        let kind = kinds::of(copy.kind);
        let before = kind.needs(copy.origin)?;
        if dropped.contains(&ObjectId::from(copy.parent))
            || before.iter().any(|u| dropped.contains(&u.oid))
        {
            copy.statements = None;
        }
        let one = making.reasons.part(|| {
            let Some(oid) = make(copy, &made, making)? else { return Ok(None) };
            let after = kind.needs(oid)?;
            if let Some(used) = after.iter().find(|u| spare.contains(&u.oid)) {
                return Err(pg_depend::unexpected_dependency(&copy.title, used)?);
            }
            made.insert(copy.origin, oid);
            compare_uses(copy, &before, &after, &made, making.exact)?;
            tree::add(&mut known, copy.origin, oid)?;
            compare(copy, oid, tables, &known)?;
            Ok(Some(oid))
        })?;
        if one.flatten().is_none() {
            made.remove(&copy.origin);
            copy.statements = None;
            dropped.insert(copy.origin);
        }
    }
    Ok(made)
}

/// Makes one; None where the changes drop it.
fn make(copy: &Replica, made: &Made, making: &Making<'_>) -> Result<Option<ObjectId>> {
    let Some(statements) = &copy.statements else { return Ok(None) };
    let run = xact::subtransaction(|| {
        let _path = making.paths.build_path(&copy.path)?;
        statements.iter().try_for_each(|s| spi::run(s, &[]).map(drop))
    });
    let Err(caught) = run else { return find(copy, made, making.paths).map(Some) };
    let cause = cause(caught)?;
    if making.cascade {
        return Ok(None);
    }
    Err(match making.exact {
        Exact::Compare(true) => ambiguous(&copy.title, &cause),
        _ => broken(&copy.title, &cause),
    })
}

/// The owner of what an object is part of: a part of a relation is what the relation's owner made it, a twin
/// has an owner of its own.
fn owner(copy: &Replica) -> Result<Option<RoleId>> {
    reader::owner(if copy.kind.lives_in_schema() { copy.origin } else { copy.parent.into() })
}

/// Refuses a copy that depends on something else than it may.
fn compare_uses(
    copy: &mut Replica,
    before: &[reader::Use],
    after: &[reader::Use],
    made: &Made,
    exact: Exact,
) -> Result<()> {
    match exact {
        Exact::Compare(exact) => {
            pg_depend::compare(&copy.title, (before, after), made, owner(copy)?, exact)?;
            copy.uses = pg_depend::recorded(after, made);
            Ok(())
        }
        Exact::AsRecorded => pg_depend::require(&copy.title, &copy.uses, after, made),
    }
}

/// Refuses a copy that is not what its original is, and gives it its original's rights.
fn compare(copy: &mut Replica, oid: ObjectId, tables: &Tables, known: &Counterparts) -> Result<()> {
    let kind = kinds::of(copy.kind);
    let original = tree::parts(kind.catalog, copy.origin, &Counterparts::default())?;
    let made_now = tree::parts(kind.catalog, oid, known)?;
    trees::prove(&copy.title, &original, &made_now, tables.retyped)?;
    if is_rule_of(copy, tables.table) {
        let own = known.clone().with_own_numbers(tables.shadow);
        copy.tree = Some(written(&tree::parts(kind.catalog, oid, &own)?));
    }
    if copy.kind.lives_in_schema() && reader::owner(oid)? != owner(copy)? {
        let fact = format!("the copy of {} was given to another owner", copy.title);
        return Err(changed(fact, &format!("CREATE {}", copy.kind.word().to_uppercase())));
    }
    (kind.rights)(copy.origin, oid)?;
    let meant = catalog::properties(kind.catalog, copy.origin)?;
    let lost = properties::lost(&meant, &catalog::properties(kind.catalog, oid)?);
    properties::refusal(&copy.title, &lost).map_or(Ok(()), Err)
}

/// A text that cannot be read again although nothing has changed.
fn ambiguous(title: &str, cause: &str) -> Error {
    Error::unsupported(format!("{title} cannot be made a second time: {cause}"))
        .hint("Rename or drop one of the objects that it uses for the deployment: two may have the same name in different schemas.")
}

/// Where the copy of an object is; none where its relation has no copy.
fn place<'a>(copy: &'a Replica, made: &Made, paths: &'a SearchPaths) -> Option<Place<'a>> {
    match &copy.schema {
        Some(schema) => Some(Place::In(paths.build_schema(schema))),
        None => made.get(&ObjectId::from(copy.parent)).map(|parent| Place::On((*parent).into())),
    }
}

/// The copy that was just made.
fn find(copy: &Replica, made: &Made, paths: &SearchPaths) -> Result<ObjectId> {
    let known: Vec<ObjectId> = made.values().copied().collect();
    let found = match place(copy, made, paths) {
        Some(place) => (kinds::of(copy.kind).find)(&place, &copy.name, &known)?,
        None => None,
    };
    found.ok_or_else(|| {
        Error::unsupported(format!("the copy of {} was not made where it belongs", copy.title))
            .hint("Rename the object for the deployment: another one has its name.")
    })
}

/// Takes the copy of an object away. `made` has the table too.
pub(super) fn drop_copy(
    copy: &Replica,
    oid: ObjectId,
    made: &Made,
    paths: &SearchPaths,
) -> Result<()> {
    if let Some(place) = place(copy, made, paths)
        && let Some(sql) = (kinds::of(copy.kind).drop)(&place, &copy.name, oid)?
    {
        spi::run(&sql, &[])?;
    }
    Ok(())
}

/// What a twin is on a side.
pub(super) fn of_side(twin: &ReplicaPair, side: Side) -> Option<ObjectId> {
    match side {
        Side::Origin => Some(twin.origin),
        Side::Shadow => twin.shadow,
    }
}
