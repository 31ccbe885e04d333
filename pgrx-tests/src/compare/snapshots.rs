//! How long the sessions under test hold a snapshot: what keeps VACUUM from cleaning the whole
//! database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use postgres::NoTls;

use crate::cluster::{Cluster, SUPERUSER};

/// By this application_name the sessions under test are known.
pub(super) const SUBJECT: &str = "subject";

/// How often is looked.
const EVERY: Duration = Duration::from_millis(20);

/// Parallel workers have a snapshot of their leader's and its name.
const OLDEST: &str =
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
     FROM pg_stat_activity WHERE application_name = $1 AND backend_xmin IS NOT NULL";

/// The one who looks.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<f64>>,
}

impl Watch {
    /// Begins to look.
    pub(super) fn start(cluster: &Cluster) -> Result<Self> {
        let config = cluster.config(SUPERUSER, "postgres");
        let mut client = config.connect(NoTls).context("connecting to watch snapshots")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || {
                let statement = client.prepare(OLDEST).context("preparing to look")?;
                let mut oldest: f64 = 0.0;
                while !stopped.load(Ordering::SeqCst) {
                    let row = client.query_one(&statement, &[&SUBJECT]).context("looking")?;
                    oldest = oldest.max(row.get(0));
                    thread::sleep(EVERY);
                }
                Ok(oldest)
            })
            .context("starting a thread")?;
        Ok(Self { stop, thread })
    }

    /// The oldest snapshot that was seen, in seconds since its transaction began.
    pub(super) fn stop(self) -> Result<f64> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the thread that watches snapshots panicked"))?
    }
}
