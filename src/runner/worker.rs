//! What the background workers of a deployment are told, and what they do in a transaction.
//!
//! A worker copies and builds indexes under the deployment's shared lock: any verb that wants it alone waits for the
//! workers' batches, and they for it. A worker writes nothing of the deployment but its piece, so
//! that it can die at any moment. It ends when its runner is gone.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backfill::copy::{self, Copied};
use crate::ddl::{log, shadow};
use crate::error::{Error, Result};
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::oid::BlockNumber;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::worker::{self, Handle};
use crate::runner::begin::{self, Checked};
use crate::runner::session;
use crate::runner::step;
use crate::runner::throttle::LOOK_EVERY;
use crate::runner::throttle::Throttle;
use crate::state::store;

/// How long a worker waits for something to do.
const SHORT_REST: Duration = Duration::from_millis(10);

/// What a worker is there for; the number is the member's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Copies and builds indexes with its runner.
    Help(i64),
    /// Vacuums one of the deployment's own tables.
    Vacuum(i64, OwnTable),
    /// Writes down the failure that the letter with the second number tells.
    Note(i64, i64),
}

/// A table that only the extension writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OwnTable {
    /// Blue, before its indexes are built.
    Blue,
    /// The change log of the live table.
    Log,
}

impl Job {
    /// Reads what [`start`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|e| Error::internal(format!("a worker's job cannot be read: {e}")))
    }

    /// For pg_stat_activity.
    pub(crate) fn application(self) -> &'static str {
        match self {
            Job::Help(_) => "pg_bluegreen worker",
            Job::Vacuum(..) => "pg_bluegreen vacuum",
            Job::Note(..) => "pg_bluegreen note",
        }
    }
}

/// Starts a worker. None: there is no free slot.
pub(crate) fn start(job: Job) -> Result<Option<Handle>> {
    let text = serde_json::to_string(&job)
        .map_err(|e| Error::internal(format!("a worker's job as JSON: {e}")))?;
    worker::start(job.application(), &text)
}

/// What a helping worker does after a batch.
pub(crate) enum Next {
    /// Rest so long, then look again.
    Rest(Duration),
    /// End.
    End,
}

/// A helping worker's state between its batches.
pub(crate) struct CopyWorker {
    id: i64,
    blocks: BlockNumber,
    throttle: Throttle,
    checked: Checked,
}

impl CopyWorker {
    /// Begins.
    pub(crate) fn new(id: i64) -> Self {
        Self { id, blocks: 0, throttle: Throttle::begin(id), checked: Checked::default() }
    }

    /// One batch. The caller commits.
    pub(crate) fn batch(&mut self) -> Result<Next> {
        let d = begin::begin_as(self.id, Hold::Shared, &mut self.checked)?;
        let member = d.first();
        let driven = match &member.progress.runner {
            Some((pid, since)) => session::is_alive(*pid, since)?,
            None => false,
        };
        if member.paused || !driven {
            return Ok(Next::End);
        }
        let settings = member.progress.settings.clone().unwrap_or_default();
        match member.phase {
            Phase::Copying => self.copy(member, &settings),
            Phase::Indexing if member.progress.indexes_laid_out => {
                if self.throttle.full(&settings)?.is_some() {
                    Ok(Next::Rest(LOOK_EVERY))
                } else if step::build_index(member, &settings)? {
                    Ok(Next::Rest(Duration::ZERO))
                } else {
                    Ok(Next::End)
                }
            }
            _ => Ok(Next::End),
        }
    }

    fn copy(&mut self, member: &Member, settings: &Settings) -> Result<Next> {
        if self.throttle.obstacle(settings)?.is_some() {
            return Ok(Next::Rest(LOOK_EVERY));
        }
        if self.blocks == 0 {
            self.blocks = member.progress.batch_blocks;
        }
        let began = Instant::now();
        match copy::batch(member, settings, Hold::Shared, &mut self.blocks, &mut None)? {
            Copied::Batch => {
                let (took, processes) = (began.elapsed(), settings.copy_workers);
                Ok(Next::Rest(self.throttle.rest(settings, took, processes)))
            }
            // The runner lays out more.
            Copied::Others if member.progress.laid_out < member.progress.end_block => {
                Ok(Next::Rest(SHORT_REST))
            }
            Copied::Others | Copied::Done | Copied::Rewritten => Ok(Next::End),
        }
    }
}

/// The statement of a vacuum, and how many times as long as its work it rests; None when the deployment is over.
pub(crate) fn vacuum(id: i64, table: OwnTable) -> Result<Option<(String, f64)>> {
    let member = store::load(id)?;
    if !member.phase.is_open() {
        return Ok(None);
    }
    let settings = member.progress.settings.clone().unwrap_or_default();
    Ok(Some(match table {
        OwnTable::Blue => (shadow::vacuum(&member.blue_name()), settings.nice),
        // A swap waits for it.
        OwnTable::Log => (log::vacuum(&member.log()), 0.0),
    }))
}

/// What a vacuum has achieved, in words.
pub(crate) fn vacuumed(member: &Member) -> Result<String> {
    let _us = Identity::extension()?;
    let sql =
        "SELECT pg_catalog.format('%s of %s pages all-visible', sum(relallvisible), sum(relpages))
                 FROM pg_catalog.pg_class WHERE oid = ANY ($1::oid[])";
    let leaves: Vec<i64> = member.blue_leaves().iter().map(|leaf| i64::from(*leaf)).collect();
    Ok(spi::one(sql, &[Arg::Ints(&leaves)])?.unwrap_or_default())
}
