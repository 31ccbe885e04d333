//! Everything that hangs on the table: found, led through the changes, recorded.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::catalog::{self, Table, dependent as reader, tree};
use crate::ddl::dependent as ddl;
use crate::dependent::external_reference;
use crate::dependent::failure::broken;
use crate::dependent::failure::cause;
use crate::dependent::failure::require_free;
use crate::dependent::foreign_key;
use crate::dependent::kind::Scope;
use crate::dependent::kinds;
use crate::dependent::pg_depend;
use crate::dependent::publication;
use crate::dependent::replica::Exact;
use crate::dependent::replica::Made;
use crate::dependent::replica::Making;
use crate::dependent::replica::Tables;
use crate::dependent::replica::drop_copy;
use crate::dependent::replica::is_rule_of;
use crate::dependent::replica::make_all;
use crate::dependent::search_paths::SearchPaths;
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::changes::Change;
use crate::model::dependent::{DependentKind, Dependents, DetachAttach, ReattachedObject, Replica};
use crate::model::tree::{Counterparts, written};
use crate::oid::{ObjectId, RelationId};
use crate::pg::reasons::Reasons;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;

/// How far views are followed; the query stops there.
const MAX_DEPTH: i32 = 512;

/// Everything that hangs on the table, on its way through the changes.
pub(crate) struct DependentPlan {
    paths: SearchPaths,
    table: Table,
    copies: Vec<Replica>,
    /// Rules of the table as they are on the origin, without what takes them off.
    rules: HashMap<ObjectId, DetachAttach>,
    filters: publication::Filters,
    others: Vec<external_reference::ExternalReference>,
    marks: Vec<(String, bool)>,
    schemas: Vec<Ident>,
    keys: foreign_key::Followed,
    /// A change says CASCADE.
    cascade: bool,
    /// Columns that it drops so.
    dropped: Vec<Ident>,
    /// There are no changes.
    unchanged: bool,
    /// The shadow is a table made by hand.
    by_hand: bool,
}

/// What prepare records it over.
pub(crate) struct Recorded<'a> {
    /// The new table.
    pub shadow: RelationId,
    /// Its name by now.
    pub name: &'a QualifiedName,
    /// The columns that correspond.
    pub pairs: &'a [(Ident, Ident)],
    /// The caller's settings.
    pub session: &'a BTreeMap<String, String>,
}

/// Finds everything that hangs on the table. Runs as the extension.
///
/// `by_hand`: the shadow is a table made by hand.
pub(crate) fn discover(
    table: &Table,
    staging: &Ident,
    changes: &[Change],
    by_hand: bool,
) -> Result<DependentPlan> {
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
    let schemas = schemas(table, &twins);
    let paths = SearchPaths::new(&schemas, staging);
    let family: Vec<ObjectId> =
        std::iter::once(table.oid.into()).chain(twins.iter().map(|t| t.oid)).collect();
    let scope = Scope { table: table.oid, twins };
    let mut copies = kinds::discover(&scope)?;
    for copy in &mut copies {
        let catalog = kinds::of(copy.kind).catalog;
        let parts = tree::parts(catalog, copy.origin, &Counterparts::default())?;
        copy.path = tree::unnamed_schemas(&parts)?;
        copy.tree = is_rule_of(copy, table.oid).then(|| written(&parts));
        let _path = paths.live_path(None, &copy.path)?;
        let build = copy.schema.as_ref().map(|schema| paths.build_schema(schema));
        copy.statements = Some(kinds::of(copy.kind).statements(copy.origin, build)?);
    }
    let marks = {
        let _path = paths.live_path(None, &[])?;
        reader::marks(table.oid)?
    };
    Ok(DependentPlan {
        rules: rules(&copies, table.oid)?,
        others: external_reference::discover(table.oid, &family, &paths)?,
        filters: publication::filters(table.oid)?,
        paths,
        table: table.clone(),
        copies,
        marks,
        schemas,
        keys: foreign_key::follow(table.oid, changes)?,
        cascade: changes.iter().any(Change::cascades),
        dropped: changes.iter().filter_map(Change::dropped_with_cascade).map(Ident::new).collect(),
        unchanged: changes.is_empty() && !by_hand,
        by_hand,
    })
}

/// The schemas of a table and its twins, each once.
fn schemas(table: &Table, twins: &[reader::DependentRow]) -> Vec<Ident> {
    let mut schemas = vec![table.schema.clone()];
    for twin in twins {
        if !schemas.contains(&twin.schema) {
            schemas.push(twin.schema.clone());
        }
    }
    schemas
}

