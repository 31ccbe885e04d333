//! Objects that are made a second time over the shadow: found, led through the changes, made.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::catalog::{self, Table, dependent as reader};
use crate::ddl::rights;
use crate::dependent::site::Site;
use crate::dependent::{broken, cause, foreign_key, other, publication, require_free, uses};
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::changes::Change;
use crate::model::dependent::{Copy, CopyKind, Dependents, Move, Said, Twin, Uses};
use crate::model::deployment::Deployment;
use crate::pg::security::{self, SettingsLevel};
use crate::pg::spi::{self, Arg};
use crate::pg::{acl, relation, xact};

/// How far views are followed; the query stops there.
const MAX_DEPTH: i32 = 512;

/// Copies by the OID of their originals.
type Made = HashMap<u32, u32>;

/// Everything that hangs on the table, on its way through the changes.
pub struct Adapted {
    site: Site,
    table: Table,
    copies: Vec<Copy>,
    /// Rules of the table as they are on the origin, by OID.
    rules: HashMap<u32, (Vec<String>, Uses)>,
    filters: publication::Filters,
    others: Vec<other::Other>,
    marks: Vec<(String, bool)>,
    schemas: Vec<Ident>,
    keys: foreign_key::Followed,
    /// A change says CASCADE.
    cascade: bool,
    /// Columns that it drops so.
    dropped: Vec<Ident>,
    /// There are no changes.
    unchanged: bool,
}

/// Finds everything that hangs on the table. Runs as the extension.
///
/// `by_hand`: the shadow is a table made by hand.
pub fn discover(
    table: &Table,
    crossing: &Ident,
    changes: &[Change],
    by_hand: bool,
) -> Result<Adapted> {
    let twins = reader::twins(table.oid)?;
    require_plain_name(table)?;
    if let Some(deep) = twins.iter().find(|t| t.depth >= MAX_DEPTH) {
        return Err(Error::unsupported(format!(
            "{} {} depends on {} over more than {MAX_DEPTH} others, or on itself",
            deep.kind.word(),
            deep.title,
            table.qualified().plain()
        ))
        .hint("Break the circle for the deployment."));
    }
    let mut schemas = vec![table.schema.clone()];
    for twin in &twins {
        if !schemas.contains(&twin.schema) {
            schemas.push(twin.schema.clone());
        }
    }
    let site = Site::new(&schemas, crossing);
    let views: Vec<u32> =
        twins.iter().filter(|t| t.kind != CopyKind::Function).map(|t| t.oid).collect();
    let family: Vec<u32> = std::iter::once(table.oid).chain(twins.iter().map(|t| t.oid)).collect();
    let parts = reader::parts(table.oid, &views)?;
    let mut copies = Vec::new();
    {
        let _path = site.live_path(None)?;
        for twin in twins {
            let build = site.build_schema(&twin.schema);
            copies.push(Copy {
                statements: Some(reader::make(twin.kind, twin.oid, Some(build))?),
                kind: twin.kind,
                name: twin.name,
                title: format!("{} {}", twin.kind.word(), twin.title),
                schema: Some(twin.schema),
                origin: twin.oid,
                parent: 0,
                enabled: 'O',
                populated: twin.populated,
                uses: Uses::new(),
            });
        }
        for part in parts {
            copies.push(Copy {
                statements: Some(reader::make(part.kind, part.oid, None)?),
                kind: part.kind,
                title: format!("{} {}", part.kind.word(), part.title),
                name: part.name,
                schema: None,
                origin: part.oid,
                parent: part.parent,
                enabled: part.enabled,
                populated: false,
                uses: Uses::new(),
            });
        }
    }
    let marks = {
        let _path = site.live_path(None)?;
        reader::marks(table.oid)?
    };
    let rules = copies
        .iter()
        .filter(|c| is_rule_of(c, table.oid))
        .map(|c| {
            let uses = uses::recorded(&reader::needs(c.kind, c.origin)?, &Made::new());
            Ok((c.origin, (c.statements.clone().unwrap_or_default(), uses)))
        })
        .collect::<Result<_>>()?;
    Ok(Adapted {
        rules,
        others: other::discover(table.oid, &family, &site)?,
        filters: publication::filters(table.oid)?,
        site,
        table: table.clone(),
        copies,
        marks,
        schemas,
        keys: foreign_key::follow(table.oid, changes)?,
        cascade: changes.iter().any(Change::cascades),
        dropped: changes.iter().filter_map(Change::dropped_with_cascade).map(Ident::new).collect(),
        unchanged: changes.is_empty() && !by_hand,
    })
}

