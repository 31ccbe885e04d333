//! Writing a batch to blue, and finding the rows that cannot be written.

use crate::ddl::rows::{self, Rows};
use crate::error::{Error, Result};
use crate::model::deployment::Deployment;
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::{self, Options};
use crate::pg::work::{Column, Work};
use crate::pg::xact;
use crate::sync::batch::Item;

/// An item that cannot be written, and why.
pub struct Failed<'a> {
    /// The item.
    pub item: &'a Item,
    /// The error of its own write.
    pub error: Error,
}

/// A batch's tools.
struct Writer<'a> {
    rows: &'a Rows<'a>,
    snapshot: &'a Snapshot,
    all_columns: Vec<crate::ident::Ident>,
}

/// Makes blue show green's rows for all items; what cannot be written is returned.
pub fn apply<'a>(
    deployment: &Deployment,
    rows: &Rows<'_>,
    snapshot: &Snapshot,
    items: &'a [Item],
) -> Result<Vec<Failed<'a>>> {
    let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
    let mapping = rows.mapping;
    let all_columns = mapping
        .columns
        .iter()
        .map(|c| c.column.clone())
        .chain(mapping.side_only.iter().cloned())
        .collect();
    let writer = Writer { rows, snapshot, all_columns };
    let items: Vec<&Item> = items.iter().collect();
    let mut failed = writer.in_halves(&items, !mapping.upsert)?;
    if failed.len() > 1 {
        failed = writer.together(failed)?;
    }
    Ok(failed)
}

impl Writer<'_> {
    /// The whole; then, deleting first, the whole; then halves.
    fn in_halves<'i>(&self, items: &[&'i Item], replace: bool) -> Result<Vec<Failed<'i>>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let work = self.work(items)?;
        let caught = match xact::subtransaction(|| self.write(&work, replace)) {
            Ok(()) => return Ok(Vec::new()),
            Err(caught) if caught.is_data_error() => caught,
            Err(caught) => return caught.raise(),
        };
        if !replace {
            return self.in_halves(items, true);
        }
        if let [item] = items {
            return Ok(self.alone(item, caught.error));
        }
        let (left, right) = items.split_at(items.len() / 2);
        let mut failed = self.in_halves(left, replace)?;
        failed.extend(self.in_halves(right, replace)?);
        Ok(failed)
    }

    /// A key that is gone and cannot be put into blue's terms was never in blue.
    fn alone<'i>(&self, item: &'i Item, error: Error) -> Vec<Failed<'i>> {
        let present = item.kind != b'g' || self.green_has(item).unwrap_or(true);
        if present { vec![Failed { item, error }] } else { Vec::new() }
    }

    fn green_has(&self, item: &Item) -> Result<bool> {
        let work = self.work(&[item])?;
        let options =
            Options { snapshot: Some(self.snapshot), work: &[&work], ..Default::default() };
        spi::with_rows(&self.rows.present(), &[], options, |rows, _| Ok(!rows.is_empty()))
    }

    /// Those that fail alone may only stand in each other's way: all are taken out, then each is
    /// written; a row that still fails goes back as it was.
    fn together<'i>(&self, failed: Vec<Failed<'i>>) -> Result<Vec<Failed<'i>>> {
        let mut taken = Vec::new();
        for one in &failed {
            let work = self.work(&[one.item])?;
            let kept = match xact::subtransaction(|| self.take_out(&work, true)) {
                Ok(kept) => kept,
                Err(caught) if caught.is_data_error() => None,
                Err(caught) => return caught.raise(),
            };
            taken.push((work, kept));
        }
        let mut still = Vec::new();
        for (one, (work, kept)) in failed.into_iter().zip(taken) {
            match xact::subtransaction(|| self.put(&work, kept.as_ref(), true)) {
                Ok(()) => {}
                Err(caught) if caught.is_data_error() => {
                    if let Some(kept) = &kept {
                        let _gone_if_it_fails = xact::subtransaction(|| self.restore(kept));
                    }
                    still.push(Failed { item: one.item, error: caught.error });
                }
                Err(caught) => return caught.raise(),
            }
        }
        Ok(still)
    }

    fn write(&self, work: &Work, replace: bool) -> Result<()> {
        let kept = self.take_out(work, replace)?;
        self.put(work, kept.as_ref(), replace)
    }

    fn take_out(&self, work: &Work, replace: bool) -> Result<Option<Work>> {
        let sql = self.rows.take_out(replace, &self.all_columns);
        let options =
            Options { snapshot: Some(self.snapshot), work: &[work], ..Default::default() };
        spi::with_rows(&sql, &[], options, |rows, _| {
            Ok(if rows.is_empty() { None } else { Some(Work::from_rows(rows::KEPT, rows)?) })
        })
    }

    fn put(&self, work: &Work, kept: Option<&Work>, replace: bool) -> Result<()> {
        let side_only = !self.rows.mapping.side_only.is_empty();
        let snapshot = Some(self.snapshot);
        match kept.filter(|_| side_only) {
            None => {
                let sql = self.rows.write(replace, false);
                spi::run_with(
                    &sql,
                    &[],
                    Options { snapshot, work: &[work], ..Default::default() },
                )?;
            }
            Some(kept) => {
                for sql in [
                    self.rows.write(replace, true),
                    self.rows.put_back(),
                    self.rows.put_back_in_transit(&self.all_columns),
                ] {
                    spi::run_with(
                        &sql,
                        &[],
                        Options { snapshot, work: &[work, kept], ..Default::default() },
                    )?;
                }
            }
        }
        Ok(())
    }

    fn restore(&self, kept: &Work) -> Result<()> {
        let options =
            Options { snapshot: Some(self.snapshot), work: &[kept], ..Default::default() };
        spi::run_with(&self.rows.restore(&self.all_columns), &[], options)?;
        Ok(())
    }

    fn work(&self, items: &[&Item]) -> Result<Work> {
        work_of(self.rows, items)
    }
}

/// Items as rows for our statements.
pub fn work_of(rows: &Rows<'_>, items: &[&Item]) -> Result<Work> {
    let key = &rows.mapping.from_key.columns;
    let mut columns = vec![Column {
        name: rows::KIND.to_owned(),
        type_oid: pgrx::pg_sys::CHAROID.to_u32(),
        collation: 0,
    }];
    for name in [rows::origin_column, rows::final_column] {
        columns.extend(key.iter().enumerate().map(|(i, k)| Column {
            name: name(i),
            type_oid: k.type_oid,
            collation: k.collation,
        }));
    }
    let mut work = Work::new(rows::WORK, &columns)?;
    for item in items {
        let mut values = vec![Some(pgrx::pg_sys::Datum::from(item.kind as i8))];
        values.extend_from_slice(&item.origin);
        values.extend_from_slice(&item.last);
        work.push(&values);
    }
    Ok(work)
}
