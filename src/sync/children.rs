//! Rows that refer to one which a revert leaves behind.
//!
//! After the swap the foreign keys are on the table that has gone live. A row that refers to a misfit
//! is in order if the live table has what it refers to, as it mostly has: an earlier state of the same row.
//! Where it has not, the row's parent would be in no table; and so it may be with an earlier state that
//! went live, whose own parent is gone meanwhile. Then the revert is refused, or they are set aside too:
//! as the foreign key's ON DELETE says, those of NO ACTION and RESTRICT deleted, and in turn what refers to
//! them. Each is kept in `bluegreen.misfit` first, so that no action of the server finds one that is not.
//!
//! That is an ordinary write to tables that are live: their triggers fire, subscribers see it, and sync
//! takes what it does to the live table to the offline one.
//!
//! Locks: ACCESS EXCLUSIVE on each table whose rows go, within the limit of the swap's try.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pgrx::PgSqlErrorCode;

use crate::catalog::reference::{self, Reference};
use crate::ddl;
use crate::ddl::aside::{BEFORE, NOW};
use crate::ddl::children::{CHILDREN, KEY_TEXT, ROW_TEXT};
use crate::ddl::picture::Picture;
use crate::ddl::rows::{self, KEYS, Rows, WORK};
use crate::error::{Error, Result, rows};
use crate::ident::{Ident, plain};
use crate::model::member::Member;
use crate::oid::{CollationId, RelationId, RoleId, TypeId};
use crate::pg::lock::{self, Mode};
use crate::pg::security::{self, Identity, by_index};
use crate::pg::spi::{self, Arg, Options};
use crate::pg::tid::{self, Place};
use crate::pg::transient_relation::Column;
use crate::pg::transient_relation::Work;
use crate::pg::xact::{self, SubtransactionError};
use crate::state::key_rows;
use crate::state::key_rows::key_columns;
use crate::state::rejected_rows;
use crate::sync::left_behind::{Aside, Candidates};

/// The type text.
const TEXT: TypeId = TypeId::new(25);

/// Finds them, before the swap. `marked` are the misfits' keys.
pub(super) fn candidates(member: &Member, marked: &Work) -> Result<Candidates> {
    let mapping = member.mapping();
    let mut others = Vec::new();
    let mut selves = Work::new(WORK, &key_columns(&mapping.from_key, rows::batch_key))?;
    {
        let references = references(member.green())?;
        let _by_index = by_index()?;
        let marked: &[&Work] = &[marked];
        for key in references.into_iter().filter(|k| k.parent == member.green()) {
            let options = Options { work: marked, ..Default::default() };
            if key.child == member.green() {
                let _owner = parents_reader(member, &key)?;
                let sql = ddl::children::keys_of_work(&key, &mapping.from_key);
                spi::fill(&mut selves, &sql, &[], options)?;
            } else {
                let sql = ddl::children::referred_of_work(&key, &mapping.from_key);
                let places = referring(member, &key, &sql, &[], options)?;
                if !places.is_empty() {
                    others.push((key, places));
                }
            }
        }
    }
    let blue = member.blue_name();
    let rows = Rows { mapping, from: &member.source, to: &blue };
    let mut own = Work::new(KEYS, &key_columns(&mapping.to_key, rows::mapped_name))?;
    if !selves.is_empty() {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        key_rows::fill_what_can_be(&mut own, &rows.map_keys(), &selves)?;
    }
    Ok(Candidates { others, own })
}

fn references(table: RelationId) -> Result<Vec<Reference>> {
    let _us = Identity::extension()?;
    reference::of(table)
}

/// Who reads a child: its owner, because planning computes what is immutable in the expressions of indexes.
fn reader(member: &Member, key: &Reference) -> Result<Identity> {
    Identity::table_owner(key.child_owner, &member.plan.session)
}

/// The same for its parent.
fn parents_reader(member: &Member, key: &Reference) -> Result<Identity> {
    Identity::table_owner(key.parent_owner, &member.plan.session)
}

