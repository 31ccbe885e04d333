//! Misfits: rows of green that cannot be written to blue.
//!
//! The key stays in the log as a row of operation `M`, with the misfit's number as its position;
//! people read `bluegreen.misfit`. Both go when a later batch succeeds, or when the row is gone.

use std::collections::HashMap;

use crate::ddl;
use crate::ddl::rows::{self, Rows};
use crate::error::Result;
use crate::model::deployment::{Deployment, Side};
use crate::pg::log::{self, Entry, Place};
use crate::pg::lookup::Planned;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg, Options};
use crate::pg::work::{self, Work, key_columns};
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
    let mut known: HashMap<usize, (i64, Place)> =
        batch.misfits.iter().map(|(key, id, place)| (*key, (*id, *place))).collect();
    for one in failed {
        match known.remove(&one.item.id) {
            Some((id, _)) => update(deployment, rows, id, &one)?,
            None => add(deployment, rows, &one)?,
        }
    }
    for (id, place) in known.into_values() {
        remove(deployment, id, place)?;
    }
    Ok(())
}

fn update(deployment: &Deployment, rows: &Rows<'_>, id: i64, failed: &Failed<'_>) -> Result<()> {
    let (_, row) = describe(deployment, rows, failed);
    let _us = Identity::extension()?;
    let sql =
        "UPDATE bluegreen.misfit SET error = $2, sqlstate = $3, \"row\" = $4::jsonb WHERE id = $1";
    let state = xact::sqlstate(failed.error.code);
    spi::run(
        sql,
        &[
            Arg::Int(id),
            Arg::Text(&failed.error.message),
            Arg::Text(&state),
            Arg::OptText(row.as_deref()),
        ],
    )?;
    Ok(())
}

fn remove(deployment: &Deployment, id: i64, place: Place) -> Result<()> {
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
    let key = &failed.item.key;
    log::append_entry(log, &Entry { operation: b'M', order: id, key, old: None })
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

/// The keys of rows that were left behind, in the terms of the other table.
pub struct Aside(Work);

/// Leaves the misfits behind: they are marked, and deleted from green, which goes offline. Their
/// other rows, if any, go live as they are. Runs under the swap's lock.
pub fn set_aside(deployment: &Deployment) -> Result<Option<Aside>> {
    let mapping = deployment.mapping();
    let blue = deployment.blue_name();
    let rows = Rows { mapping, from: &deployment.source, to: &blue };
    let mut marked = Work::new(rows::WORK, &key_columns(&mapping.from_key, rows::batch_key))?;
    {
        let _us = Identity::extension()?;
        let sql = ddl::log::misfits(&deployment.log(), mapping.from_key.columns.len());
        spi::fill(&mut marked, &sql, &[], Options::default())?;
        let sql = "UPDATE bluegreen.misfit SET set_aside = true
                    WHERE deployment = $1 AND NOT set_aside";
        spi::run(sql, &[Arg::Int(deployment.id)])?;
    }
    if marked.is_empty() {
        return Ok(None);
    }
    let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
    let mut mapped = Work::new(rows::KEYS, &key_columns(&mapping.to_key, rows::mapped_name))?;
    // A key that cannot be put into the other table's terms has no row there.
    work::fill_what_can_be(&mut mapped, &rows.map_keys(), &marked)?;
    let _planned = Planned::by_key(&deployment.keyed())?;
    spi::run_with(&rows.leave_behind(), &[], Options { work: &[&marked], ..Default::default() })?;
    Ok(Some(Aside(mapped)))
}

/// After the exchange: rows that stayed live under those keys have to reach the offline table again.
pub fn log_again(deployment: &Deployment, aside: &Aside) -> Result<()> {
    let columns = deployment.mapping().from_key.columns.len();
    let _us = Identity::extension()?;
    let sql = ddl::log::insert(&deployment.log(), columns);
    let options = Options { work: &[&aside.0], ..Default::default() };
    spi::run_with(&sql, &[Arg::Int(log::order_now())], options)?;
    Ok(())
}
