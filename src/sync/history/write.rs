//! Writing earlier versions of rows to blue, and finding those that do not fit.

use std::collections::HashMap;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;

use crate::catalog;
use crate::ddl::rows;
use crate::error::{Error, Result};
use crate::heap::generated;
use crate::heap::versions::Begun;
use crate::heap::versions::Ended;
use crate::heap::versions::Xid;
use crate::heap::versions_insert;
use crate::ident::Ident;
use crate::oid::{RelationId, TransactionId};
use crate::pg::security::Identity;
use crate::pg::tid::Place;
use crate::pg::transient_relation::Column;
use crate::pg::transient_relation::Work;
use crate::pg::xact::SubtransactionError;
use crate::plan::event_fold::Origin;
use crate::sync::history::means::needs_only_stored;
use crate::sync::history::round::{Found, Round};

/// Versions that were written, with their places in blue, and those that do not fit there.
pub(super) type Written<'f> = (Vec<(Place, &'f Found)>, Vec<&'f Found>);

/// Writes versions of green to blue. A batch that fails is divided, down to the version.
pub(super) fn versions<'f>(round: &Round<'_>, earlier: &[&'f Found]) -> Result<Written<'f>> {
    if earlier.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let (table, stored) = (round.tables.member.blue(), round.tables.rows.mapping.stored());
    if !needs_only_stored(round.tables.member)? {
        return Ok((Vec::new(), earlier.to_vec()));
    }
    match generated::written(table, &stored, || round.write(earlier)) {
        Ok(written) => Ok((written, Vec::new())),
        Err(caught) if !is_of_the_row(&caught) => caught.raise(),
        Err(_) if earlier.len() == 1 => Ok((Vec::new(), earlier.to_vec())),
        Err(_) => {
            let (left, right) = earlier.split_at(earlier.len() / 2);
            let (mut written, mut unfit) = versions(round, left)?;
            let (more, others) = versions(round, right)?;
            written.extend(more);
            unfit.extend(others);
            Ok((written, unfit))
        }
    }
}

/// It does not fit, or its long values are gone.
fn is_of_the_row(caught: &SubtransactionError) -> bool {
    caught.may_be_a_rows() || caught.error.code == PgSqlErrorCode::ERRCODE_DATA_CORRUPTED
}

impl Round<'_> {
    /// Writes versions of green to blue; each with its place there.
    fn write<'f>(&self, earlier: &[&'f Found]) -> Result<Vec<(Place, &'f Found)>> {
        let (columns, side) = {
            let _us = Identity::extension()?;
            // A virtual column, whose value no version has, must not be read as NULL.
            let mut columns = catalog::columns(self.tables.member.green())?;
            columns.retain(|column| !column.is_virtual());
            (columns, self.side_columns()?)
        };
        let lineage = if side.is_empty() { HashMap::new() } else { self.batch.lineages() };
        let mut alone = Group::new(&columns, &[])?;
        let mut with_side = Group::new(&columns, &side)?;
        for one in earlier {
            let values = self.green.values(&one.version);
            let mut row: Vec<Option<Datum>> =
                columns.iter().map(|c| values[c.attnum as usize - 1]).collect();
            let before = if side.is_empty() { None } else { self.row_before(one, &lineage) };
            match before {
                Some(before) => {
                    let before = self.blue.values(&before.version);
                    row.extend(side.iter().map(|c| before[c.attnum as usize - 1]));
                    with_side.push(&row, one);
                }
                None => alone.push(&row, one),
            }
        }
        let _owner =
            Identity::table_owner(self.tables.member.owner, &self.tables.member.plan.session)?;
        let mut written =
            alone.write(self.tables.member.blue(), &self.tables.rows.write_versions(false))?;
        let sql = self.tables.rows.write_versions(true);
        written.extend(with_side.write(self.tables.member.blue(), &sql)?);
        Ok(written)
    }

    /// Blue's columns that green has no value for, in the mapping's order.
    fn side_columns(&self) -> Result<Vec<catalog::Column>> {
        let names = &self.tables.rows.mapping.side_only;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let columns = catalog::columns(self.tables.member.blue())?;
        let of = |name: &Ident| columns.iter().find(|c| c.name == *name).cloned();
        names
            .iter()
            .map(|name| {
                of(name).ok_or_else(|| {
                    Error::state(format!("column {name} of a table of the deployment does not exist"))
                        .hint("Undo what has changed the table, or end the deployment with SELECT bg_abort(table), after a swap with SELECT bg_finish(table).")
                })
            })
            .collect()
    }

    /// Blue's row, before the batch, that a version of green belongs to.
    fn row_before(
        &self,
        one: &Found,
        lineage: &HashMap<(usize, TransactionId), Origin>,
    ) -> Option<&Found> {
        let shares = |row: &Found, keys: &[usize]| row.keys.iter().any(|key| keys.contains(key));
        // Of a try that was rolled back: the same version.
        let left = self.there.iter().find(|row| {
            self.alike(&row.version, &one.version)
                && row.version.ended == one.version.ended
                && shares(row, &one.keys)
        });
        if left.is_some() {
            return left;
        }
        let by = match one.version.begun {
            Begun::By(xid) => Some(Xid::into_inner(xid)),
            Begun::Ours | Begun::Frozen => None,
        };
        let known = by.and_then(|by| one.keys.iter().find_map(|key| lineage.get(&(*key, by))));
        let keys = match known {
            Some(Origin::From(key)) => vec![*key],
            Some(Origin::Fresh | Origin::Gone) => return None,
            None => one.keys.clone(),
        };
        self.there.iter().find(|row| {
            row.version.begun != Begun::Ours
                && row.version.ended == Ended::Ours
                && shares(row, &keys)
        })
    }
}

/// Versions that are written by one statement.
struct Group<'f> {
    work: Work,
    versions: Vec<&'f Found>,
}

impl<'f> Group<'f> {
    fn new(columns: &[catalog::Column], side: &[catalog::Column]) -> Result<Self> {
        let column = |c: &catalog::Column, name: String| Column {
            name,
            type_oid: c.type_oid,
            collation: c.collation,
        };
        let own = columns.iter().map(|c| column(c, c.name.as_str().to_owned()));
        let side = side.iter().enumerate().map(|(i, c)| column(c, rows::side_column(i)));
        let work = Work::new(rows::VERSIONS, &own.chain(side).collect::<Vec<_>>())?;
        Ok(Self { work, versions: Vec::new() })
    }

    fn push(&mut self, row: &[Option<Datum>], version: &'f Found) {
        self.work.push(row);
        self.versions.push(version);
    }

    fn write(self, table: RelationId, sql: &str) -> Result<Vec<(Place, &'f Found)>> {
        if self.versions.is_empty() {
            return Ok(Vec::new());
        }
        let places = versions_insert::insert(sql, &self.work, table)?;
        Ok(places.into_iter().zip(self.versions).collect())
    }
}
