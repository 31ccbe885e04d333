//! Publications that name the table: out and in again in the swap, after the drain and before
//! anybody writes, so that subscribers get every change once and need no REFRESH.

use std::time::Duration;

use crate::catalog::{Table, dependent as reader};
use crate::ddl::dependent as ddl;
use crate::dependent::failure::{broken, cause};
use crate::dependent::identity::{self, Member};
use crate::dependent::policy;
use crate::dependent::replica::Making;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{DetachAttach, ReattachedObject, Uses};
use crate::oid::RelationId;
use crate::pg::reasons::Reasons;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;

/// The publications, with their row filters on the way through the changes.
pub(super) struct Filters(Vec<Filter>);

struct Filter {
    published: reader::Published,
    /// The filter over the new definition.
    adapted: Option<String>,
    /// The changes drop the table's membership with CASCADE.
    dropped: bool,
}

/// Publications that name the table.
pub(super) fn filters(table: RelationId) -> Result<Filters> {
    let found = reader::publications(table)?;
    let filters = found.into_iter().map(|published| Filter {
        adapted: published.filter.clone(),
        published,
        dropped: false,
    });
    Ok(Filters(filters.collect()))
}

/// A row filter is led through the changes as a policy of the shadow's, which is of the same form.
fn stand_in(n: usize) -> Ident {
    Ident::new(format!("a row filter of pg_bluegreen, number {n}"))
}

impl Filters {
    /// Puts the filters on the shadow.
    pub(super) fn make(&mut self, table: &Table, making: &Making<'_>) -> Result<()> {
        let paths = making.paths;
        let shadow =
            QualifiedName { schema: paths.build_schemas()[0].clone(), name: table.name.clone() };
        for (n, filter) in self.0.iter_mut().enumerate() {
            let Some(expression) = filter.adapted.clone().filter(|_| !filter.dropped) else {
                continue;
            };
            let sql = ddl::create_filter(&stand_in(n), &shadow, &expression);
            if let Err(caught) = xact::subtransaction(|| spi::run(&sql, &[])) {
                let cause = cause(caught)?;
                if !making.cascade {
                    making.reasons.refuse(broken(&title(&filter.published), &cause))?;
                }
                filter.dropped = true;
            }
        }
        Ok(())
    }

    /// Reads them back.
    pub(super) fn read_back(&mut self, shadow: RelationId) -> Result<()> {
        for (n, filter) in self.0.iter_mut().enumerate() {
            let sql =
                "SELECT pg_catalog.pg_get_expr(p.polqual, p.polrelid) FROM pg_catalog.pg_policy p
                        WHERE p.polrelid = $1 AND p.polname = $2";
            let name = stand_in(n);
            if let Some(text) =
                spi::one::<String>(sql, &[Arg::oid(shadow), Arg::Text(name.as_str())])?
            {
                filter.adapted = Some(text);
            }
        }
        Ok(())
    }

    /// Takes them off.
    pub(super) fn remove(&self, shadow: RelationId) -> Result<()> {
        for n in 0..self.0.len() {
            let name = stand_in(n);
            if reader::part(policy::KIND.catalog, shadow, &name)?.is_some() {
                let on = crate::catalog::existing_table(shadow)?.qualified();
                spi::run(&ddl::drop_part("POLICY", &name, &on), &[])?;
            }
        }
        Ok(())
    }

    /// Refuses a new table that one of the publications, or one of the table's schema, could not send.
    pub(super) fn require_identity(
        &self,
        table: &Table,
        shadow: RelationId,
        pairs: &[(Ident, Ident)],
        limit: Duration,
        reasons: &Reasons<'_>,
    ) -> Result<()> {
        let named: Vec<_> = self.0.iter().filter(|filter| !filter.dropped).collect();
        let lists: Vec<_> = named.iter().map(|f| translated(&f.published, pairs)).collect();
        let of_schema = reader::schema_publications(table.oid)?;
        let mut members = Vec::new();
        for (filter, list) in named.iter().zip(&lists) {
            // A list that lacks a column is refused, or left behind.
            let Some(list) = list else { continue };
            members.push(Member {
                publication: &filter.published.name,
                columns: filter.published.columns.is_some().then_some(list.as_slice()),
                filter: filter.adapted.as_deref(),
                sends_generated: filter.published.sends_generated,
            });
        }
        let of_schema =
            of_schema.iter().filter(|p| !members.iter().any(|m| *m.publication == p.name));
        let of_schema: Vec<_> = of_schema
            .map(|p| Member {
                publication: &p.name,
                columns: None,
                filter: None,
                sends_generated: p.sends_generated,
            })
            .collect();
        members.extend(of_schema);
        let name = crate::catalog::existing_table(shadow)?.qualified();
        let joining = identity::Joining { green: table, shadow, name: &name, limit };
        joining.require(&members, reasons)
    }

    /// The moves. `pairs` are the columns that correspond.
    pub(super) fn moves(
        self,
        table: &Table,
        pairs: &[(Ident, Ident)],
        cascade: bool,
        reasons: &Reasons<'_>,
    ) -> Result<Vec<ReattachedObject>> {
        let source = table.qualified();
        let mut moves = Vec::new();
        for filter in self.0 {
            let published = filter.published;
            let title = title(&published);
            let translated = translated(&published, pairs);
            let said = |columns: Option<&[Ident]>, filter: Option<&str>| DetachAttach {
                off: vec![ddl::unpublish(&published.name, &source)],
                on: vec![ddl::publish(&published.name, &source, columns, filter)],
                uses: Uses::new(),
                tree: None,
            };
            let listed = published.columns.is_some();
            let shadow = match &translated {
                Some(columns) if !filter.dropped => {
                    Some(said(listed.then_some(columns.as_slice()), filter.adapted.as_deref()))
                }
                None if !cascade => {
                    reasons.refuse(broken(&title, "a column of its list is dropped"))?;
                    None
                }
                _ => None,
            };
            moves.push(ReattachedObject {
                origin: said(published.columns.as_deref(), published.filter.as_deref()),
                title: title.clone(),
                table: None,
                shadow,
                validate: None,
                part: None,
                names: (published.name, None),
                path: Vec::new(),
            });
        }
        Ok(moves)
    }
}

/// The column list over the new table, empty where there is none; None where it has not all of them.
fn translated(published: &reader::Published, pairs: &[(Ident, Ident)]) -> Option<Vec<Ident>> {
    let to = |c: &Ident| pairs.iter().find(|(o, _)| o == c).map(|(_, s)| s.clone());
    published.columns.iter().flatten().map(to).collect()
}

fn title(published: &reader::Published) -> String {
    format!("publication {}", crate::ident::plain(published.name.as_str()))
}
