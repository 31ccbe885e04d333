//! Policies and rules of other tables that read or write this one: they stay where they are, and
//! are given their expressions again in the swap.

use std::collections::HashMap;

use crate::catalog::{dependent as reader, tree};
use crate::ddl::dependent as ddl;
use crate::ddl::schema;
use crate::dependent::failure::broken;
use crate::dependent::failure::cause;
use crate::dependent::kinds;
use crate::dependent::pg_depend;
use crate::dependent::replica::Making;
use crate::dependent::search_paths::SearchPaths;
use crate::dependent::trees;
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{DetachAttach, ReattachedObject, Uses};
use crate::model::tree::{Counterparts, written};
use crate::oid::{ObjectId, RelationId};
use crate::pg::spi;
use crate::pg::xact;

/// One of them, on its way through the changes.
pub(super) struct ExternalReference {
    found: reader::ExternalReference,
    /// Makes it.
    original: Vec<String>,
    /// Makes it on a trial table, over the definition as it is by now.
    make: Vec<String>,
    /// What it says about the origin.
    origin: Vec<String>,
    /// What it says about the shadow.
    shadow: Option<Vec<String>>,
    /// The schema of the trial table.
    trial: Ident,
    standing: bool,
    /// What it depends on, over the origin.
    before: Uses,
    /// The same over the shadow.
    after: Uses,
    /// Its trees over the origin, and over the shadow.
    trees: (String, Option<String>),
    /// Schemas that are searched last.
    path: Vec<Ident>,
}

/// Finds them.
pub(super) fn discover(
    table: RelationId,
    family: &[ObjectId],
    paths: &SearchPaths,
) -> Result<Vec<ExternalReference>> {
    let mut others = Vec::new();
    for (n, found) in reader::others(table, family)?.into_iter().enumerate() {
        let parts =
            tree::parts(kinds::of(found.kind).catalog, found.oid, &Counterparts::default())?;
        let path = tree::unnamed_schemas(&parts)?;
        let _path = paths.live_path(Some(&found.schema), &path)?;
        let said = reader::say(found.kind, found.oid)?;
        let before = pg_depend::recorded(&kinds::of(found.kind).needs(found.oid)?, &HashMap::new());
        let original = kinds::of(found.kind).statements(found.oid, None)?;
        others.push(ExternalReference {
            make: original.clone(),
            original,
            shadow: Some(said.clone()),
            origin: said,
            trial: Ident::new(format!("{}_trial_{n}", paths.build_schemas()[0].as_str())),
            standing: false,
            before,
            after: Uses::new(),
            trees: (written(&parts), None),
            path,
            found,
        });
    }
    Ok(others)
}

impl ExternalReference {
    /// Its title, and the table that it is on.
    pub(super) fn touches(&self) -> (String, ObjectId) {
        (self.found.title.clone(), self.found.relation.into())
    }

    fn table(&self) -> QualifiedName {
        QualifiedName { schema: self.found.schema.clone(), name: self.found.relation_name.clone() }
    }

    /// Makes it on an empty table of the same form, over the copies. Where it is refused it is left out.
    pub(super) fn make(
        &mut self,
        made: &HashMap<ObjectId, ObjectId>,
        making: &Making<'_>,
        exact: bool,
    ) -> Result<()> {
        if self.shadow.is_none() {
            return Ok(());
        }
        if making.reasons.part(|| self.try_out(made, making, exact))?.is_none() {
            (self.shadow, self.standing) = (None, false);
        }
        Ok(())
    }

