//! Building what was taken off blue for the copy.
//!
//! First the indexes, which several processes may do at the same time, each index in a transaction of
//! its own; then, by the runner alone, what keeps blue's readers out for a moment: the constraints.

use std::time::Instant;

use crate::backfill::index_build_budget::IndexBuildBudget;
use crate::backfill::purge;
use crate::catalog::{self, tree};
use crate::ddl::constraint;
use crate::ddl::shadow::{self, BuildIndex};
use crate::error::Result;
use crate::failpoint;
use crate::ident::QualifiedName;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::plan::RecordedIndex;
use crate::model::settings::{PARALLEL_MAINTENANCE, Settings};
use crate::pg::lock::{self, Mode};
use crate::pg::security::{self, Identity, SettingsLevel};
use crate::pg::spi::{self, Arg};
use crate::pg::xact::{self, SubtransactionError};
use crate::state::chunks;
use crate::state::chunks::Kind;

/// What a step did.
pub(crate) enum Built {
    /// This.
    Done(String),
    /// Nothing: other processes are building all that is left.
    Others,
    /// Nothing: what is next has to be done alone.
    Alone,
    /// Nothing: nothing is left to do.
    Nothing,
}

/// Builds the next index; when all are built adds the constraints, also those that were NOT VALID, and
/// runs ANALYZE. The caller holds the deployment's lock and commits.
///
/// The server itself evaluates index expressions as the table's owner, in a restricted operation.
pub(crate) fn step(member: &mut Member, settings: &Settings, hold: Hold) -> Result<Built> {
    let _us = Identity::extension()?;
    if !member.progress.indexes_laid_out {
        lay_out(member)?;
    }
    match build(member, settings, hold)? {
        Some(Ok(what)) => {
            member.progress.indexes_made = chunks::totals(member.id, Kind::Index)?.done;
            return Ok(Built::Done(what));
        }
        // Rows that break it may have been corrected since the purge: their keys are in the log.
        Some(Err(caught)) if caught.is_collision() && hold == Hold::Alone => {
            purge::whole(member, settings)?;
            return match build(member, settings, hold)? {
                Some(Ok(what)) => Ok(Built::Done(what)),
                Some(Err(caught)) => caught.raise(),
                None => Ok(Built::Others),
            };
        }
        Some(Err(caught)) if caught.is_collision() => return Ok(Built::Alone),
        Some(Err(caught)) => return caught.raise(),
        None => {}
    }
    if !chunks::totals(member.id, Kind::Index)?.complete {
        return Ok(Built::Others);
    }
    if hold == Hold::Shared {
        return Ok(Built::Alone);
    }
    complete(member, settings)
}

/// Builds the next index that nobody else is building: what it built, or why it could not be. None:
/// there is none. Writes nothing of the deployment but the index's piece.
pub(crate) fn build(
    member: &Member,
    settings: &Settings,
    hold: Hold,
) -> Result<Option<std::result::Result<String, SubtransactionError>>> {
    let Some(piece) = chunks::take(member.id, Kind::Index)? else { return Ok(None) };
    let began = Instant::now();
    let _us = Identity::extension()?;
    let Some(index) = member.plan.indexes.get(piece.first as usize) else { return Ok(None) };
    let left = chunks::open_weight(member.id, Kind::Index)?;
    let built = xact::subtransaction(|| {
        let statements = in_tablespace(member, index)?;
        settings.maintenance.iter().try_for_each(|(name, value)| security::set(name, value))?;
        if hold == Hold::Shared {
            #[allow(clippy::cast_precision_loss)]
            let share = piece.weight as f64 / left.max(1.0);
            let rows = member.progress.rows_copied;
            let budget = IndexBuildBudget::of(settings, piece.weight, rows, share);
            security::set(PARALLEL_MAINTENANCE, &budget.workers.to_string())?;
            // Other access methods use all the memory that they can have.
            if index.method == "btree" && security::may_spill() {
                let kb = budget.sort_kb.min(security::maintenance_kb());
                security::set("maintenance_work_mem", &format!("{kb}kB"))?;
            }
        }
        statements.1.build.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
        require_recorded(member, index)
    });
    if let Err(caught) = built {
        return Ok(Some(Err(caught)));
    }
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    chunks::advance(member.id, Kind::Index, &piece, piece.end, took)?;
    failpoint::reach("index_built");
    Ok(Some(Ok(format!("index {}", index.name.as_str()))))
}

/// Refuses an index that is not what its text was made from.
fn require_recorded(member: &Member, index: &RecordedIndex) -> Result<()> {
    let name = QualifiedName { schema: member.blue_schema.clone(), name: index.name.clone() };
    tree::require_index(&name, &index.meaning)
}

