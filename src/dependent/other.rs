//! Policies and rules of other tables that read or write this one: they stay where they are, and
//! are given their expressions again in the swap.

use std::collections::HashMap;

use crate::catalog::Table;
use crate::catalog::dependent as reader;
use crate::ddl::dependent as ddl;
use crate::ddl::schema;
use crate::dependent::site::Site;
use crate::dependent::{broken, cause, kind, uses};
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{Move, Said, Uses};
use crate::pg::spi;
use crate::pg::xact;

/// One of them, on its way through the changes.
pub(super) struct Other {
    found: reader::Other,
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
}

/// Finds them.
pub(super) fn discover(table: u32, family: &[u32], site: &Site) -> Result<Vec<Other>> {
    let mut others = Vec::new();
    for (n, found) in reader::others(table, family)?.into_iter().enumerate() {
        let _path = site.live_path(Some(&found.schema))?;
        let said = reader::say(found.kind, found.oid)?;
        let before = uses::recorded(&kind::of(found.kind).needs(found.oid)?, &HashMap::new());
        let original = kind::of(found.kind).statements(found.oid, None)?;
        others.push(Other {
            make: original.clone(),
            original,
            shadow: Some(said.clone()),
            origin: said,
            trial: Ident::new(format!("{}_trial_{n}", site.build_schemas()[0].as_str())),
            standing: false,
            before,
            after: Uses::new(),
            found,
        });
    }
    Ok(others)
}

impl Other {
    /// Its title, and the table that it is on.
    pub(super) fn touches(&self) -> (String, u32) {
        (self.found.title.clone(), self.found.relation)
    }

    fn table(&self) -> QualifiedName {
        QualifiedName { schema: self.found.schema.clone(), name: self.found.relation_name.clone() }
    }

    /// Makes it on an empty table of the same form, over the copies.
    pub(super) fn make(
        &mut self,
        site: &Site,
        made: &HashMap<u32, u32>,
        table: &Table,
        shadow: u32,
        cascade: bool,
        exact: bool,
    ) -> Result<()> {
        if self.shadow.is_none() {
            return Ok(());
        }
        let trial =
            QualifiedName { schema: self.trial.clone(), name: self.found.relation_name.clone() };
        spi::run(&schema::create(&self.trial), &[])?;
        spi::run(&ddl::create_trial(&trial, &self.table()), &[])?;
        self.standing = true;
        let tried = xact::subtransaction(|| {
            let _path = site.trial_path(&self.trial, &self.found.schema)?;
            self.make.iter().try_for_each(|s| spi::run(s, &[]).map(drop))
        });
        if let Err(caught) = tried {
            let cause = cause(caught)?;
            if !cascade {
                return Err(broken(&self.found.title, &cause));
            }
            self.shadow = None;
            return Ok(());
        }
        let (relation, oid) = self.standing()?;
        let mut family = made.clone();
        family.extend([(table.oid, shadow), (self.found.relation, relation)]);
        let before = kind::of(self.found.kind).needs(self.found.oid)?;
        let after = kind::of(self.found.kind).needs(oid)?;
        let owner = reader::owner(self.found.relation)?;
        uses::compare(&self.found.title, &before, &after, &family, owner, exact)?;
        self.after = uses::recorded(&after, &family);
        Ok(())
    }

    fn standing(&self) -> Result<(u32, u32)> {
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

    fn made(&self) -> Result<Option<u32>> {
        let trial =
            QualifiedName { schema: self.trial.clone(), name: self.found.relation_name.clone() };
        match crate::catalog::relation_oid(&trial)? {
            Some(relation) => {
                reader::part(kind::of(self.found.kind).catalog, relation, &self.found.name)
            }
            None => Ok(None),
        }
    }

    /// Reads it back.
    pub(super) fn read_back(&mut self, site: &Site) -> Result<()> {
        if self.shadow.is_some()
            && let Some(oid) = self.made()?
        {
            let _path = site.trial_path(&self.trial, &self.found.schema)?;
            self.make = kind::of(self.found.kind).statements(oid, None)?;
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
    pub(super) fn into_move(self) -> Move {
        let table = self.table();
        let word = self.found.kind.word().to_uppercase();
        let drop = ddl::drop_part(&word, &self.found.name, &table);
        let origin = match &self.shadow {
            Some(_) => Said { off: Vec::new(), on: self.origin.clone(), uses: self.before },
            // Left behind by CASCADE: gone while the shadow is live.
            None => Said { off: vec![drop], on: self.original.clone(), uses: self.before },
        };
        Move {
            title: self.found.title.clone(),
            table: Some(table.clone()),
            origin,
            shadow: self.shadow.map(|on| Said { off: Vec::new(), on, uses: self.after }),
            part: Some((self.found.kind, table)),
            validate: None,
            names: (self.found.name, None),
        }
    }
}
