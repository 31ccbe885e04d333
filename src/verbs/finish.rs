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
use crate::model::member::{Member, Side};
use crate::model::phase::{Event, Phase};
use crate::model::settings::Settings;
use crate::oid::RelationId;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;
use crate::runner::dependents;
use crate::shadow::{keep, remove};
use crate::state::chunks;
use crate::state::rejected_rows;
use crate::state::store::{self, LockedDeployment, LockedMember};
use crate::swap;

/// The new tables stay. Returns what else there is to say.
pub(crate) fn finish(d: &mut LockedDeployment, settings: &Settings) -> Result<Option<String>> {
    let mut said = Vec::new();
    for member in d.members_mut() {
        said.extend(finish_member(member, settings)?);
    }
    Ok(Some(said.join("\n")).filter(|said| !said.is_empty()))
}

fn finish_member(member: &mut LockedMember, settings: &Settings) -> Result<Option<String>> {
    if gone::look(member)? == Some(Gone::Green { made_anew: true }) {
        return abort_member(member, settings).map(Some);
    }
    let after = access::next_phase(member, Event::Finished)?;
    let (live, old) = {
        let _us = Identity::extension()?;
        (
            resolve(member.shadow.root, &member.source)?,
            resolve(member.origin.root, &member.blue_name())?,
        )
    };
    let Some(live) = live else {
        return Err(Error::state(format!(
            "the live table {} is gone, so that {} has the last copy of its rows",
            member.source.plain(),
            member.blue_name().plain()
        ))
        .hint(format!("Bring the old table back with SELECT bg_abort({}).", member.id)));
    };
    while dependents::validate_next(member)?.is_some() {}
    end(member, settings, after, "finish", |member| {
        capture::remove(member, std::slice::from_ref(&live))?;
        dependent::drop_attached_objects(member)?;
        dependent::drop_offline(member)?;
        match &old {
            Some(old) => spi::run(&ddl::table::drop(old), &[]).map(|_| None),
            None => Ok(None),
        }
    })
}

/// The old tables stay. Works from names where the tables are gone or came back from a dump. Returns what
/// came of it, in words.
pub(crate) fn abort(d: &mut LockedDeployment, settings: &Settings) -> Result<String> {
    let mut said = Vec::new();
    for member in d.members_mut() {
        said.push(abort_member(member, settings)?);
    }
    Ok(said.join("\n"))
}

fn abort_member(member: &mut LockedMember, settings: &Settings) -> Result<String> {
    let said = match gone::look(member)? {
        Some(Gone::Green { made_anew: true }) if member.phase == Phase::Swapped => {
            keep(member, settings)?
        }
        _ if member.phase == Phase::Swapped && is_live_gone(member)? => {
            bring_back(member, settings)?
        }
        gone => give_up(member, settings, gone)?,
    };
    Ok(said.unwrap_or_else(|| format!("ended the deployment of {}", member.source.plain())))
}

/// The offline table goes.
fn give_up(
    member: &mut LockedMember,
    settings: &Settings,
    gone: Option<Gone>,
) -> Result<Option<String>> {
    let after = access::next_phase(member, Event::Aborted)?;
    validate_or_warn(member)?;
    let (origin, shadow) = {
        let _us = Identity::extension()?;
        (
            resolve(member.origin.root, &member.source)?,
            resolve(member.shadow.root, &member.blue_name())?,
        )
    };
    end(member, settings, after, "abort", |member| {
        let tables: Vec<QualifiedName> =
            [&origin, &shadow].into_iter().flatten().cloned().collect();
        capture::remove(member, &tables)?;
        dependent::drop_attached_objects(member)?;
        dependent::drop_offline(member)?;
        match (&member.plan.target, &shadow) {
            (_, None) => {}
            (Some(given), Some(_)) => remove::give_back(member, given)?,
            (None, Some(table)) => {
                spi::run(&ddl::table::drop(table), &[])?;
            }
        }
        Ok(gone.map(|gone| {
            let fact = gone.refusal(member).message;
            format!("ended the deployment of {}: {fact}", member.source.plain())
        }))
    })
}

/// The live table was dropped after the swap, and another one has its name: the old one, as it was synced
/// last, has the only copy of the rows, and stays where it is under a name of its own.
fn keep(member: &mut LockedMember, settings: &Settings) -> Result<Option<String>> {
    let old = {
        let _us = Identity::extension()?;
        resolve(member.origin.root, &member.blue_name())?
    };
    end(member, settings, Phase::Aborted, "abort", |member| {
        capture::remove(member, old.as_slice())?;
        let aside = |kind: &str, name: &QualifiedName| keep::put_aside(kind, name, member.id);
        dependent::leave(member, aside, |name| keep::free(name, member.id))?;
        let name = member.source.plain();
        if old.is_none() {
            return Ok(Some(format!("ended the deployment of {name}: both tables are gone")));
        }
        let kept = keep::rename(member.origin.root, member.id)?.plain();
        Ok(Some(format!(
            "ended the deployment of {name}, which was dropped and made anew; the rows that it had when it was synced last stay in {kept}"
        )))
    })
}

