//! How much memory of their own the sessions under test have: what the kernel counts as resident
//! and anonymous, so that shared memory is left out (`RssAnon` in /proc; the same as `Anonymous` in
//! `smaps_rollup`, but without a walk through all pages that would hold the session up).

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use postgres::{Client, NoTls};

use super::place::Place;
use super::session::SUBJECT;
use crate::cluster::SUPERUSER;

/// How often is looked.
const EVERY: Duration = Duration::from_millis(10);

/// The sessions under test, and workers of ours.
const PIDS: &str = "SELECT pid FROM pg_stat_activity
                     WHERE application_name = $1 OR application_name LIKE 'pg\\_bluegreen%'";

/// One who looks at what each of the sessions has.
pub(super) struct Memory {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Samples>>,
}

/// The most that one of them had, at each look; in MB.
#[derive(Debug)]
pub(super) struct Samples(Vec<(SystemTime, f64)>);

impl Memory {
    /// Begins to look.
    pub(super) fn watch(place: &Place) -> Result<Self> {
        let config = place.cluster.config(SUPERUSER, "postgres");
        let mut client = config.connect(NoTls).context("connecting to watch memory")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || look(&mut client, &stopped))
            .context("starting a thread")?;
        Ok(Self { stop, thread })
    }

    /// What was seen.
    pub(super) fn stop(self) -> Result<Samples> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the thread that watches memory panicked"))?
    }
}

impl Samples {
    /// The most up to a point in time.
    pub(super) fn peak_until(&self, end: SystemTime) -> f64 {
        let until = self.0.iter().filter(|(at, _)| *at <= end);
        until.map(|(_, megabytes)| *megabytes).fold(0.0, f64::max)
    }
}

fn look(client: &mut Client, stopped: &AtomicBool) -> Result<Samples> {
    let pids = client.prepare(PIDS).context("preparing to look")?;
    let mut samples = Vec::new();
    while !stopped.load(Ordering::SeqCst) {
        let rows = client.query(&pids, &[&SUBJECT]).context("looking")?;
        let now = SystemTime::now();
        // One that has just ended has no memory any more.
        let all = rows.iter().filter_map(|row| own_megabytes(row.get(0)).ok());
        samples.push((now, all.fold(0.0, f64::max)));
        thread::sleep(EVERY);
    }
    Ok(Samples(samples))
}

/// What the backend of a session has now, in MB.
pub(super) fn of_session(client: &mut Client) -> Result<f64> {
    own_megabytes(
        client.query_one("SELECT pg_backend_pid()", &[]).context("asking its pid")?.get(0),
    )
}

fn own_megabytes(pid: i32) -> Result<f64> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    kilobytes(&text).map(|kb| kb / 1024.0).with_context(|| format!("no RssAnon in {file}"))
}

fn kilobytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::kilobytes;

    #[test]
    fn the_kernel_s_figure_is_found() {
        let status = "VmRSS:\t    2248 kB\nRssAnon:\t     148 kB\nRssFile:\t    2100 kB\n";
        assert_eq!(kilobytes(status).map(|kb| kb.to_string()), Some("148".to_owned()));
        assert_eq!(kilobytes("nothing"), None);
    }
}
