//! Misfits: rows of green that cannot be written to blue.
//!
//! The key stays in the log as a row of operation `M`, with the misfit's number as its position;
//! people read `bluegreen.misfit`. Both go when a later batch succeeds, or when the row is gone.
//!
//! Where the row has come from another key, which no row of green has now, blue keeps it there as it was,
//! and that key stays in the log as the misfit's old one.

use std::collections::HashMap;

use crate::ddl::rows::Rows;
use crate::error::Result;
use crate::model::deployment::Deployment;
use crate::pg::lookup::Planned;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Options};
use crate::pg::xact;
use crate::state::change_log::{self, Entry};
use crate::state::rejected_rows::{self, Rejected};
use crate::sync::apply::{self, Failed};
use crate::sync::batch::{self, Batch, Marked};
use crate::sync::log;

/// Writes down what failed, and forgets misfits of the batch that did not fail again.
pub(super) fn record(
    deployment: &Deployment,
    rows: &Rows<'_>,
    batch: &Batch,
    failed: Vec<Failed<'_>>,
) -> Result<()> {
    let mut known: HashMap<usize, &Marked> = batch.misfits.iter().map(|m| (m.key, m)).collect();
    for one in failed {
        match known.remove(&one.item.id) {
            Some(marked) => update(deployment, rows, marked, &one)?,
            None => add(deployment, rows, &one)?,
        }
    }
    for marked in known.into_values() {
        remove(deployment, marked)?;
    }
    Ok(())
}

fn update(
    deployment: &Deployment,
    rows: &Rows<'_>,
    marked: &Marked,
    failed: &Failed<'_>,
) -> Result<()> {
    let (_, row) = describe(deployment, rows, failed);
    if marked.old != failed.stays.map(|item| item.id) {
        batch::forget(deployment, &[marked.place])?;
        mark(deployment, marked.id, failed)?;
    }
    rejected_rows::update(
        marked.id,
        &Rejected { key: None, row: row.as_deref(), error: &failed.error },
    )
}

fn remove(deployment: &Deployment, marked: &Marked) -> Result<()> {
    rejected_rows::remove(marked.id)?;
    batch::forget(deployment, &[marked.place])
}

/// Keeps its key in the log.
fn mark(deployment: &Deployment, id: i64, failed: &Failed<'_>) -> Result<()> {
    let log = log::oid(deployment)?;
    let (key, old) = (&failed.item.key, failed.stays.map(|item| item.key.as_slice()));
    change_log::append_entry(log, &Entry { operation: b'M', order: id, key, old })
}

fn add(deployment: &Deployment, rows: &Rows<'_>, failed: &Failed<'_>) -> Result<()> {
    let (key, row) = describe(deployment, rows, failed);
    let rejected = Rejected { key: key.as_deref(), row: row.as_deref(), error: &failed.error };
    let id = rejected_rows::insert(deployment, &rejected)?;
    mark(deployment, id, failed)
}

/// The key and green's row as JSON, where the types allow it.
fn describe(
    deployment: &Deployment,
    rows: &Rows<'_>,
    failed: &Failed<'_>,
) -> (Option<String>, Option<String>) {
    let described = xact::subtransaction(|| {
        let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
        let _planned = Planned::by_key(&deployment.keyed())?;
        let work = apply::work_of(rows, &[failed.item])?;
        let options = Options { work: &[&work], ..Default::default() };
        spi::with_rows(&rows.describe(), &[], options, |found, _| {
            Ok(if found.is_empty() { (None, None) } else { (found.get(0, 1), found.get(0, 2)) })
        })
    });
    described.unwrap_or((None, None))
}
