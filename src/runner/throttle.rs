//! The throttle of one process that copies, purges or syncs.

use std::time::{Duration, Instant};

use crate::catalog::directory::{self, Directory};
use crate::error::Result;
use crate::model::server_load::ThrottleReason;
use crate::model::settings::Settings;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::throttle::{self, Effort, Marks};
use crate::state::server_load;
use crate::state::store;

/// How often one looks again while something is over its limit.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often it is looked up which directories are written to: indexes may be in tablespaces of their own.
const FIND_DIRECTORIES_EVERY: Duration = Duration::from_secs(10);

/// What it has to remember between batches.
pub(crate) struct Throttle {
    id: i64,
    began: Instant,
    marks: Marks,
    wal: u64,
    /// Where the work writes, and when that was looked up.
    directories: Option<(Instant, Vec<Directory>)>,
}

impl Throttle {
    /// Begins to look and to count, for work on a deployment.
    pub(crate) fn begin(id: i64) -> Self {
        Self {
            id,
            began: Instant::now(),
            marks: Marks::default(),
            wal: xact::wal_written(),
            directories: None,
        }
    }

    /// How long to rest after a batch that took `took`, beside `processes` in all.
    pub(crate) fn rest(&mut self, settings: &Settings, took: Duration, processes: u32) -> Duration {
        let now = xact::wal_written();
        let wal = now.saturating_sub(std::mem::replace(&mut self.wal, now));
        throttle::rest(settings, Effort { took, wal, processes })
    }

    /// What is over its limit now, space too: for what makes blue grow.
    pub(crate) fn obstacle(&mut self, settings: &Settings) -> Result<Option<ThrottleReason>> {
        match self.full(settings)? {
            Some(full) => Ok(Some(full)),
            None => self.load(settings),
        }
    }

    /// What is over its limit now, but space: a sync of what is ready must not keep from the swap, the revert or
    /// the end, which frees some.
    pub(crate) fn load(&mut self, settings: &Settings) -> Result<Option<ThrottleReason>> {
        if !throttle::has_limits(settings) {
            return Ok(None);
        }
        let server_load = {
            let _us = Identity::extension()?;
            server_load::look(&settings.replicas)?
        };
        let now = self.began.elapsed();
        self.marks.add(now, server_load.position);
        Ok(throttle::obstacle(settings, &server_load, &self.marks, now))
    }

    /// Which volume has too little space now. What has no other limit, like an index build, has this one.
    pub(crate) fn full(&mut self, settings: &Settings) -> Result<Option<ThrottleReason>> {
        if settings.min_free_space == 0 {
            return Ok(None);
        }
        let known = self.directories.take();
        let known = known.filter(|(at, _)| at.elapsed() < FIND_DIRECTORIES_EVERY);
        let (_, directories) = self.directories.insert(match known {
            Some(known) => known,
            None => (Instant::now(), find_directories(self.id)?),
        });
        let volumes: Vec<_> = directories.iter().filter_map(Directory::volume).collect();
        Ok(throttle::full(settings, &volumes))
    }
}

fn find_directories(id: i64) -> Result<Vec<Directory>> {
    let relations: Vec<_> = store::read(id)?.relations().collect();
    let _us = Identity::extension()?;
    directory::directories(&relations)
}