/// A table whose name a catalog has would be printed with its schema, and never mean its copy.
fn require_plain_name(table: &Table) -> Result<()> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class
                WHERE relnamespace = 'pg_catalog'::regnamespace AND relname = $1)";
    if spi::one_kept::<bool>(sql, &[Arg::Text(table.name.as_str())])? != Some(true) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "{} has the name of a system catalog",
        table.qualified().plain()
    ))
    .hint("Rename the table first."))
}

impl Adapted {
    /// What hangs on the table or is carried with it, and the relations that it is on or depends on.
    pub fn touches(&self) -> Result<Vec<(String, u32)>> {
        let mut found = Vec::new();
        for copy in &self.copies {
            let title = copy.title.clone();
            found.push((title.clone(), copy.origin));
            let needs = reader::needs(copy.kind, copy.origin)?;
            found.extend(needs.into_iter().map(|u| (title.clone(), u.oid)));
        }
        found.extend(self.others.iter().map(other::Other::touches));
        Ok(found)
    }

    /// The changes that are about foreign keys of the table, by position: none is on the shadow.
    pub fn skipped(&self) -> &[usize] {
        &self.keys.skip
    }

    /// Does `change` (renames) while everything that hangs on the table is there, over the shadow, and
    /// reads it back.
    pub fn through(&mut self, shadow: u32, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let made = self.put_up(shadow)?;
        change()?;
        {
            let _path = self.site.build_path()?;
            for copy in &mut self.copies {
                if let Some(oid) = made.get(&copy.origin)
                    && copy.statements.is_some()
                {
                    let build = copy.schema.as_ref().map(|s| self.site.build_schema(s));
                    copy.statements = Some(reader::make(copy.kind, *oid, build)?);
                }
            }
        }
        self.filters.read_back(shadow)?;
        for other in &mut self.others {
            other.read_back(&self.site)?;
        }
        self.take_down(&made, shadow)
    }

    /// Makes everything once over the changed shadow, to see that it can be made, and takes it away.
    pub fn try_out(&mut self, shadow: u32) -> Result<()> {
        let made = self.put_up(shadow)?;
        self.filters.read_back(shadow)?;
        for other in &mut self.others {
            other.read_back(&self.site)?;
        }
        self.take_down(&made, shadow)
    }

    fn put_up(&mut self, shadow: u32) -> Result<Made> {
        self.site.open()?;
        let tables = Tables { table: self.table.oid, shadow };
        let exact = Exact::Compare(self.unchanged);
        let made = make_all(&mut self.copies, &self.site, &tables, self.cascade, exact)?;
        self.filters.make(&self.site, &self.table, self.cascade)?;
        for other in &mut self.others {
            other.make(&self.site, &made, &self.table, shadow, self.cascade, self.unchanged)?;
        }
        Ok(made)
    }

    fn take_down(&self, made: &Made, shadow: u32) -> Result<()> {
        for other in &self.others {
            other.drop_trial()?;
        }
        self.filters.remove(shadow)?;
        for copy in self.copies.iter().rev() {
            if let Some(oid) = made.get(&copy.origin) {
                drop_copy(copy, *oid, made, shadow, self.table.oid, &self.site)?;
            }
        }
        self.site.close()
    }

    /// Puts the marks on the new table: before the changes, which may rename what they name. Row security
    /// is on before anyone may read blue.
    pub fn mark(&self) -> Result<()> {
        let _path = self.site.build_path()?;
        for (statement, _) in &self.marks {
            if let Err(caught) = xact::subtransaction(|| spi::run(statement, &[])) {
                let cause = cause(caught)?;
                return Err(broken(&format!("what the live table has ({statement})"), &cause));
            }
        }
        Ok(())
    }

    /// Gives up what uses a column that the new table does not have, or refuses. A column of the same
    /// name that the changes add is another one.
    pub fn require_columns(&mut self, pairs: &[(Ident, Ident)]) -> Result<()> {
        let gone: Vec<_> = catalog::columns(self.table.oid)?
            .into_iter()
            .filter(|c| !pairs.iter().any(|(origin, _)| *origin == c.name))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        for copy in &mut self.copies {
            let used = reader::columns_used(copy.kind, copy.origin, self.table.oid)?;
            if let Some(column) = gone.iter().find(|c| used.contains(&c.attnum)) {
                let name = crate::ident::plain(column.name.as_str());
                if !self.dropped.contains(&column.name) {
                    return Err(broken(&copy.title, &format!("column {name} is dropped")));
                }
                copy.statements = None;
            }
        }
        Ok(())
    }