/// What a query of one table's owner gives to that of the other.
fn handed_over(sql: &str, args: &[Arg<'_>], options: Options<'_>) -> Result<Work> {
    spi::with_rows(sql, args, options, |rows, _| rows.to_work(ddl::children::REFERENCES))
}

/// The places of rows that refer to the parent's rows which a query of its owner gives.
fn referring(
    member: &Member,
    key: &Reference,
    sql: &str,
    args: &[Arg<'_>],
    options: Options<'_>,
) -> Result<Vec<Place>> {
    let referred = {
        let _owner = parents_reader(member, key)?;
        handed_over(sql, args, options)?
    };
    let _owner = reader(member, key)?;
    let work: &[&Work] = &[&referred];
    places(&ddl::children::referring(key), &[], Options { work, ..Default::default() })
}

fn places(sql: &str, args: &[Arg<'_>], options: Options<'_>) -> Result<Vec<Place>> {
    spi::with_rows(sql, args, options, |rows, _| {
        Ok((0..rows.len()).filter_map(|row| rows.datum(row, 1).map(tid::place)).collect())
    })
}

/// Places as an argument.
fn tids(places: impl IntoIterator<Item = Place>) -> Arg<'static> {
    Arg::Texts(places.into_iter().map(|(block, line)| format!("({block},{line})")).collect())
}

/// Foreign keys, with the places of rows of the child.
type Found = Vec<(Reference, Vec<Place>)>;

/// After the swap: refuses, or sets aside, what refers to nothing now. Returns what is to be told.
pub(super) fn settle(
    member: &Member,
    aside: &Aside,
    candidates: &Candidates,
    with_children: bool,
) -> Result<Vec<String>> {
    let found = orphans(member, aside, candidates)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    if !with_children {
        return Err(refusal(member, &found)?);
    }
    let taken = closure(member, found)?;
    taken.keep(member)?;
    taken.take()
}

/// Rows that refer to one that is not there.
fn orphans(member: &Member, aside: &Aside, candidates: &Candidates) -> Result<Found> {
    let live = &member.mapping().from_key;
    let references = references(member.green())?;
    let mut own = BTreeSet::new();
    let states = [(NOW, &aside.now), (BEFORE, &aside.before), (KEYS, &candidates.own)];
    {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let _by_index = by_index()?;
        for (name, work) in states {
            let options = Options { work: &[work], ..Default::default() };
            own.extend(places(&ddl::aside::places(name, &member.source, live), &[], options)?);
        }
    }
    let mut found = Vec::new();
    for key in references {
        let rows: BTreeSet<Place> = if key.child == member.green() {
            own.clone()
        } else {
            let same = |(other, _): &&(Reference, Vec<Place>)| {
                other.child == key.child && other.columns == key.columns
            };
            candidates.others.iter().filter(same).flat_map(|(_, places)| places).copied().collect()
        };
        if rows.is_empty() {
            continue;
        }
        let _by_index = by_index()?;
        let refer = {
            let _owner = reader(member, &key)?;
            handed_over(&ddl::children::references_at(&key), &[tids(rows)], Options::default())?
        };
        let orphans = {
            let _owner = parents_reader(member, &key)?;
            let work: &[&Work] = &[&refer];
            let options = Options { work, ..Default::default() };
            places(&ddl::children::orphans(&key), &[], options)?
        };
        if !orphans.is_empty() {
            found.push((key, orphans));
        }
    }
    Ok(found)
}

fn refusal(member: &Member, found: &Found) -> Result<Error> {
    let mut lines = Vec::new();
    for (key, places) in found {
        let _owner = reader(member, key)?;
        let sql = ddl::children::describe(key);
        let few = tids(places.iter().copied().take(5));
        let values: Vec<String> = spi::with_rows(&sql, &[few], Options::default(), |rows, _| {
            Ok((0..rows.len()).filter_map(|row| rows.get(row, 1)).collect())
        })?;
        let more = places.len().saturating_sub(values.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("{}: {}{more}", title(key), values.join(", ")));
    }
    let count: usize = found.iter().map(|(_, places)| places.len()).sum();
    Ok(Error::state(format!(
        "after the revert {} would refer to rows of {} that neither table has ({})",
        rows(count),
        member.source.plain(),
        lines.first().cloned().unwrap_or_default()
    ))
    .detail(lines.join("\n"))
    .hint("Correct the rows of bg_misfits() that they refer to, or let them refer to others; misfits => 'set_aside_with_children' sets them aside too."))
}

/// `public.items, constraint items_box_fkey`
fn title(key: &Reference) -> String {
    format!("{}, constraint {}", key.child_name().plain(), plain(key.name.as_str()))
}

/// Rows of a table that go.
struct Leaving {
    /// Any foreign key of the table, for its names.
    key: Reference,
    /// How far from the misfits: the farthest go first.
    depth: u32,
    /// Each row, with the foreign key by which it goes.
    rows: BTreeMap<Place, usize>,
    /// Rows that stay without their references: the columns to be NULL, or the default.
    unset: BTreeMap<Place, (BTreeSet<Ident>, BTreeSet<Ident>, usize)>,
}

/// Everything that is set aside with the misfits.
struct Taken {
    keys: Vec<Reference>,
    tables: HashMap<RelationId, Leaving>,
}

/// What refers to rows that go goes too.
fn closure(member: &Member, mut found: Found) -> Result<Taken> {
    let caller = security::current_user();
    let mut taken = Taken { keys: Vec::new(), tables: HashMap::new() };
    let mut depth = 0;
    while !found.is_empty() {
        depth += 1;
        let mut fresh: BTreeMap<RelationId, Vec<Place>> = BTreeMap::new();
        for (key, places) in found {
            let new = taken.add(&key, places, depth, caller)?;
            fresh.entry(key.child).or_default().extend(new);
        }
        found = Vec::new();
        for (table, gone) in fresh.into_iter().filter(|(_, gone)| !gone.is_empty()) {
            for key in references(table)?.into_iter().filter(|k| k.parent == table) {
                let look = || {
                    let _by_index = by_index()?;
                    let args = [tids(gone.iter().copied())];
                    referring(
                        member,
                        &key,
                        &ddl::children::referred_at(&key),
                        &args,
                        Options::default(),
                    )
                };
                if look()?.is_empty() {
                    continue;
                }
                // Nobody can add to them, as the rows that they refer to are locked; from here on
                // nobody changes one either.
                lock::relation(key.child, Mode::AccessExclusive);
                let rows = look()?;
                if !rows.is_empty() {
                    found.push((key, rows));
                }
            }
        }
    }
    Ok(taken)
}

impl Taken {
    /// Adds rows of a child; those that go and were not there yet are returned.
    fn add(
        &mut self,
        key: &Reference,
        places: Vec<Place>,
        depth: u32,
        caller: RoleId,
    ) -> Result<Vec<Place>> {
        if matches!(key.on_delete, 'a' | 'r') {
            // Nothing that the child's owner has agreed to by the foreign key.
            let _us = Identity::extension()?;
            let args = [Arg::oid(caller), Arg::oid(key.child)];
            if spi::one::<bool>(ddl::children::may_delete(), &args)? != Some(true) {
                let name = key.child_name().plain();
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                    format!("permission denied to set rows of {name} aside, which takes DELETE on it"),
                )
                .hint(format!("GRANT DELETE ON {name}, or let its owner see to the rows that refer to the misfits.")));
            }
        }
        self.keys.push(key.clone());
        let number = self.keys.len() - 1;
        let leaving = self.tables.entry(key.child).or_insert_with(|| Leaving {
            key: key.clone(),
            depth,
            rows: BTreeMap::new(),
            unset: BTreeMap::new(),
        });
        leaving.depth = depth;
        if let Some((columns, default)) = key.sets() {
            for place in places {
                let (null, defaults, _) = leaving
                    .unset
                    .entry(place)
                    .or_insert_with(|| (BTreeSet::new(), BTreeSet::new(), number));
                if default { defaults } else { null }.extend(columns.iter().cloned());
            }
            return Ok(Vec::new());
        }
        let new: Vec<_> =
            places.into_iter().filter(|place| !leaving.rows.contains_key(place)).collect();
        leaving.rows.extend(new.iter().map(|place| (*place, number)));
        Ok(new)
    }

    /// Writes down what the rows were.
    fn keep(&self, member: &Member) -> Result<()> {
        for leaving in self.tables.values() {
            let mut by_key: BTreeMap<(usize, bool), Vec<Place>> = BTreeMap::new();
            for (place, number) in &leaving.rows {
                by_key.entry((*number, true)).or_default().push(*place);
            }
            for (place, (.., number)) in leaving.staying() {
                by_key.entry((*number, false)).or_default().push(*place);
            }
            for ((number, goes), places) in by_key {
                let Some(key) = self.keys.get(number) else { continue };
                let what = if goes { "deleted" } else { "its reference taken out" };
                let why = format!(
                    "the row that it refers to by constraint {} was set aside: {what}",
                    plain(key.name.as_str())
                );
                keep(member, key, &why, places)?;
            }
        }
        Ok(())
    }

    /// Takes them out of their tables. Returns a line for each table.
    fn take(&self) -> Result<Vec<String>> {
        let session = security::expression_settings();
        let mut told = Vec::new();
        let mut tables: Vec<_> = self.tables.values().collect();
        tables.sort_by_key(|leaving| std::cmp::Reverse(leaving.depth));
        for leaving in &tables {
            let _owner = Identity::acting_owner(leaving.key.child_owner, &session)?;
            let mut alike: BTreeMap<_, Vec<Place>> = BTreeMap::new();
            for (place, (null, default, _)) in leaving.staying() {
                alike.entry((null, default)).or_default().push(*place);
            }
            for ((null, default), places) in alike {
                let null = null.iter().filter(|column| !default.contains(*column));
                let sql = ddl::children::unset(&leaving.key.child_name(), null, default);
                leaving.write(&sql, places)?;
            }
        }
        for leaving in &tables {
            let places: Vec<_> = leaving.rows.keys().copied().collect();
            if !places.is_empty() {
                let _owner = Identity::acting_owner(leaving.key.child_owner, &session)?;
                leaving.write(&ddl::children::delete(&leaving.key.child_name()), places)?;
            }
            told.push(format!(
                "set aside with the rows that they refer to: {} rows of {} deleted, {} without their reference now; see bg_misfits()",
                leaving.rows.len(),
                leaving.key.child_name().plain(),
                leaving.staying().count()
            ));
        }
        Ok(told)
    }
}

