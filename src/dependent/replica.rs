//! Objects that are made a second time over the shadow: made in their order, compared with their
//! originals, found, dropped again.

use std::collections::{HashMap, HashSet};

use crate::catalog::{self, dependent as reader, event_trigger::changed, tree};
use crate::dependent::failure::broken;
use crate::dependent::failure::cause;
use crate::dependent::kind::Place;
use crate::dependent::kinds;
use crate::dependent::pg_depend;
use crate::dependent::site::Site;
use crate::dependent::trees;
use crate::error::{Error, Result};
use crate::model::dependent::{Copy, CopyKind};
use crate::model::tree::{Columns, Counterparts, written};
use crate::pg::{spi, xact};
use crate::plan::properties;

/// Copies by the OID of their originals.
pub(super) type Made = HashMap<u32, u32>;

/// A rule of the table. It is not made on blue: a table with a rule for UPDATE, disabled or not, takes
/// no INSERT … ON CONFLICT, which sync needs. So it moves in the swap.
pub(super) fn is_rule_of(copy: &Copy, table: u32) -> bool {
    copy.kind == CopyKind::Rule && copy.parent == table
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
    pub(super) table: u32,
    /// The shadow.
    pub(super) shadow: u32,
    /// The shadow's columns, with those of the origin.
    pub(super) columns: Columns,
    /// One of them has another type.
    pub(super) retyped: bool,
}

impl Tables {
    /// `by_hand`: the shadow is a table made by hand.
    pub(super) fn new(table: u32, shadow: u32, by_hand: bool) -> Result<Self> {
        let columns = trees::columns(table, shadow, by_hand)?;
        let retyped = trees::are_retyped(table, shadow, &columns)?;
        Ok(Self { table, shadow, columns, retyped })
    }
}

/// Makes all copies in order. The shadow stands in the crossing schema.
pub(super) fn make_all(
    copies: &mut [Copy],
    site: &Site,
    tables: &Tables,
    cascade: bool,
    exact: Exact,
) -> Result<Made> {
    // A name of the shadow's own sequences would be found before the live sequence.
    let spare: Vec<u32> = catalog::sequences(tables.shadow)?.iter().map(|s| s.oid).collect();
    let mut dropped: HashSet<u32> = HashSet::new();
    let mut made = Made::from([(tables.table, tables.shadow)]);
    let mut known = tree::counterparts(&made, [(tables.shadow, tables.columns.clone())])?;
    for copy in copies.iter_mut() {
        let kind = kinds::of(copy.kind);
        let before = kind.needs(copy.origin)?;
        if dropped.contains(&copy.parent) || before.iter().any(|u| dropped.contains(&u.oid)) {
            copy.statements = None;
        }
        let Some(statements) = &copy.statements else {
            dropped.insert(copy.origin);
            continue;
        };
        let run = xact::subtransaction(|| {
            let _path = site.build_path(&copy.path)?;
            statements.iter().try_for_each(|s| spi::run(s, &[]).map(drop))
        });
        if let Err(caught) = run {
            let cause = cause(caught)?;
            if !cascade {
                return Err(match exact {
                    Exact::Compare(true) => ambiguous(&copy.title, &cause),
                    _ => broken(&copy.title, &cause),
                });
            }
            copy.statements = None;
            dropped.insert(copy.origin);
            continue;
        }
        let oid = find(copy, &made, site)?;
        let after = kind.needs(oid)?;
        // A part of a relation is what the relation's owner made it; a twin has an owner of its own.
        let of = if copy.kind.is_twin() { copy.origin } else { copy.parent };
        let owner = reader::owner(of)?;
        if let Some(used) = after.iter().find(|u| spare.contains(&u.oid)) {
            return Err(pg_depend::astray(&copy.title, used)?);
        }
        made.insert(copy.origin, oid);
        match exact {
            Exact::Compare(exact) => {
                pg_depend::compare(&copy.title, &before, &after, &made, owner, exact)?;
                copy.uses = pg_depend::recorded(&after, &made);
            }
            Exact::AsRecorded => pg_depend::require(&copy.title, &copy.uses, &after, &made)?,
        }
        tree::add(&mut known, copy.origin, oid)?;
        let original = tree::parts(kind.catalog, copy.origin, &Counterparts::default())?;
        let made_now = tree::parts(kind.catalog, oid, &known)?;
        trees::prove(&copy.title, &original, &made_now, tables.retyped)?;
        if is_rule_of(copy, tables.table) {
            let own = known.clone().with_own_numbers(tables.shadow);
            copy.tree = Some(written(&tree::parts(kind.catalog, oid, &own)?));
        }
        if copy.kind.is_twin() && reader::owner(oid)? != owner {
            let fact = format!("the copy of {} was given to another owner", copy.title);
            return Err(changed(fact, &format!("CREATE {}", copy.kind.word().to_uppercase())));
        }
        (kind.rights)(copy.origin, oid)?;
        let meant = catalog::properties(kind.catalog, copy.origin)?;
        let lost = properties::lost(&meant, &catalog::properties(kind.catalog, oid)?);
        if let Some(refusal) = properties::refusal(&copy.title, &lost) {
            return Err(refusal);
        }
    }
    Ok(made)
}

/// A text that cannot be read again although nothing has changed.
fn ambiguous(title: &str, cause: &str) -> Error {
    Error::unsupported(format!("{title} cannot be made a second time: {cause}"))
        .hint("Two objects that it uses may have the same name in different schemas: rename or drop one of them for the deployment.")
}

/// Where the copy of an object is; none where its relation has no copy.
fn place<'a>(copy: &'a Copy, made: &Made, site: &'a Site) -> Option<Place<'a>> {
    match &copy.schema {
        Some(schema) => Some(Place::In(site.build_schema(schema))),
        None => made.get(&copy.parent).map(|parent| Place::On(*parent)),
    }
}

/// OID of the copy that was just made.
fn find(copy: &Copy, made: &Made, site: &Site) -> Result<u32> {
    let known: Vec<u32> = made.values().copied().collect();
    let found = match place(copy, made, site) {
        Some(place) => (kinds::of(copy.kind).find)(&place, &copy.name, &known)?,
        None => None,
    };
    found.ok_or_else(|| {
        Error::unsupported(format!("the copy of {} was not made where it belongs", copy.title))
            .hint("Rename the object for the deployment: another one has its name.")
    })
}

/// Takes the copy of an object away. `made` has the table too.
pub(super) fn drop_copy(copy: &Copy, oid: u32, made: &Made, site: &Site) -> Result<()> {
    if let Some(place) = place(copy, made, site)
        && let Some(sql) = (kinds::of(copy.kind).drop)(&place, &copy.name, oid)?
    {
        spi::run(&sql, &[])?;
    }
    Ok(())
}
