//! Building what was taken off blue for the copy.
//!
//! First the indexes, which several processes may do at the same time, each index in a transaction of
//! its own; then, by the runner alone, what keeps blue's readers out for a moment: the constraints.

use std::time::Instant;

use crate::backfill::allotment::Allotment;
use crate::backfill::purge;
use crate::catalog::{self, tree};
use crate::ddl::constraint;
use crate::ddl::shadow::{self, BuildIndex};
use crate::error::Result;
use crate::failpoint;
use crate::ident::QualifiedName;
use crate::model::deployment::{Deployment, RecordedIndex};
use crate::model::hold::Hold;
use crate::model::settings::{PARALLEL_MAINTENANCE, Settings};
use crate::pg::lock::{self, Mode};
use crate::pg::security::{self, Identity, SettingsLevel};
use crate::pg::spi::{self, Arg};
use crate::pg::xact::{self, Caught};
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
pub(crate) fn step(deployment: &mut Deployment, settings: &Settings, hold: Hold) -> Result<Built> {
    let _us = Identity::extension()?;
    if !deployment.progress.indexes_laid_out {
        lay_out(deployment)?;
    }
    match build(deployment, settings, hold)? {
        Some(Ok(what)) => {
            deployment.progress.indexes_made = chunks::totals(deployment.id, Kind::Index)?.done;
            return Ok(Built::Done(what));
        }
        // Rows that break it may have been corrected since the purge: their keys are in the log.
        Some(Err(caught)) if caught.is_collision() && hold == Hold::Alone => {
            purge::whole(deployment, settings)?;
            return match build(deployment, settings, hold)? {
                Some(Ok(what)) => Ok(Built::Done(what)),
                Some(Err(caught)) => caught.raise(),
                None => Ok(Built::Others),
            };
        }
        Some(Err(caught)) if caught.is_collision() => return Ok(Built::Alone),
        Some(Err(caught)) => return caught.raise(),
        None => {}
    }
    if !chunks::totals(deployment.id, Kind::Index)?.complete {
        return Ok(Built::Others);
    }
    if hold == Hold::Shared {
        return Ok(Built::Alone);
    }
    complete(deployment, settings)
}

/// Builds the next index that nobody else is building: what it built, or why it could not be. None:
/// there is none. Writes nothing of the deployment but the index's piece.
pub(crate) fn build(
    deployment: &Deployment,
    settings: &Settings,
    hold: Hold,
) -> Result<Option<std::result::Result<String, Caught>>> {
    let Some(piece) = chunks::take(deployment.id, Kind::Index)? else { return Ok(None) };
    let _us = Identity::extension()?;
    let Some(index) = deployment.plan.indexes.get(piece.first as usize) else { return Ok(None) };
    let left = chunks::open_weight(deployment.id, Kind::Index)?;
    let built = xact::subtransaction(|| {
        let statements = in_tablespace(deployment, index)?;
        settings.maintenance.iter().try_for_each(|(name, value)| security::set(name, value))?;
        if hold == Hold::Shared {
            #[allow(clippy::cast_precision_loss)]
            let share = piece.weight as f64 / left.max(1.0);
            let rows = deployment.progress.rows_copied;
            let allotment = Allotment::of(settings, piece.weight, rows, share);
            security::set(PARALLEL_MAINTENANCE, &allotment.workers.to_string())?;
            // Other access methods use all the memory that they can have.
            if index.method == "btree" && security::may_spill() {
                let kb = allotment.sort_kb.min(security::maintenance_kb());
                security::set("maintenance_work_mem", &format!("{kb}kB"))?;
            }
        }
        statements.1.build.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
        require_recorded(deployment, index)
    });
    if let Err(caught) = built {
        return Ok(Some(Err(caught)));
    }
    chunks::advance(deployment.id, Kind::Index, &piece, piece.end, 0)?;
    failpoint::reach("index_built");
    Ok(Some(Ok(format!("index {}", index.name.as_str()))))
}

/// Refuses an index that is not what its text was made from.
fn require_recorded(deployment: &Deployment, index: &RecordedIndex) -> Result<()> {
    let name = QualifiedName { schema: deployment.blue_schema.clone(), name: index.name.clone() };
    tree::require_index(&name, &index.meaning)
}

