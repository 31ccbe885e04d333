//! Misfits: rows of green that cannot be written to blue.
//!
//! The key stays in the log as a row of operation `M`, with the misfit's number as its position;
//! people read `bluegreen.misfit`. Both go when a later batch succeeds, or when the row is gone.
//!
//! Where the row has come from another key, which no row of green has now, blue keeps it there as it was,
//! and that key stays in the log as the misfit's old one.

use std::collections::HashMap;

use crate::ddl::picture::Picture;
use crate::ddl::rows::Rows;
use crate::error::Result;
use crate::model::member::Member;
use crate::pg::lookup::Planned;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Options};
use crate::pg::xact::{self, SubtransactionError};
use crate::state::change_log::{self, Entry};
use crate::state::rejected_rows::{self, Rejected};
use crate::sync::apply::{self, Failed};
use crate::sync::batch::{self, Batch, Marked};
use crate::sync::log;

/// Writes down what failed, and forgets misfits of the batch that did not fail again.
pub(super) fn record(
    member: &Member,
    rows: &Rows<'_>,
    batch: &Batch,
    failed: Vec<Failed<'_>>,
) -> Result<()> {
    let mut known: HashMap<usize, &Marked> = batch.misfits.iter().map(|m| (m.key, m)).collect();
    for one in failed {
        match known.remove(&one.item.id) {
            Some(marked) => update(member, rows, marked, &one)?,
            None => add(member, rows, &one)?,
        }
    }
    for marked in known.into_values() {
        remove(member, marked)?;
    }
    Ok(())
}

fn update(member: &Member, rows: &Rows<'_>, marked: &Marked, failed: &Failed<'_>) -> Result<()> {
    let (_, row) = describe(member, rows, failed)?;
    if marked.old != failed.stays.map(|item| item.id) {
        batch::forget(member, &[marked.place])?;
        mark(member, marked.id, failed)?;
    }
    rejected_rows::update(
        marked.id,
        &Rejected { key: None, row: row.as_deref(), error: &failed.error, set_aside: false },
    )
}

fn remove(member: &Member, marked: &Marked) -> Result<()> {
    rejected_rows::remove(marked.id)?;
    batch::forget(member, &[marked.place])
}

/// Keeps its key in the log.
fn mark(member: &Member, id: i64, failed: &Failed<'_>) -> Result<()> {
    let log = log::oid(member)?;
    let (key, old) = (&failed.item.key, failed.stays.map(|item| item.key.as_slice()));
    change_log::append_entry(log, &Entry { operation: b'M', order: id, key, old })
}

fn add(member: &Member, rows: &Rows<'_>, failed: &Failed<'_>) -> Result<()> {
    let (key, row) = describe(member, rows, failed)?;
    let rejected = Rejected {
        key: key.as_deref(),
        row: row.as_deref(),
        error: &failed.error,
        set_aside: false,
    };
    let id = rejected_rows::insert(member, &rejected)?;
    mark(member, id, failed)
}

/// The key and green's row as JSON, as far as the types allow it.
fn describe(
    member: &Member,
    rows: &Rows<'_>,
    failed: &Failed<'_>,
) -> Result<(Option<String>, Option<String>)> {
    let described = |picture| {
        xact::subtransaction(|| {
            let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
            let _planned = Planned::by_key(&member.keyed())?;
            let work = apply::work_of(rows, &[failed.item])?;
            let options = Options { work: &[&work], ..Default::default() };
            spi::with_rows(&rows.describe(picture), &[], options, |found, _| {
                Ok(if found.is_empty() { (None, None) } else { (found.get(0, 1), found.get(0, 2)) })
            })
        })
    };
    for picture in Picture::ALL {
        match described(picture) {
            Err(caught) if caught.may_be_a_rows() => {}
            said => return said.or_else(SubtransactionError::raise),
        }
    }
    Ok((None, None))
}