/// The statements of an index, and the settings that put it where it belongs and by which it is read.
fn in_tablespace(member: &Member, index: &RecordedIndex) -> Result<(SettingsLevel, BuildIndex)> {
    let level = security::search(&index.meaning.path)?;
    let tablespace = index.tablespace.as_ref().map_or("", |t| t.as_str());
    security::set("default_tablespace", tablespace)?;
    Ok((level, shadow::build_index(&member.blue_name(), index)))
}

/// Whether blue has an index of this name: one that is built may still lack its constraint.
pub(crate) fn is_there(member: &Member, index: &RecordedIndex) -> Result<bool> {
    let _us = Identity::extension()?;
    let name = QualifiedName { schema: member.blue_schema.clone(), name: index.name.clone() };
    Ok(catalog::relation_oid(&name)?.is_some())
}

/// Writes down which indexes are to be built. The largest first, so that processes end together;
/// green's index of the same name tells how large one is, and one that is new may be as large as the
/// table.
pub(crate) fn lay_out(member: &mut Member) -> Result<()> {
    let _us = Identity::extension()?;
    chunks::forget(member.id)?;
    let blue = member.blue_name();
    let attached = member.progress.indexes_built;
    for (number, index) in member.plan.indexes.iter().enumerate().skip(attached) {
        if shadow::build_index(&blue, index).build.is_empty() || is_there(member, index)? {
            continue;
        }
        let schema = member.source.schema.clone();
        let green = catalog::relation_oid(&QualifiedName { schema, name: index.name.clone() })?;
        let like = Arg::oid(green.unwrap_or_else(|| member.blue()));
        let weight = spi::one("SELECT pg_catalog.pg_relation_size($1)", &[like])?;
        chunks::add_index(member.id, number, weight.unwrap_or_default())?;
    }
    member.progress.indexes_laid_out = true;
    failpoint::reach("index_laid_out");
    Ok(())
}

/// What comes after the indexes, one thing a call.
fn complete(member: &mut Member, settings: &Settings) -> Result<Built> {
    let blue = member.blue_name();
    if let Some(index) = member.plan.indexes.get(member.progress.indexes_built).cloned() {
        let (_level, statements) = in_tablespace(member, &index)?;
        if !statements.exclusive.is_empty() {
            exclusively(member, settings, || {
                statements.exclusive.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
                require_recorded(member, &index)
            })?;
        }
        member.progress.indexes_built += 1;
        failpoint::reach("attach_done");
        return Ok(Built::Done(format!("attach {}", index.name.as_str())));
    }
    if !member.progress.constraints_added {
        if !member.plan.not_valid.is_empty() {
            exclusively(member, settings, || {
                member.plan.not_valid.iter().try_for_each(|check| {
                    let _path = security::search(&check.meaning.path)?;
                    let statements = constraint::add(&blue, check);
                    statements.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
                    tree::require_check(&blue, check)
                })
            })?;
        }
        member.progress.constraints_added = true;
    }
    if !member.progress.analyzed {
        spi::run(&shadow::analyze(&blue), &[])?;
        member.progress.analyzed = true;
        failpoint::reach("attach_analyzed");
        member.progress.drain_xid = xact::current_xid();
        return Ok(Built::Done("analyze".to_owned()));
    }
    Ok(Built::Nothing)
}

/// Runs ANALYZE once more where the first sync has brought in much: blue may have been nearly empty when
/// it ran, and its own autovacuum is off. Whether it did.
pub(crate) fn analyze_again(member: &mut Member) -> Result<bool> {
    let progress = &member.progress;
    // As autovacuum_analyze_scale_factor and autovacuum_analyze_threshold by default.
    let many = (progress.rows_copied - progress.rows_purged) / 10 + 50;
    if progress.analyzed_again || progress.synced < many {
        return Ok(false);
    }
    let _us = Identity::extension()?;
    spi::run(&shadow::analyze(&member.blue_name()), &[])?;
    member.progress.analyzed_again = true;
    member.progress.drain_xid = xact::current_xid();
    Ok(true)
}

/// Does what keeps blue's readers out, in short tries.
fn exclusively(member: &Member, settings: &Settings, run: impl Fn() -> Result<()>) -> Result<()> {
    let blue = member.blue();
    let until = Instant::now() + settings.retry_for;
    let done = lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(blue, Mode::AccessExclusive)], limit)?;
        failpoint::reach("attach_locked");
        run()
    });
    match done {
        Ok(()) => Ok(()),
        Err(caught) => caught.raise(),
    }
}