fn is_live_gone(member: &Member) -> Result<bool> {
    let _us = Identity::extension()?;
    Ok(resolve(member.shadow.root, &member.source)?.is_none())
}

/// The live table was dropped after the swap: the old one goes back to its place, as it was synced
/// last.
fn bring_back(member: &mut LockedMember, settings: &Settings) -> Result<Option<String>> {
    let old = {
        let _us = Identity::extension()?;
        resolve(member.origin.root, &member.blue_name())?
    };
    let said = end(member, settings, Phase::Aborted, "abort", |member| {
        capture::remove(member, old.as_slice())?;
        if old.is_none() {
            return Ok(None);
        }
        remove::move_to(member.origin.root, &member.source.schema)?;
        for statistics in catalog::statistics(member.origin.root)? {
            if statistics.schema == member.blue_schema {
                let name = statistics.qualified();
                spi::run(&ddl::statistics::set_schema(&name, &member.source.schema), &[])?;
            }
        }
        let clauses = dependent::switch(member, Side::Origin, true);
        if let Some(sql) = ddl::shadow::switch(&member.source, &clauses) {
            spi::run(&sql, &[])?;
        }
        for lost in dependent::bring_back(member)? {
            xact::warn(&format!("{lost} could not be brought back with {}", member.source.plain()));
        }
        Ok(Some(format!(
            "brought the old table {} back, as it was synced last",
            member.source.plain()
        )))
    })?;
    validate_or_warn(member)?;
    Ok(said)
}

/// Validates what a revert has left NOT VALID. Rows that break it (after a table was brought back, rows
/// that refer to lost ones) must not keep a deployment open: they are told.
fn validate_or_warn(member: &Member) -> Result<()> {
    for (table, name) in dependents::not_valid(member)? {
        let validated = xact::subtransaction(|| dependent::validate(member, &table, &name));
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
fn resolve(oid: RelationId, name: &QualifiedName) -> Result<Option<QualifiedName>> {
    let ours = "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = $1
                   AND tgname IN ('bluegreen_capture', 'bluegreen_truncate', 'bluegreen_guard'))";
    let named = catalog::relation_oid(name)?;
    for candidate in [Some(oid), named].into_iter().flatten() {
        let marked = spi::one::<bool>(ours, &[Arg::oid(candidate)])? == Some(true);
        if marked || (candidate == oid && named == Some(oid)) {
            return Ok(catalog::table(candidate)?.map(|t| t.qualified()));
        }
    }
    Ok(None)
}

/// Everything in one subtransaction under ACCESS EXCLUSIVE on the tables that exist, in short tries. What
/// `take_away` says goes to the history, and is returned.
fn end(
    member: &mut LockedMember,
    settings: &Settings,
    after: Phase,
    name: &str,
    take_away: impl Fn(&Member) -> Result<Option<String>>,
) -> Result<Option<String>> {
    let began = Instant::now();
    let class = guard_lock::lock_table()?;
    let locks = locks(member)?;
    let until = began + settings.retry_for;
    let ended = lock::retry(settings.lock_timeout, until, |limit| {
        let _us = Identity::extension()?;
        let _limited = lock::limited(limit)?;
        lock::all_within(&locks, limit)?;
        failpoint::reach(if after == Phase::Finished { "finish_locked" } else { "abort_locked" });
        let said = take_away(member)?;
        failpoint::reach(if after == Phase::Finished {
            "finish_taken_away"
        } else {
            "abort_taken_away"
        });
        remove::drop_schemas(member, class)?;
        rejected_rows::forget(member.id)?;
        Ok(said)
    });
    let said = match ended {
        Ok(said) => said,
        Err(caught) if caught.is_lock_failure() => {
            let tables: Vec<_> = member.relations().collect();
            let (name, xid) = (member.source.plain(), member.progress.drain_xid);
            return Err(swap::lock_error(&name, xid, &tables, &caught.error)?);
        }
        Err(caught) => return caught.raise(),
    };
    member.phase = after;
    member.progress.runner = None;
    chunks::forget(member.id)?;
    store::save_claim(member)?;
    let seconds = began.elapsed().as_secs_f64();
    let detail = said.clone();
    store::record(member, &store::Step { name, seconds, count: None, detail, error: None })?;
    failpoint::reach(if after == Phase::Finished {
        "finish_committing"
    } else {
        "abort_committing"
    });
    Ok(said)
}

/// What is locked, in its order: the tables, what hangs on the offline one, the logs.
fn locks(member: &Member) -> Result<Vec<(RelationId, Mode)>> {
    let mut all: Vec<RelationId> = member.relations().collect();
    all.sort_unstable();
    let _us = Identity::extension()?;
    all.extend(dependent::offline(member));
    for side in [Side::Origin, Side::Shadow] {
        all.extend(catalog::relation_oid(&member.log_of(side))?);
    }
    Ok(all.into_iter().map(|oid| (oid, Mode::AccessExclusive)).collect())
}
