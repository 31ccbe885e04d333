//! bg_finish and bg_abort: one of the tables stays, everything else of the deployment goes.

use std::time::Instant;

use crate::capture;
use crate::catalog;
use crate::ddl;
use crate::dependent;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::guard::access;
use crate::guard::gone;
use crate::guard::gone::Gone;
use crate::guard::lock as guard_lock;
use crate::ident::{QualifiedName, plain};
use crate::model::deployment::{Deployment, Side};
use crate::model::phase::{Event, Phase};
use crate::model::settings::Settings;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;
use crate::runner::dependents;
use crate::shadow::{keep, remove};
use crate::state::chunks;
use crate::state::rejected_rows;
use crate::state::store;
use crate::swap;

/// The new table stays. Returns what else there is to say.
pub(crate) fn finish(d: &mut Deployment, settings: &Settings) -> Result<Option<String>> {
    if gone::look(d)? == Some(Gone::Green { made_anew: true }) {
        return abort(d, settings).map(Some);
    }
    let after = access::next_phase(d, Event::Finished)?;
    let (live, old) = {
        let _us = Identity::extension()?;
        (resolve(d.shadow, &d.source)?, resolve(d.origin, &d.blue_name())?)
    };
    let Some(live) = live else {
        return Err(Error::state(format!(
            "the live table {} is gone, so that {} has the last copy of its rows",
            d.source.plain(),
            d.blue_name().plain()
        ))
        .hint(format!("Bring the old table back with SELECT bg_abort({}).", d.id)));
    };
    while dependents::validate_next(d)?.is_some() {}
    end(d, settings, after, "finish", |d| {
        capture::remove(d, std::slice::from_ref(&live))?;
        dependent::strip(d)?;
        dependent::drop_offline(d)?;
        match &old {
            Some(old) => spi::run(&ddl::table::drop(old), &[]).map(|_| None),
            None => Ok(None),
        }
    })
}

/// The old table stays. Works from names where the tables are gone or came back from a dump. Returns what
/// came of it, in words.
pub(crate) fn abort(d: &mut Deployment, settings: &Settings) -> Result<String> {
    let said = match gone::look(d)? {
        Some(Gone::Green { made_anew: true }) if d.phase == Phase::Swapped => keep(d, settings)?,
        _ if d.phase == Phase::Swapped && is_live_gone(d)? => bring_back(d, settings)?,
        gone => give_up(d, settings, gone)?,
    };
    Ok(said.unwrap_or_else(|| format!("ended deployment {} of {}", d.id, d.source.plain())))
}

/// The offline table goes.
fn give_up(d: &mut Deployment, settings: &Settings, gone: Option<Gone>) -> Result<Option<String>> {
    let after = access::next_phase(d, Event::Aborted)?;
    validate_or_warn(d)?;
    let (origin, shadow) = {
        let _us = Identity::extension()?;
        (resolve(d.origin, &d.source)?, resolve(d.shadow, &d.blue_name())?)
    };
    end(d, settings, after, "abort", |d| {
        let tables: Vec<QualifiedName> =
            [&origin, &shadow].into_iter().flatten().cloned().collect();
        capture::remove(d, &tables)?;
        dependent::strip(d)?;
        dependent::drop_offline(d)?;
        match (&d.plan.target, &shadow) {
            (_, None) => {}
            (Some(given), Some(_)) => remove::give_back(d, given)?,
            (None, Some(table)) => {
                spi::run(&ddl::table::drop(table), &[])?;
            }
        }
        Ok(gone.map(|gone| format!("ended deployment {}: {}", d.id, gone.refusal(d).message)))
    })
}

/// The live table was dropped after the swap, and another one has its name: the old one, as it was synced
/// last, has the only copy of the rows, and stays where it is under a name of its own.
fn keep(d: &mut Deployment, settings: &Settings) -> Result<Option<String>> {
    let old = {
        let _us = Identity::extension()?;
        resolve(d.origin, &d.blue_name())?
    };
    end(d, settings, Phase::Aborted, "abort", |d| {
        capture::remove(d, old.as_slice())?;
        let aside = |kind: &str, name: &QualifiedName| keep::put_aside(kind, name, d.id);
        dependent::leave(d, aside, |name| keep::free(name, d.id))?;
        let (id, name) = (d.id, d.source.plain());
        if old.is_none() {
            return Ok(Some(format!("ended deployment {id}: both tables of {name} are gone")));
        }
        let kept = keep::rename(d.origin, d.id)?.plain();
        Ok(Some(format!(
            "ended deployment {id}: {name} was dropped and made anew; the rows that it had when it was synced last stay in {kept}"
        )))
    })
}

fn is_live_gone(d: &Deployment) -> Result<bool> {
    let _us = Identity::extension()?;
    Ok(resolve(d.shadow, &d.source)?.is_none())
}