impl Leaving {
    /// The rows that only lose their references.
    fn staying(
        &self,
    ) -> impl Iterator<Item = (&Place, &(BTreeSet<Ident>, BTreeSet<Ident>, usize))> {
        self.unset.iter().filter(|(place, _)| !self.rows.contains_key(*place))
    }

    /// Writes to these rows, and to no fewer.
    fn write(&self, sql: &str, places: Vec<Place>) -> Result<()> {
        let expected = places.len() as u64;
        let written = spi::run(sql, &[tids(places)])?;
        if written == expected {
            return Ok(());
        }
        Err(Error::state(format!(
            "a trigger or rule of {} keeps rows that would be set aside ({written} of {expected} went)",
            self.key.child_name().plain()
        ))
        .hint("Delete those rows, or let them refer to others, before the revert."))
    }
}

/// Writes down the rows of a child at these places.
fn keep(member: &Member, key: &Reference, why: &str, places: Vec<Place>) -> Result<()> {
    let column = |name: &str| Column {
        name: name.to_owned(),
        type_oid: TEXT,
        collation: CollationId::new(100),
    };
    let empty = || Work::new(CHILDREN, &[column(KEY_TEXT), column(ROW_TEXT)]);
    let show = |children: &mut Work, picture| {
        xact::subtransaction(|| {
            let _owner = Identity::table_owner(key.child_owner, &member.plan.session)?;
            let sql = ddl::children::pictures(key, picture);
            spi::fill(children, &sql, &[tids(places.clone())], Options::default())
        })
    };
    let mut children = empty()?;
    let mut shown = show(&mut children, Picture::Json);
    for picture in [Picture::Text, Picture::Texts] {
        if shown.as_ref().is_err_and(SubtransactionError::is_data_error) {
            children = empty()?;
            shown = show(&mut children, picture);
        }
    }
    shown.or_else(SubtransactionError::raise)?;
    let table = key.child_name().plain();
    rejected_rows::keep_children(member.id, (&children, KEY_TEXT, ROW_TEXT), why, &table)
}
