//! Where copies are made: schemas of the deployment's own, and the search_paths by which one text
//! means the original or the copy.

use crate::catalog;
use crate::ddl;
use crate::error::Result;
use crate::ident::Ident;
use crate::pg::security::{self, SettingsLevel};
use crate::pg::spi;

/// The schemas of a deployment, pairwise: those that the objects live in, and those in which their
/// copies are made.
pub(crate) struct SearchPaths {
    live: Vec<Ident>,
    build: Vec<Ident>,
}

impl SearchPaths {
    /// `live`: the table's schema first. `staging`: the deployment's own schema, in which the shadow
    /// stands while copies are made.
    pub(crate) fn new(live: &[Ident], staging: &Ident) -> Self {
        let build = (0..live.len().max(1)).map(|n| match n {
            0 => staging.clone(),
            n => Ident::new(format!("{}_{n}", staging.as_str())),
        });
        Self { live: live.to_vec(), build: build.collect() }
    }

    /// The schema in which the copy of an object of `live` is made.
    pub(crate) fn build_schema(&self, live: &Ident) -> &Ident {
        let at = self.live.iter().position(|l| l == live).unwrap_or(0);
        &self.build[at]
    }

    /// All schemas in which copies are made.
    pub(crate) fn build_schemas(&self) -> &[Ident] {
        &self.build
    }

    /// Makes the schemas beyond the staging schema, which is there.
    pub(crate) fn open(&self) -> Result<()> {
        for schema in &self.build[1..] {
            spi::run(&ddl::schema::create(schema), &[])?;
            catalog::require_own_schema(schema)?;
        }
        Ok(())
    }

    /// Drops them again; they are empty.
    pub(crate) fn close(&self) -> Result<()> {
        for schema in &self.build[1..] {
            spi::run(&ddl::schema::drop_if_exists(schema), &[])?;
        }
        Ok(())
    }

    /// While the guard lives, names mean the live objects. `first` stands in front, `last` at the end.
    pub(crate) fn live_path(&self, first: Option<&Ident>, last: &[Ident]) -> Result<SettingsLevel> {
        path(first.into_iter().chain(&self.live).chain(last))
    }

    /// While the guard lives, names mean the copies where there are any. A copy stands directly before
    /// its original's schema, so that the order in which names are found stays the same.
    pub(crate) fn build_path(&self, last: &[Ident]) -> Result<SettingsLevel> {
        path(self.pairs().chain(last))
    }

    /// The same for an object of `schema`, made on a table in `trial`: what `live_path` prints with
    /// that schema in front.
    pub(crate) fn trial_path(
        &self,
        trial: &Ident,
        schema: &Ident,
        last: &[Ident],
    ) -> Result<SettingsLevel> {
        let copies = self.live.contains(schema).then(|| self.build_schema(schema));
        path([trial].into_iter().chain(copies).chain([schema]).chain(self.pairs()).chain(last))
    }

    fn pairs(&self) -> impl Iterator<Item = &Ident> {
        self.build.iter().zip(&self.live).flat_map(|(build, live)| [build, live])
    }
}

fn path<'a>(schemas: impl Iterator<Item = &'a Ident>) -> Result<SettingsLevel> {
    let level = SettingsLevel::open();
    let names: Vec<_> = schemas.map(Ident::to_string).collect();
    security::set("search_path", &format!("{}, pg_temp", names.join(", ")))?;
    Ok(level)
}