/// What makes each rule of the table.
fn rules(copies: &[Replica], table: RelationId) -> Result<HashMap<ObjectId, DetachAttach>> {
    let said = |rule: &Replica| {
        let uses = pg_depend::recorded(&kinds::of(rule.kind).needs(rule.origin)?, &Made::new());
        let on = rule.statements.clone().unwrap_or_default();
        Ok((rule.origin, DetachAttach { off: Vec::new(), on, uses, tree: rule.tree.clone() }))
    };
    copies.iter().filter(|copy| is_rule_of(copy, table)).map(said).collect()
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

impl DependentPlan {
    /// What hangs on the table or is carried with it, and the relations that it is on or depends on.
    pub(crate) fn touches(&self) -> Result<Vec<(String, ObjectId)>> {
        let mut found = Vec::new();
        for copy in &self.copies {
            let title = copy.title.clone();
            found.push((title.clone(), copy.origin));
            let needs = kinds::of(copy.kind).needs(copy.origin)?;
            found.extend(needs.into_iter().map(|u| (title.clone(), u.oid)));
        }
        found.extend(self.others.iter().map(external_reference::ExternalReference::touches));
        Ok(found)
    }

    /// Goes on without what was refused, and without what uses it.
    pub(crate) fn leave_out(&mut self, title: &str) {
        for copy in self.copies.iter_mut().filter(|copy| copy.title == title) {
            copy.statements = None;
        }
        self.others.retain(|other| other.touches().0 != title);
    }

    /// The changes that are about foreign keys of the table, by position: none is on the shadow.
    pub(crate) fn skipped(&self) -> &[usize] {
        &self.keys.skip
    }

    /// Does `change` (renames) while everything that hangs on the table is there, over the shadow, and
    /// reads it back.
    pub(crate) fn through(
        &mut self,
        shadow: RelationId,
        reasons: &Reasons<'_>,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let made = self.create_all(shadow, reasons)?;
        change()?;
        {
            for copy in &mut self.copies {
                if let Some(oid) = made.get(&copy.origin)
                    && copy.statements.is_some()
                {
                    let _path = self.paths.build_path(&copy.path)?;
                    let build = copy.schema.as_ref().map(|s| self.paths.build_schema(s));
                    copy.statements = Some(kinds::of(copy.kind).statements(*oid, build)?);
                }
            }
        }
        self.filters.read_back(shadow)?;
        for other in &mut self.others {
            other.read_back(&self.paths)?;
        }
        self.drop_all(&made, shadow)
    }

    /// Refuses a new table whose updates and deletions its publications could not send. `shadow` has its
    /// indexes; `pairs` are the columns that correspond.
    pub(crate) fn require_identity(
        &self,
        shadow: RelationId,
        pairs: &[(Ident, Ident)],
        limit: Duration,
        reasons: &Reasons<'_>,
    ) -> Result<()> {
        self.filters.require_identity(&self.table, shadow, pairs, limit, reasons)
    }

    /// Makes everything once over the changed shadow, to see that it can be made, and takes it away.
    pub(crate) fn try_out(&mut self, shadow: RelationId, reasons: &Reasons<'_>) -> Result<()> {
        let made = self.create_all(shadow, reasons)?;
        self.filters.read_back(shadow)?;
        for other in &mut self.others {
            other.read_back(&self.paths)?;
        }
        self.drop_all(&made, shadow)
    }

    /// Where a column has got another type, operators of that type are found beside it.
    fn search_new_types(&mut self, shadow: RelationId) -> Result<()> {
        let schemas = reader::schemas_of_new_types(self.table.oid, shadow)?;
        let others = self.others.iter_mut().map(external_reference::ExternalReference::path);
        for path in self.copies.iter_mut().map(|copy| &mut copy.path).chain(others) {
            let new = schemas.iter().filter(|schema| !path.contains(schema)).cloned();
            path.extend(new.collect::<Vec<_>>());
        }
        Ok(())
    }

    fn create_all(&mut self, shadow: RelationId, reasons: &Reasons<'_>) -> Result<Made> {
        self.search_new_types(shadow)?;
        self.paths.open()?;
        let making = Making {
            paths: &self.paths,
            tables: &Tables::new(self.table.oid, shadow, self.by_hand)?,
            exact: Exact::Compare(self.unchanged),
            cascade: self.cascade,
            reasons,
        };
        let made = make_all(&mut self.copies, &making)?;
        self.filters.make(&self.table, &making)?;
        for other in &mut self.others {
            other.make(&made, &making, self.unchanged)?;
        }
        Ok(made)
    }

    fn drop_all(&self, made: &Made, shadow: RelationId) -> Result<()> {
        for other in &self.others {
            other.drop_trial()?;
        }
        self.filters.remove(shadow)?;
        for copy in self.copies.iter().rev() {
            if let Some(oid) = made.get(&copy.origin) {
                drop_copy(copy, *oid, made, &self.paths)?;
            }
        }
        self.paths.close()
    }

    /// Puts the marks on the new table: before the changes, which may rename what they name. Row security
    /// is on before anyone may read blue.
    pub(crate) fn mark(&self, reasons: &Reasons<'_>) -> Result<()> {
        let _path = self.paths.build_path(&[])?;
        for (statement, _) in &self.marks {
            if let Err(caught) = xact::subtransaction(|| spi::run(statement, &[])) {
                let cause = cause(caught)?;
                reasons
                    .refuse(broken(&format!("what the live table has ({statement})"), &cause))?;
            }
        }
        Ok(())
    }

    /// Gives up what uses a column that the new table does not have, or refuses. A column of the same
    /// name that the changes add is another one.
    pub(crate) fn require_columns(
        &mut self,
        pairs: &[(Ident, Ident)],
        reasons: &Reasons<'_>,
    ) -> Result<()> {
        let gone: Vec<_> = catalog::columns(self.table.oid)?
            .into_iter()
            .filter(|c| !pairs.iter().any(|(origin, _)| *origin == c.name))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        for copy in &mut self.copies {
            let catalog = kinds::of(copy.kind).catalog;
            let used = reader::columns_used(catalog, copy.origin, self.table.oid)?;
            if let Some(column) = gone.iter().find(|c| used.contains(&c.attnum)) {
                let name = crate::ident::plain(column.name.as_str());
                if !self.dropped.contains(&column.name) {
                    reasons.refuse(broken(&copy.title, &format!("column {name} is dropped")))?;
                }
                copy.statements = None;
            }
        }
        Ok(())
    }

    /// What prepare records.
    pub(crate) fn record(
        self,
        onto: &Recorded<'_>,
        blue: impl Fn(&Ident) -> Result<Ident>,
        reasons: &Reasons<'_>,
    ) -> Result<Dependents> {
        let &Recorded { shadow, name, pairs, session } = onto;
        let marks = {
            let _path = self.paths.build_path(&[])?;
            reader::marks(shadow)?
        };
        for copy in self.copies.iter().filter(|c| c.kind != DependentKind::Function) {
            if let Some(schema) = &copy.schema
                && copy.statements.is_some()
            {
                reasons.part(|| require_free(&blue(schema)?, &copy.name, &copy.title))?;
            }
        }
        let carried = foreign_key::Carried {
            table: &self.table,
            shadow,
            name,
            pairs,
            followed: &self.keys,
            reasons,
        };
        let mut moves = foreign_key::discover(&carried, self.cascade)?;
        moves.extend(foreign_key::added(&carried, session)?);
        let (rules, copies) =
            self.copies.into_iter().partition(|copy| is_rule_of(copy, self.table.oid));
        let rules: Vec<Replica> = rules;
        let source = self.table.qualified();
        moves.extend(rules.into_iter().map(|rule| {
            let off = vec![ddl::drop_part("RULE", &rule.name, &source)];
            let original = self.rules.get(&rule.origin).cloned().unwrap_or_default();
            ReattachedObject {
                part: Some((DependentKind::Rule, source.clone())),
                origin: DetachAttach { off: off.clone(), ..original },
                shadow: rule.statements.map(|on| DetachAttach {
                    off,
                    on,
                    uses: rule.uses,
                    tree: rule.tree,
                }),
                path: rule.path,
                title: rule.title,
                table: None,
                validate: None,
                names: (rule.name, None),
            }
        }));
        moves.extend(self.filters.moves(&self.table, pairs, self.cascade, reasons)?);
        moves.extend(self.others.into_iter().map(external_reference::ExternalReference::into_move));
        Ok(Dependents {
            schemas: self.schemas,
            copies,
            moves,
            marks: marks.into_iter().filter(|(_, late)| *late).map(|(s, _)| s).collect(),
        })
    }
}
