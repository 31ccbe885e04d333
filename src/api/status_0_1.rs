//! bg_status as 0.1.0 declares it, for a database whose extension is not updated yet: with the name of the
//! live table twice, and without restarts.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::interval;
use crate::api::status::{blue, copier, statuses, timestamp, waiting_for, waiting_since};

// Long: a line for each column.
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
            let member = &s.member;
            (
                member.id,
                member.source.plain(),
                member.source.plain(),
                blue(member),
                member.phase.to_string(),
                member.paused,
                s.progress,
                member.progress.rows_copied,
                member.progress.rows_estimated,
                s.rows_per_second,
                s.eta.map(interval),
                s.pending,
                s.lag.map(interval),
                s.misfits,
                s.not_valid,
                waiting_for(&s),
                waiting_since(&s),
                s.worker,
                copier(member),
                s.next_step.clone(),
                s.last_error.clone(),
                timestamp(s.created_at),
                timestamp(s.updated_at),
            )
        })
        .collect::<Vec<_>>();
    Ok(TableIterator::new(rows))
}
