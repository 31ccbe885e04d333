//! The throttle of one process that copies, purges or syncs.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::server_load::ThrottleReason;
use crate::model::settings::Settings;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::throttle::{self, Effort, Marks};
use crate::state::server_load;

/// How often one looks again while something is over its limit.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What it has to remember between batches.
pub(crate) struct Throttle {
    began: Instant,
    marks: Marks,
    wal: u64,
}

impl Throttle {
    /// Begins to look and to count.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), marks: Marks::default(), wal: xact::wal_written() }
    }

    /// How long to rest after a batch that took `took`, beside `processes` in all.
    pub(crate) fn rest(&mut self, settings: &Settings, took: Duration, processes: u32) -> Duration {
        let now = xact::wal_written();
        let wal = now.saturating_sub(std::mem::replace(&mut self.wal, now));
        throttle::rest(settings, Effort { took, wal, processes })
    }

    /// What is over its limit now.
    pub(crate) fn obstacle(&mut self, settings: &Settings) -> Result<Option<ThrottleReason>> {
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
}
