//! The throttle of one process that copies, purges or syncs.

use std::time::{Duration, Instant};

use crate::catalog;
use crate::error::Result;
use crate::model::settings::Settings;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::throttle::{self, Marks};

/// How often one looks again while something is over its limit.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What it has to remember between batches.
pub struct Throttle {
    began: Instant,
    marks: Marks,
    wal: u64,
}

impl Throttle {
    /// Begins to look and to count.
    pub fn begin() -> Self {
        Self { began: Instant::now(), marks: Marks::default(), wal: xact::wal_written() }
    }

    /// How long to rest after a batch that took `took`.
    pub fn rest(&mut self, settings: &Settings, took: Duration) -> Duration {
        let wal = xact::wal_written();
        let written = wal.saturating_sub(std::mem::replace(&mut self.wal, wal));
        throttle::rest(settings, took, written)
    }

    /// What is over its limit now, in words.
    pub fn obstacle(&mut self, settings: &Settings) -> Result<Option<String>> {
        if !throttle::has_limits(settings) {
            return Ok(None);
        }
        let pressure = {
            let _us = Identity::extension()?;
            catalog::pressure(&settings.replicas)?
        };
        let now = self.began.elapsed();
        self.marks.add(now, pressure.position);
        Ok(throttle::obstacle(settings, &pressure, &self.marks, now))
    }
}
