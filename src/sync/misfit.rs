//! Misfits: rows of green that cannot be written to blue.
//!
//! The key stays in the log as a row of operation `M`, with the misfit's number as its position and
//! the key under which blue has the row; people read `bluegreen.misfit`. Both go when a later batch
//! succeeds, or when the row is gone.

use std::collections::HashMap;

use crate::ddl::rows::Rows;
use crate::error::Result;
use crate::model::deployment::{Deployment, Side};
use crate::pg::log::{self, Entry};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg, Options};
use crate::pg::xact;
use crate::sync::apply::{self, Failed};
use crate::sync::batch::{self, Batch};

/// Writes down what failed, and forgets misfits of the batch that did not fail again.
pub fn record(
    deployment: &Deployment,
    rows: &Rows<'_>,
    batch: &Batch,
    failed: Vec<Failed<'_>>,
) -> Result<()> {
    let mut known: HashMap<usize, (i64, &str)> =
        batch.misfits.iter().map(|(key, id, place)| (*key, (*id, place.as_str()))).collect();
    for one in failed {
        match known.remove(&one.item.id) {
            Some((id, place)) if one.item.kind != b'm' => {
                let _ = place;
                update(id, &one)?;
            }
            Some((id, place)) => {
                remove(deployment, id, place)?;
                add(deployment, rows, &one)?;
            }
            None => add(deployment, rows, &one)?,
        }
    }
    for (id, place) in known.into_values() {
        remove(deployment, id, place)?;
    }
    Ok(())
}

fn update(id: i64, failed: &Failed<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    let sql = "UPDATE bluegreen.misfit SET error = $2, sqlstate = $3 WHERE id = $1";
    let state = xact::sqlstate(failed.error.code);
    spi::run(sql, &[Arg::Int(id), Arg::Text(&failed.error.message), Arg::Text(&state)])?;
    Ok(())
}

fn remove(deployment: &Deployment, id: i64, place: &str) -> Result<()> {
    {
        let _us = Identity::extension()?;
        spi::run("DELETE FROM bluegreen.misfit WHERE id = $1", &[Arg::Int(id)])?;
    }
    batch::forget(deployment, &[place.to_owned()])
}

fn add(deployment: &Deployment, rows: &Rows<'_>, failed: &Failed<'_>) -> Result<()> {
    let (key, row) = describe(deployment, rows, failed);
    let log = super::log_oid(deployment)?;
    let direction = match deployment.green_side() {
        Side::Origin => "forward",
        Side::Shadow => "reverse",
    };
    let _us = Identity::extension()?;
    let sql = "INSERT INTO bluegreen.misfit (deployment, direction, key, \"row\", error, sqlstate)
               VALUES ($1, $2, $3::jsonb, $4::jsonb, $5, $6) RETURNING id";
    let state = xact::sqlstate(failed.error.code);
    let id = spi::one::<i64>(
        sql,
        &[
            Arg::Int(deployment.id),
            Arg::Text(direction),
            Arg::OptText(key.as_deref()),
            Arg::OptText(row.as_deref()),
            Arg::Text(&failed.error.message),
            Arg::Text(&state),
        ],
    )?
    .unwrap_or_default();
    let item = failed.item;
    let old = (item.kind == b'm').then_some(item.origin.as_slice());
    log::append_entry(log, &Entry { operation: b'M', order: id, key: &item.last, old })
}

/// The key and green's row as JSON, where the types allow it.
fn describe(
    deployment: &Deployment,
    rows: &Rows<'_>,
    failed: &Failed<'_>,
) -> (Option<String>, Option<String>) {
    let described = xact::subtransaction(|| {
        let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
        let work = apply::work_of(rows, &[failed.item])?;
        let options = Options { snapshot: None, work: &[&work] };
        spi::with_rows(&rows.describe(), &[], options, |found, _| {
            Ok(if found.is_empty() { (None, None) } else { (found.get(0, 1), found.get(0, 2)) })
        })
    });
    described.unwrap_or((None, None))
}