    /// What prepare records. `pairs` are the columns that correspond.
    pub fn record(
        self,
        shadow: &QualifiedName,
        pairs: &[(Ident, Ident)],
        blue: impl Fn(&Ident) -> Result<Ident>,
        oid: u32,
        session: &BTreeMap<String, String>,
    ) -> Result<Dependents> {
        let marks = {
            let _path = self.site.build_path()?;
            reader::marks(oid)?
        };
        for copy in self.copies.iter().filter(|c| c.kind != CopyKind::Function) {
            if let Some(schema) = &copy.schema {
                require_free(&blue(schema)?, &copy.name, &copy.title)?;
            }
        }
        let mut moves =
            foreign_key::discover(&self.table, shadow, pairs, &self.keys, self.cascade)?;
        moves.extend(foreign_key::added(&self.table, shadow, oid, &self.keys, session)?);
        let (rules, copies) =
            self.copies.into_iter().partition(|copy| is_rule_of(copy, self.table.oid));
        let rules: Vec<Copy> = rules;
        let source = self.table.qualified();
        moves.extend(rules.into_iter().map(|rule| {
            let off = vec![format!("DROP RULE {} ON {source}", rule.name)];
            let (original, uses) = self.rules.get(&rule.origin).cloned().unwrap_or_default();
            Move {
                part: Some((CopyKind::Rule, source.clone())),
                origin: Said { off: off.clone(), on: original, uses },
                shadow: rule.statements.map(|on| Said { off, on, uses: rule.uses }),
                title: rule.title,
                table: None,
                validate: None,
                names: (rule.name, None),
            }
        }));
        moves.extend(self.filters.moves(&self.table, pairs, self.cascade)?);
        moves.extend(self.others.into_iter().map(other::Other::into_move));
        Ok(Dependents {
            schemas: self.schemas,
            copies,
            moves,
            marks: marks.into_iter().filter(|(_, late)| *late).map(|(s, _)| s).collect(),
        })
    }
}

/// A rule of the table. It is not made on blue: a table with a rule for UPDATE, disabled or not, takes
/// no INSERT … ON CONFLICT, which sync needs. So it moves in the swap.
fn is_rule_of(copy: &Copy, table: u32) -> bool {
    copy.kind == CopyKind::Rule && copy.parent == table
}

/// What a copy may depend on.
#[derive(Clone, Copy)]
enum Exact {
    /// What its original does; with changes (false) also what can be trusted.
    Compare(bool),
    /// What it depended on when prepare tried it.
    AsRecorded,
}

/// The two tables.
struct Tables {
    table: u32,
    shadow: u32,
}

/// Makes all copies in order. The shadow stands in the crossing schema.
fn make_all(
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
    let _path = site.build_path()?;
    for copy in copies.iter_mut() {
        let before = reader::needs(copy.kind, copy.origin)?;
        if dropped.contains(&copy.parent) || before.iter().any(|u| dropped.contains(&u.oid)) {
            copy.statements = None;
        }
        let Some(statements) = &copy.statements else {
            dropped.insert(copy.origin);
            continue;
        };
        let run =
            xact::subtransaction(|| statements.iter().try_for_each(|s| spi::run(s, &[]).map(drop)));
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
        let after = reader::needs(copy.kind, oid)?;
        // A part of a relation is what the relation's owner made it; a twin has an owner of its own.
        let of = if copy.kind.is_twin() { copy.origin } else { copy.parent };
        let owner = reader::owner(of)?;
        if let Some(used) = after.iter().find(|u| spare.contains(&u.oid)) {
            return Err(uses::astray(&copy.title, used)?);
        }
        made.insert(copy.origin, oid);
        match exact {
            Exact::Compare(exact) => {
                uses::compare(&copy.title, &before, &after, &made, owner, exact)?;
                copy.uses = uses::recorded(&after, &made);
            }
            Exact::AsRecorded => uses::require(&copy.title, &copy.uses, &after, &made)?,
        }
        if copy.kind.is_twin() {
            copy_rights(copy, oid)?;
        }
    }
    made.remove(&tables.table);
    Ok(made)
}

/// A text that cannot be read again although nothing has changed.
fn ambiguous(title: &str, cause: &str) -> Error {
    Error::unsupported(format!("{title} cannot be made a second time: {cause}"))
        .hint("Two objects that it uses may have the same name in different schemas: rename or drop one of them for the deployment.")
}

/// OID of the copy that was just made.
fn find(copy: &Copy, made: &Made, site: &Site) -> Result<u32> {
    let found = match (&copy.schema, copy.kind) {
        (Some(schema), CopyKind::Function) => {
            let there = reader::functions(site.build_schema(schema), &copy.name)?;
            there.into_iter().find(|oid| !made.values().any(|m| m == oid))
        }
        (Some(schema), _) => catalog::relation_oid(&QualifiedName {
            schema: site.build_schema(schema).clone(),
            name: copy.name.clone(),
        })?,
        (None, kind) => match made.get(&copy.parent) {
            Some(parent) => reader::part(kind, *parent, &copy.name)?,
            None => None,
        },
    };
    found.ok_or_else(|| {
        Error::unsupported(format!("the copy of {} was not made where it belongs", copy.title))
            .hint("Rename the object for the deployment: another one has its name.")
    })
}

