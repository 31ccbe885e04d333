//! The SQL functions: they convert, call and convert. Their declarations are in sql/functions.sql.

mod run;
mod status;
mod status_0_1;
mod verbs;

use std::time::Duration;

use pgrx::datum::Interval;

use crate::error::{Error, Result};
use crate::guard::access;
use crate::guard::lock as guard_lock;
use crate::runner::{begin, session};
use crate::settings;
use crate::state::store::LockedDeployment;
use crate::verbs::readable;

/// An argument that must be given.
fn required<T>(argument: Option<T>, name: &str) -> Result<T> {
    argument.ok_or_else(|| {
        Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            format!("{name} must not be NULL"),
        )
        .hint("Give the table's name, for example 'users'.")
    })
}

/// The deployment of a table, locked, its state fresh and both tables as we left them.
fn begin(source: Option<pgrx::pg_sys::Oid>) -> Result<LockedDeployment> {
    let found = access::find(required(source, "source")?.into(), access::caller())?;
    // Who works on it is told of first.
    guard_lock::lock(found.id)?;
    let (tables, name) = (found.relations().collect::<Vec<_>>(), found.source.plain());
    readable::wait(&tables, &name, settings::read(None, None).retry_for)?;
    let mut d = begin::begin(found.id)?;
    session::forget_dead(&mut d)?;
    Ok(d)
}

/// An interval argument as a time; a negative one is nothing.
fn time(interval: Option<Interval>) -> Option<Duration> {
    let interval = interval?;
    let micros = interval.as_micros();
    Some(Duration::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX)))
}

/// Seconds as an interval.
fn interval(seconds: f64) -> Interval {
    Interval::from_micros((seconds * 1_000_000.0) as i64)
}