/// The live table was dropped after the swap: the old one goes back to its place, as it was synced
/// last.
fn bring_back(d: &mut Deployment, settings: &Settings) -> Result<Option<String>> {
    let old = {
        let _us = Identity::extension()?;
        resolve(d.origin, &d.blue_name())?
    };
    let said = end(d, settings, Phase::Aborted, "abort", |d| {
        capture::remove(d, old.as_slice())?;
        if old.is_none() {
            return Ok(None);
        }
        remove::move_to(d.origin, &d.source.schema)?;
        for statistics in catalog::statistics(d.origin)? {
            if statistics.schema == d.blue_schema {
                let name = statistics.qualified();
                spi::run(&ddl::statistics::set_schema(&name, &d.source.schema), &[])?;
            }
        }
        let clauses = dependent::switch(d, Side::Origin, true);
        if let Some(sql) = ddl::shadow::switch(&d.source, &clauses) {
            spi::run(&sql, &[])?;
        }
        for lost in dependent::bring_back(d)? {
            xact::warn(&format!("{lost} could not be brought back with {}", d.source.plain()));
        }
        Ok(Some(format!("brought the old table {} back, as it was synced last", d.source.plain())))
    })?;
    validate_or_warn(d)?;
    Ok(said)
}

/// Validates what a revert has left NOT VALID. Rows that break it (after a table was brought back, rows
/// that refer to lost ones) must not keep a deployment open: they are told.
fn validate_or_warn(d: &Deployment) -> Result<()> {
    for (table, name) in dependents::not_valid(d)? {
        let validated = xact::subtransaction(|| dependent::validate(d, &table, &name));
        if let Err(caught) = validated {
            if !caught.is_data_error() {
                return caught.raise();
            }
            let (name, table) = (plain(name.as_str()), table.plain());
            xact::warn(&format!("{name} of {table} stays NOT VALID: {}", caught.error.message));
        }
    }
    Ok(())
}

/// A table by its OID if it has the expected name or our triggers are on it (another one may have the
/// OID after a restore), else by its name.
fn resolve(oid: u32, name: &QualifiedName) -> Result<Option<QualifiedName>> {
    let ours = "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = $1
                   AND tgname IN ('bluegreen_capture', 'bluegreen_truncate', 'bluegreen_guard'))";
    let named = catalog::relation_oid(name)?;
    for candidate in [Some(oid), named].into_iter().flatten() {
        let marked = spi::one::<bool>(ours, &[Arg::Oid(candidate)])? == Some(true);
        if marked || (candidate == oid && named == Some(oid)) {
            return Ok(catalog::table(candidate)?.map(|t| t.qualified()));
        }
    }
    Ok(None)
}

/// Everything in one subtransaction under ACCESS EXCLUSIVE on the tables that exist, in short tries. What
/// `take_away` says goes to the history, and is returned.
fn end(
    d: &mut Deployment,
    settings: &Settings,
    after: Phase,
    name: &str,
    take_away: impl Fn(&Deployment) -> Result<Option<String>>,
) -> Result<Option<String>> {
    let began = Instant::now();
    let class = guard_lock::lock_table()?;
    let mut tables = [d.origin, d.shadow];
    tables.sort_unstable();
    let logs = {
        let _us = Identity::extension()?;
        [
            catalog::relation_oid(&d.log_of(Side::Origin))?,
            catalog::relation_oid(&d.log_of(Side::Shadow))?,
        ]
    };
    let locks: Vec<_> = tables
        .iter()
        .copied()
        .chain(dependent::offline(d))
        .chain(logs.into_iter().flatten())
        .map(|t| (t, Mode::AccessExclusive))
        .collect();
    let until = began + settings.retry_for;
    let ended = lock::retry(settings.lock_timeout, until, |limit| {
        let _us = Identity::extension()?;
        let _limited = lock::limited(limit)?;
        lock::all_within(&locks, limit)?;
        failpoint::reach(if after == Phase::Finished { "finish_locked" } else { "abort_locked" });
        let said = take_away(d)?;
        failpoint::reach(if after == Phase::Finished {
            "finish_taken_away"
        } else {
            "abort_taken_away"
        });
        remove::drop_schemas(d, class)?;
        rejected_rows::forget(d.id)?;
        Ok(said)
    });
    let said = match ended {
        Ok(said) => said,
        Err(caught) if caught.is_lock_failure() => {
            return Err(swap::lock_error(d, &tables, &caught.error)?);
        }
        Err(caught) => return caught.raise(),
    };
    d.phase = after;
    d.progress.runner = None;
    chunks::forget(d.id)?;
    store::save(d)?;
    let seconds = began.elapsed().as_secs_f64();
    let detail = said.clone();
    store::record(d, &store::Step { name, seconds, count: None, detail, error: None })?;
    failpoint::reach(if after == Phase::Finished {
        "finish_committing"
    } else {
        "abort_committing"
    });
    Ok(said)
}