/// The rights of the original, exactly.
fn copy_rights(copy: &Copy, made: u32) -> Result<()> {
    if copy.kind == CopyKind::Function {
        return acl::copy_function(copy.origin, made);
    }
    let owner = catalog::existing_table(made)?.owner;
    let names: Vec<_> =
        catalog::columns(made)?.into_iter().map(|c| (c.name.clone(), c.name)).collect();
    acl::replace(made, owner, rights::LIVE, &rights::arguments(copy.origin, &names))
}

fn drop_copy(
    copy: &Copy,
    oid: u32,
    made: &Made,
    shadow: u32,
    table: u32,
    site: &Site,
) -> Result<()> {
    let sql = match (&copy.schema, copy.kind) {
        (Some(_), CopyKind::Function) => match reader::function_name(oid)? {
            Some(name) => format!("DROP ROUTINE {name} RESTRICT"),
            None => return Ok(()),
        },
        (Some(schema), kind) => {
            let word = kind.word().to_uppercase();
            format!("DROP {word} {}.{} RESTRICT", site.build_schema(schema), copy.name)
        }
        (None, kind) => {
            let parent = if copy.parent == table { Some(&shadow) } else { made.get(&copy.parent) };
            let Some(parent) = parent else { return Ok(()) };
            let on = catalog::existing_table(*parent)?.qualified();
            format!("DROP {} {} ON {on} RESTRICT", kind.word().to_uppercase(), copy.name)
        }
    };
    spi::run(&sql, &[])?;
    Ok(())
}

/// Makes the copies over the filled blue table, which the caller has locked, and gives twins their
/// place in the blue schemas. `blue_of` makes and names the blue schema of a live one.
pub fn take_along(d: &Deployment, blue_of: impl Fn(&Ident) -> Result<Ident>) -> Result<Vec<Twin>> {
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
        let tables = Tables { table: d.green(), shadow: d.blue() };
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
    let _path = blue.live_path(None)?;
    for mark in &plan.marks {
        spi::run(mark, &[])?;
    }
    Ok(twins)
}

/// Moves a view or a function to another schema.
pub(super) fn set_schema(kind: CopyKind, oid: u32, from: &Ident, to: &Ident) -> Result<()> {
    if kind == CopyKind::Function {
        if let Some(name) = reader::function_name(oid)? {
            spi::run(&format!("ALTER ROUTINE {name} SET SCHEMA {to}"), &[])?;
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
pub fn refresh(twins: &mut [Twin]) -> Result<Option<String>> {
    let Some(twin) = twins.iter_mut().find(|t| t.to_fill) else { return Ok(None) };
    let name = QualifiedName { schema: twin.blue_schema.clone(), name: twin.name.clone() };
    // Its query sees what its owner may see, as in any refresh.
    let _level = SettingsLevel::open();
    security::set("row_security", "on")?;
    let filled = xact::subtransaction(|| {
        spi::run(&format!("REFRESH MATERIALIZED VIEW {name}"), &[])?;
        spi::run(&format!("ANALYZE {name}"), &[])
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
pub fn mark_early(d: &Deployment) -> Result<()> {
    let green = Site::new(std::slice::from_ref(&d.source.schema), &d.crossing_schema());
    let marks = {
        let _path = green.live_path(None)?;
        reader::marks(d.green())?
    };
    let blue = Site::new(std::slice::from_ref(&d.blue_schema), &d.crossing_schema());
    let _path = blue.live_path(None)?;
    for (statement, _) in marks.iter().filter(|(_, late)| !late) {
        spi::run(statement, &[])?;
    }
    Ok(())
}

/// Takes the table's own triggers and policies off the offline table: they may use its views and
/// functions, as these use the table.
pub fn strip(d: &Deployment) -> Result<()> {
    let Some(blue) = catalog::relation_oid(&d.blue_name())? else { return Ok(()) };
    for copy in d.plan.dependents.copies.iter().rev() {
        if copy.kind.is_twin() || copy.parent != d.origin {
            continue;
        }
        if reader::part(copy.kind, blue, &copy.name)?.is_some() {
            let word = copy.kind.word().to_uppercase();
            spi::run(&format!("DROP {word} {} ON {} RESTRICT", copy.name, d.blue_name()), &[])?;
        }
    }
    Ok(())
}
