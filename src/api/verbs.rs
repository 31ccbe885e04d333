//! The SQL functions that change a deployment, and bg_check.

use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{JsonB, pg_sys};
use serde_json::{Map, Value};

use crate::api::{begin, required, time};
use crate::blueprint::build::Request;
use crate::error::{Error, Result};
use crate::guard::access;
use crate::guard::gone;
use crate::guard::intrusion::blamed;
use crate::guard::lock as guard_lock;
use crate::model::deployment::Deployment;
use crate::model::phase::{Event, Phase};
use crate::model::plan::Arguments;
use crate::oid::RelationId;
use crate::pg::security;
use crate::pg::statement;
use crate::pg::xact;
use crate::settings;
use crate::verbs::backfill;
use crate::verbs::check;
use crate::verbs::finish;
use crate::verbs::pause;
use crate::verbs::prepare;
use crate::verbs::readable;
use crate::verbs::swap;
use crate::verbs::swap::Misfits;
use crate::verbs::swap_notice::{self, Then};
use crate::verbs::verify;

/// The arguments that bg_check and bg_prepare share.
// Parameters: those of the SQL functions.
fn request(
    source: Option<pg_sys::Oid>,
    changes: Option<String>,
    target: Option<pg_sys::Oid>,
    forward: Option<JsonB>,
    reverse: Option<JsonB>,
    key: Option<Vec<Option<String>>>,
) -> Result<Request> {
    Ok(Request {
        source: required(source, "source")?.into(),
        target: target.map(RelationId::from),
        arguments: Arguments {
            changes: changes.unwrap_or_default(),
            target: None,
            forward: object(forward, "forward")?,
            reverse: object(reverse, "reverse")?,
            key: key.map(|k| k.into_iter().flatten().collect()),
        },
        caller: access::caller(),
        session: security::expression_settings(),
    })
}

fn object(json: Option<JsonB>, name: &str) -> Result<Map<String, Value>> {
    match json.map(|j| j.0) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(Error::argument(format!("{name} is not a JSON object"))
            .hint("Write {\"column\": \"expression\"}.")),
    }
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of bg_check")]
// Parameters: those of the SQL function.
fn bg_check(
    source: Option<pg_sys::Oid>,
    changes: Option<String>,
    target: Option<pg_sys::Oid>,
    forward: Option<JsonB>,
    reverse: Option<JsonB>,
    key: Option<Vec<Option<String>>>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(severity, String),
            name!(code, String),
            name!(object, String),
            name!(message, String),
            name!(hint, String),
        ),
    >,
    ErrorReport,
