//! bg_status, bg_progress and bg_blockers.
//!
//! The C function of bg_status has the version in its name since which its columns are what they are; see
//! [`crate::api::status_0_1`].

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::{interval, required};
use crate::catalog;
use crate::error::Result;
use crate::guard::access;
use crate::model::member::Member;
use crate::oid::RoleId;
use crate::pg::security::Identity;
use crate::settings;
use crate::state::store;
use crate::verbs::blockers;
use crate::verbs::status;
use crate::verbs::status::Status;

/// Seconds between the epochs of Unix and PostgreSQL.
const EPOCH: f64 = 946_684_800.0;

pub(super) fn timestamp(seconds: f64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(((seconds - EPOCH) * 1_000_000.0) as i64).ok()
}

pub(super) fn statuses(source: Option<pg_sys::Oid>) -> Result<Vec<Status>> {
    let caller = access::caller();
    let found = match source {
        Some(source) => vec![access::find(source.into(), caller)?],
        None => {
            let (mine, of_others) = mine(caller)?;
            if mine.is_empty() && of_others > 0 {
                notice!("the open deployments of this database are of tables that you do not own");
            }
            mine
        }
    };
    let settings = settings::read(None, None);
    found.into_iter().map(|member| status::status(member, &settings)).collect()
}

/// The open deployments of tables that the caller owns, and how many there are besides.
fn mine(caller: RoleId) -> Result<(Vec<Member>, usize)> {
    let _us = Identity::extension()?;
    let (mut mine, mut of_others) = (Vec::new(), 0);
    for member in store::open()? {
        if catalog::is_owner(caller, member.owner)? {
            mine.push(member);
        } else {
            of_others += 1;
        }
    }
    Ok((mine, of_others))
}

/// The name of the offline table; none after the end.
pub(super) fn blue(member: &Member) -> String {
    if member.phase.is_open() { member.blue_name().plain() } else { String::new() }
}

/// What writes the rows of the copy, once there is one.
pub(super) fn copier(member: &Member) -> Option<String> {
    (!member.progress.copier.is_empty()).then(|| member.progress.copier.clone())
}

/// What it waits for.
pub(super) fn waiting_for(status: &Status) -> Option<String> {
    status.waiting.as_ref().map(|(why, _)| why.clone())
}

/// Since when.
pub(super) fn waiting_since(status: &Status) -> Option<TimestampWithTimeZone> {
    status.waiting.as_ref().and_then(|(_, since)| timestamp(*since))
}

// Long: a line for each column.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of bg_status")]
fn bg_status_0_2(
    source: Option<pg_sys::Oid>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(id, i64),
            name!(source, String),
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
            let member = &s.member;
            (
                member.id,
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
                i64::from(member.progress.restarts),
                s.next_step.clone(),
                s.last_error.clone(),
                timestamp(s.created_at),
                timestamp(s.updated_at),
            )
        })
        .collect::<Vec<_>>();
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
fn bg_progress(
    source: Option<pg_sys::Oid>,
) -> std::result::Result<SetOfIterator<'static, String>, ErrorReport> {
    let lines: Vec<_> = statuses(source)?.iter().map(status::progress_line).collect();
    Ok(SetOfIterator::new(lines))
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
    let rows: Vec<_> = blockers::blockers(required(source, "source")?.into())?
        .into_iter()
        .map(|b| (b.pid, b.user, b.application, b.what, b.query, b.since.and_then(timestamp)))
        .collect();
    Ok(TableIterator::new(rows))
}
