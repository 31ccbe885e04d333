//! How far a deployment is and when it is ready: what [`crate::plan::eta`] is told.

use crate::catalog;
use crate::error::Result;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::model::sample::SampledIndex;
use crate::model::settings::Settings;
use crate::oid::BlockNumber;
use crate::pg::security::Identity;
use crate::plan::eta::{self, Build, Builds, Foretold, Stage, Work};
use crate::plan::sample::{self, Copied};
use crate::runner::worker_pool;
use crate::state::chunks;

/// What the caller knows besides the stored state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Log rows that wait.
    pub pending: i64,
    /// Seconds since the last commit of a session that works on it; 0 where none does.
    pub since: f64,
}

/// Foretells the end. Takes no lock on the tables.
pub(crate) fn foretell(member: &Member, settings: &Settings, seen: Seen) -> Result<Foretold> {
    // A run's own settings, not those of whoever asks.
    let settings = member.progress.settings.as_ref().unwrap_or(settings);
    let stage = stage(member, settings);
    if matches!(stage, Stage::Prepared | Stage::Ready) {
        return Ok(eta::foretell(&Work { stage, ..Work::default() }));
    }
    Ok(eta::foretell(&work(member, settings, stage, seen)?))
}

/// What is being done.
fn stage(member: &Member, settings: &Settings) -> Stage {
    let p = &member.progress;
    match member.phase {
        Phase::Prepared => Stage::Prepared,
        Phase::Copying => Stage::Copy,
        Phase::Indexing if !p.purged => Stage::Purge,
        Phase::Indexing if vacuums(member, settings) && !has_indexes(member) => Stage::Vacuum,
        Phase::Indexing if p.indexes_built < member.plan.indexes.len() => Stage::Indexes,
        Phase::Indexing if !p.analyzed => Stage::Analyze,
        Phase::Indexing if !p.dependents_made => Stage::Dependents,
        Phase::Indexing => Stage::Sync,
        Phase::Ready | Phase::Swapped | Phase::Finished | Phase::Aborted => Stage::Ready,
    }
}

fn has_indexes(member: &Member) -> bool {
    member.progress.indexes_made > 0 || member.progress.indexes_built > 0
}

/// Whether the new table is still to be vacuumed: only a run does it.
fn vacuums(member: &Member, settings: &Settings) -> bool {
    let p = &member.progress;
    settings.vacuum && !p.vacuumed && (p.runner.is_some() || member.phase == Phase::Copying)
}

fn work(member: &Member, settings: &Settings, stage: Stage, seen: Seen) -> Result<Work> {
    let p = &member.progress;
    let part = |done: BlockNumber, of: f64| if of > 0.0 { f64::from(done) / of } else { 0.0 };
    let copied = part(p.copied_blocks, f64::from(p.end_block)).min(1.0);
    let rows = match stage {
        Stage::Copy if copied > 0.0 => p.rows_copied as f64 / copied,
        _ => p.rows_copied as f64,
    };
    let growth = match &p.sample {
        Some(s) if s.copied_blocks > 0 && s.blue_blocks > 0 => {
            s.blue_blocks as f64 / s.copied_blocks as f64
        }
        _ => 1.0,
    };
    let pages = f64::from(p.end_block) * growth;
    let mut work = Work {
        stage,
        since: seen.since,
        copy_seconds: p.copy_seconds,
        copied,
        purge: (p.purge_seconds, part(p.purge_next, pages)),
        rows,
        pages,
        heap_pages: f64::from(p.end_block),
        columns: member.mapping().columns.len() as f64,
        vacuums: vacuums(member, settings) || p.vacuumed,
        builds: builds(member, settings, rows)?,
        views: views(member),
        statistics_target: statistics_target(settings),
        pending: seen.pending as f64,
        sync_rate: p.sync_rate * 1000.0,
    };
    if stage == Stage::Copy {
        // Writers go on as they do.
        work.pending /= copied.max(0.05);
    }
    Ok(work)
}

/// Materialized views that are still to be filled.
fn views(member: &Member) -> usize {
    let p = &member.progress;
    if p.dependents_made {
        return p.twins.iter().filter(|twin| twin.to_fill).count();
    }
    let copies = member.plan.dependents.copies.iter();
    copies.filter(|copy| copy.populated && copy.statements.is_some()).count()
}

fn statistics_target(settings: &Settings) -> f64 {
    let target = settings.maintenance.get("default_statistics_target");
    target.and_then(|target| target.parse().ok()).unwrap_or(100.0)
}

/// The indexes in the order in which they are built.
fn builds(member: &Member, settings: &Settings, rows: f64) -> Result<Builds> {
    let p = &member.progress;
    let pieces = if p.indexes_laid_out { chunks::indexes(member.id)? } else { Vec::new() };
    let small = sample::small(&Copied::of(p), &member.plan.indexes);
    let mut each = Vec::new();
    for (number, index) in member.plan.indexes.iter().enumerate() {
        let sampled = p.sample.as_ref().and_then(|sample| {
            let index: &SampledIndex = sample.indexes.get(index.name.as_str())?;
            Some(eta::build_seconds(sample, index, rows))
        });
        let sampled = sampled.or(small);
        let piece = pieces.iter().find(|piece| piece.number == number);
        let took = match piece {
            Some(piece) => piece.took.map(|ms| ms as f64 / 1000.0),
            // It was there already, or is built with its constraint.
            None if p.indexes_laid_out && number < p.indexes_built => Some(0.0),
            None => None,
        };
        let weight = piece.map_or(sampled.unwrap_or(1.0), |piece| piece.weight);
        each.push(Build { alone: sampled, weight, took });
    }
    each.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let running = {
        let _us = Identity::extension()?;
        if p.indexes_laid_out { catalog::index_builds(member.blue())? } else { Vec::new() }
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = u32::try_from(processors).unwrap_or(u32::MAX);
    let is_large = p.end_block >= worker_pool::WORTH_A_WORKER;
    let builders = if is_large { settings.index_builders() } else { 1 };
    Ok(Builds {
        each,
        running,
        processes: builders.min(processors) as usize,
        parallel: (1 + settings.parallel_maintenance()).max(settings.copy_workers),
        processors,
    })
}