/// The statements of an index, and the settings that put it where it belongs and by which it is read.
fn in_tablespace(
    deployment: &Deployment,
    index: &RecordedIndex,
) -> Result<(SettingsLevel, BuildIndex)> {
    let level = security::search(&index.meaning.path)?;
    let tablespace = index.tablespace.as_ref().map_or("", |t| t.as_str());
    security::set("default_tablespace", tablespace)?;
    Ok((level, shadow::build_index(&deployment.blue_name(), index)))
}

/// Whether blue has an index of this name: one that is built may still lack its constraint.
pub(crate) fn is_there(deployment: &Deployment, index: &RecordedIndex) -> Result<bool> {
    let _us = Identity::extension()?;
    let name = QualifiedName { schema: deployment.blue_schema.clone(), name: index.name.clone() };
    Ok(catalog::relation_oid(&name)?.is_some())
}

/// Writes down which indexes are to be built. The largest first, so that processes end together;
/// green's index of the same name tells how large one is, and one that is new may be as large as the
/// table.
pub(crate) fn lay_out(deployment: &mut Deployment) -> Result<()> {
    let _us = Identity::extension()?;
    chunks::forget(deployment.id)?;
    let blue = deployment.blue_name();
    let attached = deployment.progress.indexes_built;
    for (number, index) in deployment.plan.indexes.iter().enumerate().skip(attached) {
        if shadow::build_index(&blue, index).build.is_empty() || is_there(deployment, index)? {
            continue;
        }
        let schema = deployment.source.schema.clone();
        let green = catalog::relation_oid(&QualifiedName { schema, name: index.name.clone() })?;
        let like = Arg::Oid(green.unwrap_or_else(|| deployment.blue()));
        let weight = spi::one("SELECT pg_catalog.pg_relation_size($1)", &[like])?;
        chunks::add_index(deployment.id, number, weight.unwrap_or_default())?;
    }
    deployment.progress.indexes_laid_out = true;
    failpoint::reach("index_laid_out");
    Ok(())
}

/// What comes after the indexes, one thing a call.
fn complete(deployment: &mut Deployment, settings: &Settings) -> Result<Built> {
    let blue = deployment.blue_name();
    if let Some(index) = deployment.plan.indexes.get(deployment.progress.indexes_built).cloned() {
        let (_level, statements) = in_tablespace(deployment, &index)?;
        if !statements.exclusive.is_empty() {
            exclusively(deployment, settings, || {
                statements.exclusive.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
                require_recorded(deployment, &index)
            })?;
        }
        deployment.progress.indexes_built += 1;
        failpoint::reach("attach_done");
        return Ok(Built::Done(format!("attach {}", index.name.as_str())));
    }
    if !deployment.progress.constraints_added {
        if !deployment.plan.not_valid.is_empty() {
            exclusively(deployment, settings, || {
                deployment.plan.not_valid.iter().try_for_each(|check| {
                    let _path = security::search(&check.meaning.path)?;
                    let statements = constraint::add(&blue, check);
                    statements.iter().try_for_each(|sql| spi::run(sql, &[]).map(drop))?;
                    tree::require_check(&blue, check)
                })
            })?;
        }
        deployment.progress.constraints_added = true;
    }
    if !deployment.progress.analyzed {
        spi::run(&shadow::analyze(&blue), &[])?;
        deployment.progress.analyzed = true;
        failpoint::reach("attach_analyzed");
        deployment.progress.drain_xid = xact::current_xid();
        return Ok(Built::Done("analyze".to_owned()));
    }
    Ok(Built::Nothing)
}

/// Runs ANALYZE once more where the first sync has brought in much: blue may have been nearly empty when
/// it ran, and its own autovacuum is off. Whether it did.
pub(crate) fn analyze_again(deployment: &mut Deployment) -> Result<bool> {
    let progress = &deployment.progress;
    // As autovacuum_analyze_scale_factor and autovacuum_analyze_threshold by default.
    let many = (progress.rows_copied - progress.rows_purged) / 10 + 50;
    if progress.analyzed_again || progress.synced < many {
        return Ok(false);
    }
    let _us = Identity::extension()?;
    spi::run(&shadow::analyze(&deployment.blue_name()), &[])?;
    deployment.progress.analyzed_again = true;
    deployment.progress.drain_xid = xact::current_xid();
    Ok(true)
}

/// Does what keeps blue's readers out, in short tries.
fn exclusively(
    deployment: &Deployment,
    settings: &Settings,
    run: impl Fn() -> Result<()>,
) -> Result<()> {
    let blue = deployment.blue();
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
