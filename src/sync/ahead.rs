//! Applying before a swap's locks what its last drain would apply under them.
//!
//! It is a round of sync in the swap's own transaction, which nobody sees yet: writers go on meanwhile. The log
//! rows stay. The last drain reads them again, applies what has come since, and keeps the history of all
//! ([`super::history`]), for which nobody may write.
//!
//! A round that has more to it is left to the last drain: one with a TRUNCATE, with rejected rows, or with rows
//! that moved to other keys while only blue has some columns, whose values are found by the order of all events.
//!
//! Locks: ACCESS SHARE on green, ROW EXCLUSIVE on blue. Called in the try's subtransaction, so that a try that
//! does not get its locks gives these back too: a TRUNCATE of the application would wait for them.

use std::collections::HashSet;

use crate::ddl::rows::Rows;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::model::deployment::Deployment;
use crate::pg::lock::{self, Mode};
use crate::pg::snapshot::Snapshot;
use crate::pg::tid::Place;
use crate::pg::xact::{self, Caught};
use crate::state::{rejected_rows, truncation};
use crate::sync::apply;
use crate::sync::batch::{self, Batch};

/// Log rows that have been applied, and are still there.
#[derive(Debug, Default)]
pub(crate) struct Ahead(HashSet<Place>);

impl Ahead {
    /// How many.
    pub(crate) fn len(&self) -> i64 {
        self.0.len() as i64
    }

    /// What is left of a batch; None: nothing of it can be left out.
    pub(super) fn rest_of(&self, batch: &Batch) -> Option<Batch> {
        (!self.0.is_empty() && batch.misfits.is_empty()).then(|| batch.without(&self.0))
    }
}

/// Applies what is in the log, `limit` rows at most.
pub(crate) fn apply(deployment: &Deployment, limit: i64) -> Result<Ahead> {
    if rejected_rows::is_any(deployment.id)? {
        return Ok(Ahead::default());
    }
    lock::relation(deployment.green(), Mode::AccessShare);
    let snapshot = Snapshot::now();
    if truncation::is_marked(deployment.id, &snapshot)? {
        return Ok(Ahead::default());
    }
    let mut is_left = false;
    let done = xact::subtransaction(|| {
        batch::with_events(deployment, &snapshot, limit, None, false, |batch| {
            let places = apply_batch(deployment, &snapshot, &batch)?;
            is_left = places.is_none();
            // What was written of it is rolled back.
            places.ok_or_else(|| Error::internal("the batch is left to the last drain"))
        })
    });
    match done {
        Ok(places) => {
            failpoint::reach("drain_ahead");
            Ok(Ahead(places))
        }
        Err(_) if is_left => Ok(Ahead::default()),
        Err(caught) if caught.is_data_error() => Ok(Ahead::default()),
        Err(caught) => Caught::raise(caught),
    }
}

/// Applies a batch that is as simple as most; the places of its log rows. None: it is not.
fn apply_batch(
    deployment: &Deployment,
    snapshot: &Snapshot,
    batch: &Batch,
) -> Result<Option<HashSet<Place>>> {
    let blue = deployment.blue_name();
    let rows = Rows { mapping: deployment.mapping(), from: &deployment.source, to: &blue };
    let moves = batch.moves_rows() && !rows.mapping.side_only.is_empty();
    if batch.events == 0 || moves || !batch.misfits.is_empty() {
        return Ok(None);
    }
    let none = HashSet::new();
    let how = apply::Writes::NewRows;
    let failed = apply::apply(deployment, &rows, snapshot, &batch.items, &none, how)?;
    Ok(failed.is_empty().then(|| batch.places().iter().copied().collect()))
}