> {
    access::require_writable("bg_check")?;
    let request = request(source, changes, target, forward, reverse, key)?;
    let settings = settings::read(None, None);
    readable::wait_for_request(&request, &settings, false)?;
    let rows: Vec<_> = check::check(&request, &settings)?
        .into_iter()
        .map(|f| (f.severity.as_str().to_owned(), f.code.to_owned(), f.object, f.message, f.hint))
        .collect();
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
// Parameters: those of the SQL function.
fn bg_prepare(
    source: Option<pg_sys::Oid>,
    changes: Option<String>,
    target: Option<pg_sys::Oid>,
    forward: Option<JsonB>,
    reverse: Option<JsonB>,
    key: Option<Vec<Option<String>>>,
) -> std::result::Result<String, ErrorReport> {
    access::require_to_write("bg_prepare")?;
    let request = request(source, changes, target, forward, reverse, key)?;
    let settings = settings::read(None, None);
    readable::wait_for_request(&request, &settings, true)?;
    let (phase, notice) = blamed(|| prepare::prepare(request, &settings))?;
    if let Some(notice) = notice {
        notice!("{notice}");
    }
    Ok(phase)
}

#[pg_extern(sql = false)]
fn bg_backfill(
    source: Option<pg_sys::Oid>,
    max_time: Option<Interval>,
) -> std::result::Result<String, ErrorReport> {
    access::require_to_write("bg_backfill")?;
    let found = access::find(required(source, "source")?.into(), access::caller())?;
    let limit = time(max_time).unwrap_or(std::time::Duration::from_secs(5));
    let phase = blamed(|| backfill::backfill(found.id, &settings::read(None, None), limit))?;
    Ok(phase.to_string())
}

#[pg_extern(sql = false)]
fn bg_swap(
    source: Option<pg_sys::Oid>,
    lock_timeout: Option<Interval>,
    retry_for: Option<Interval>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> std::result::Result<String, ErrorReport> {
    access::require_to_write("bg_swap")?;
    let alone = statement::is_one_call(fcinfo);
    let settings = settings::read(time(lock_timeout), time(retry_for));
    let mut d = begin(source)?;
    if d.phase() == Phase::Swapped {
        notice!("{} is swapped already", d.first().source.plain());
    } else {
        foretell(&d.read(), Phase::Ready, Then::Nothing)?;
        let refuse = Misfits::Refuse;
        blamed(|| swap::swap(&mut d, &settings, Event::Swapped, refuse, alone))?;
    }
    Ok(d.phase().to_string())
}

/// Tells the client what a swap or a revert, which is possible in phase `from`, means to other sessions, and what
/// comes next.
fn foretell(d: &Deployment, from: Phase, then: Then) -> Result<()> {
    if d.phase() == from
        && let Some(notice) = swap_notice::notice(d, then)?
    {
        notice!("{notice}");
    }
    Ok(())
}

#[pg_extern(sql = false)]
fn bg_revert(
    source: Option<pg_sys::Oid>,
    misfits: Option<String>,
    lock_timeout: Option<Interval>,
    retry_for: Option<Interval>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> std::result::Result<String, ErrorReport> {
    access::require_to_write("bg_revert")?;
    let alone = statement::is_one_call(fcinfo);
    let misfits = match misfits.as_deref() {
        None | Some("refuse") => Misfits::Refuse,
        Some("set_aside") => Misfits::SetAside,
        Some("set_aside_with_children") => Misfits::SetAsideWithChildren,
        Some(other) => {
            return Err(Error::argument(format!("misfits cannot be '{other}'"))
                .hint("Use 'refuse', 'set_aside' or 'set_aside_with_children'.")
                .into());
        }
    };
    let settings = settings::read(time(lock_timeout), time(retry_for));
    let mut d = begin(source)?;
    if d.phase() == Phase::Ready {
        notice!("{} is not swapped: the old table is live already", d.first().source.plain());
    } else {
        foretell(&d.read(), Phase::Swapped, Then::All)?;
        blamed(|| swap::swap(&mut d, &settings, Event::Reverted, misfits, alone))?;
    }
    Ok(d.phase().to_string())
}

#[pg_extern(sql = false)]
fn bg_finish(source: Option<pg_sys::Oid>) -> std::result::Result<String, ErrorReport> {
    access::require_to_write("bg_finish")?;
    let found = access::find(required(source, "source")?.into(), access::caller())?;
    // What was added to the live table since the swap is no reason to keep the old one.
    let mut d = guard_lock::lock(found.id)?;
    if d.phase() == Phase::Finished {
        notice!("the deployment of {} is finished already", d.first().source.plain());
    } else {
        if let Some(said) = blamed(|| finish::finish(&mut d, &settings::read(None, None)))? {
            notice!("{said}");
        }
    }
    Ok(d.phase().to_string())
}

#[pg_extern(sql = false)]
fn bg_abort(source: Option<pg_sys::Oid>) -> std::result::Result<String, ErrorReport> {
    access::require_to_write("bg_abort")?;
    let found = access::find(required(source, "source")?.into(), access::caller())?;
    // The tables may have been changed or be gone: that is what it is for.
    let mut d = guard_lock::lock(found.id)?;
    if d.phase() == Phase::Aborted {
        notice!("the deployment of {} is aborted already", d.first().source.plain());
    } else {
        let was_gone =
            d.members().map(gone::look).collect::<Result<Vec<_>>>()?.iter().any(Option::is_some);
        let said = blamed(|| finish::abort(&mut d, &settings::read(None, None)))?;
        if was_gone {
            notice!("{said}");
        }
    }
    Ok(d.phase().to_string())
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of bg_verify")]
fn bg_verify(
    source: Option<pg_sys::Oid>,
    repair: Option<bool>,
) -> std::result::Result<
    TableIterator<'static, (name!(key, JsonB), name!(problem, String))>,
    ErrorReport,
> {
    let repair = repair.unwrap_or(false);
    if repair || xact::is_in_recovery() {
        access::require_writable("bg_verify")?;
    }
    access::require_read_committed("bg_verify")?;
    let found = access::find(required(source, "source")?.into(), access::caller())?;
    let (found, cut) = verify::whole(found, &settings::read(None, None), repair)?;
    if cut {
        warning!("{}", verify::cut_notice());
    }
    let rows: Vec<_> = found
        .into_iter()
        .map(|d| (JsonB(serde_json::from_str(&d.key).unwrap_or_default()), d.problem))
        .collect();
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
fn bg_pause(source: Option<pg_sys::Oid>) -> std::result::Result<String, ErrorReport> {
    Ok(pause::pause(required(source, "source")?.into())?)
}

#[pg_extern(sql = false)]
fn bg_resume(source: Option<pg_sys::Oid>) -> std::result::Result<String, ErrorReport> {
    Ok(pause::resume(required(source, "source")?.into())?)
}
