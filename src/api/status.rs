//! bg_status and bg_blockers.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::{interval, required};
use crate::catalog;
use crate::error::Result;
use crate::guard::access;
use crate::pg::security::Identity;
use crate::state::restored;
use crate::state::store;
use crate::verbs::blockers;
use crate::verbs::status;
use crate::verbs::status::Status;

/// Seconds between the epochs of Unix and PostgreSQL.
const EPOCH: f64 = 946_684_800.0;

fn timestamp(seconds: f64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(((seconds - EPOCH) * 1_000_000.0) as i64).ok()
}

fn statuses(source: Option<pg_sys::Oid>) -> Result<Vec<Status>> {
    let caller = access::caller();
    let found = match source {
        Some(source) => vec![access::find(source.to_u32(), caller)?],
        None => {
            let _us = Identity::extension()?;
            let mut mine = Vec::new();
            for d in store::open()? {
                if catalog::is_owner(caller, d.owner)? {
                    mine.push(d);
                }
            }
            mine
        }
    };
    found.into_iter().map(status::status).collect()
}

/// The call that leads on.
fn next_step(status: &Status) -> String {
    let d = &status.deployment;
    match status.gone {
        _ if d.restored => restored::next_step(d),
        Some(gone) => gone.next_step(d),
        None => d.phase.next_step().to_owned(),
    }
}

/// What stands in its way, or the last run's error.
fn last_error(status: &Status) -> Option<String> {
    let d = &status.deployment;
    match status.gone {
        _ if d.restored => Some(restored::refusal(d).message),
        Some(gone) => Some(gone.refusal(d).message),
        None => d.last_error.clone(),
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of bg_status")]
fn bg_status(
    source: Option<pg_sys::Oid>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(id, i64),
            name!(source, String),
            name!(green, String),
            name!(blue, String),
            name!(phase, String),
            name!(paused, bool),
            name!(progress, f64),
            name!(rows_copied, i64),
            name!(rows_estimated, i64),
            name!(rows_per_second, i64),
            name!(eta, Option<Interval>),
            name!(pending_changes, Option<i64>),
            name!(sync_lag, Option<Interval>),
            name!(misfits, i64),
            name!(not_valid, i64),
            name!(waiting_for, Option<String>),
            name!(waiting_since, Option<TimestampWithTimeZone>),
            name!(worker_pid, Option<i32>),
            name!(copier, Option<String>),
            name!(restarts, i64),
            name!(next_step, String),
            name!(last_error, Option<String>),
            name!(created_at, Option<TimestampWithTimeZone>),
            name!(updated_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let rows = statuses(source)?
        .into_iter()
        .map(|s| {
            let d = &s.deployment;
            let open = d.phase.is_open();
            (
                d.id,
                d.source.plain(),
                d.source.plain(),
                if open { d.blue_name().plain() } else { String::new() },
                d.phase.to_string(),
                d.paused,
                s.progress,
                d.progress.rows_copied,
                d.progress.rows_estimated,
                s.rows_per_second,
                s.eta.map(interval),
                s.pending,
                s.lag.map(interval),
                s.misfits,
                s.not_valid,
                s.waiting.as_ref().map(|(why, _)| why.clone()),
                s.waiting.as_ref().and_then(|(_, since)| timestamp(*since)),
                s.worker,
                (!d.progress.copier.is_empty()).then(|| d.progress.copier.clone()),
                i64::from(d.progress.restarts),
                next_step(&s),
                last_error(&s),
                timestamp(s.created_at),
                timestamp(s.updated_at),
            )
        })
        .collect::<Vec<_>>();
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of bg_blockers")]
fn bg_blockers(
    source: Option<pg_sys::Oid>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(pid, Option<i32>),
            name!(user, Option<String>),
            name!(application, Option<String>),
            name!(what, Option<String>),
            name!(query, Option<String>),
            name!(since, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let rows: Vec<_> = blockers::blockers(required(source, "source")?.to_u32())?
        .into_iter()
        .map(|b| (b.pid, b.user, b.application, b.what, b.query, b.since.and_then(timestamp)))
        .collect();
    Ok(TableIterator::new(rows))
}