    fn try_out(
        &mut self,
        made: &HashMap<ObjectId, ObjectId>,
        making: &Making<'_>,
        exact: bool,
    ) -> Result<()> {
        let tables = making.tables;
        let trial =
            QualifiedName { schema: self.trial.clone(), name: self.found.relation_name.clone() };
        spi::run(&schema::create(&self.trial), &[])?;
        spi::run(&ddl::create_trial(&trial, &self.table()), &[])?;
        self.standing = true;
        let tried = xact::subtransaction(|| {
            let _path = making.paths.trial_path(&self.trial, &self.found.schema, &self.path)?;
            self.make.iter().try_for_each(|s| spi::run(s, &[]).map(drop))
        });
        if let Err(caught) = tried {
            let cause = cause(caught)?;
            if !making.cascade {
                return Err(broken(&self.found.title, &cause));
            }
            self.shadow = None;
            return Ok(());
        }
        let (relation, oid) = self.standing()?;
        let mut family = made.clone();
        family.extend([
            (ObjectId::from(tables.table), ObjectId::from(tables.shadow)),
            (self.found.relation.into(), relation.into()),
        ]);
        let kind = kinds::of(self.found.kind);
        let before = kind.needs(self.found.oid)?;
        let after = kind.needs(oid)?;
        let owner = reader::owner(self.found.relation.into())?;
        pg_depend::compare(&self.found.title, (&before, &after), &family, owner, exact)?;
        self.after = pg_depend::recorded(&after, &family);
        let of_trial = tree::columns_in_order(self.found.relation)?;
        let columns = [(tables.shadow, tables.columns.clone()), (relation, of_trial)];
        let known = tree::counterparts(&family, columns)?;
        let original = tree::parts(kind.catalog, self.found.oid, &Counterparts::default())?;
        let made_now = tree::parts(kind.catalog, oid, &known)?;
        trees::prove(&self.found.title, &original, &made_now, tables.retyped)?;
        let own = known.with_own_numbers(tables.shadow);
        self.trees.1 = Some(written(&tree::parts(kind.catalog, oid, &own)?));
        Ok(())
    }

    /// Schemas that are searched last when it is said.
    pub(super) fn path(&mut self) -> &mut Vec<Ident> {
        &mut self.path
    }

    fn standing(&self) -> Result<(RelationId, ObjectId)> {
        let trial =
            QualifiedName { schema: self.trial.clone(), name: self.found.relation_name.clone() };
        let relation = crate::catalog::relation_oid(&trial)?;
        match (relation, self.made()?) {
            (Some(relation), Some(oid)) => Ok((relation, oid)),
            _ => Err(Error::unsupported(format!(
                "{} cannot be told over the new table: two tables have the same name in different schemas",
                self.found.title
            ))
            .hint("Rename one of them for the deployment.")),
        }
    }

    fn made(&self) -> Result<Option<ObjectId>> {
        let trial =
            QualifiedName { schema: self.trial.clone(), name: self.found.relation_name.clone() };
        match crate::catalog::relation_oid(&trial)? {
            Some(relation) => {
                reader::part(kinds::of(self.found.kind).catalog, relation, &self.found.name)
            }
            None => Ok(None),
        }
    }

    /// Reads it back.
    pub(super) fn read_back(&mut self, paths: &SearchPaths) -> Result<()> {
        if self.shadow.is_some()
            && let Some(oid) = self.made()?
        {
            let _path = paths.trial_path(&self.trial, &self.found.schema, &self.path)?;
            self.make = kinds::of(self.found.kind).statements(oid, None)?;
            self.shadow = Some(reader::say(self.found.kind, oid)?);
        }
        Ok(())
    }

    /// Takes the trial away.
    pub(super) fn drop_trial(&self) -> Result<()> {
        if self.standing {
            let trial = QualifiedName {
                schema: self.trial.clone(),
                name: self.found.relation_name.clone(),
            };
            spi::run(&ddl::drop_in_schema("TABLE", &trial), &[])?;
            spi::run(&schema::drop_if_exists(&self.trial), &[])?;
        }
        Ok(())
    }

    /// What the swap does. The schema of the other table stands first in the search_path, for it is
    /// printed without.
    pub(super) fn into_move(self) -> ReattachedObject {
        let table = self.table();
        let word = self.found.kind.word().to_uppercase();
        let drop = ddl::drop_part(&word, &self.found.name, &table);
        let (over_origin, over_shadow) = self.trees;
        let (off, on) = match &self.shadow {
            Some(_) => (Vec::new(), self.origin),
            // Left behind by CASCADE: gone while the shadow is live.
            None => (vec![drop], self.original),
        };
        let origin = DetachAttach { off, on, uses: self.before, tree: Some(over_origin) };
        ReattachedObject {
            title: self.found.title.clone(),
            table: Some(table.clone()),
            origin,
            shadow: self.shadow.map(|on| DetachAttach {
                off: Vec::new(),
                on,
                uses: self.after,
                tree: over_shadow,
            }),
            part: Some((self.found.kind, table)),
            validate: None,
            names: (self.found.name, None),
            path: self.path,
        }
    }
}
