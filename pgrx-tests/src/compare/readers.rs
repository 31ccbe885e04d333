//! Readers in REPEATABLE READ: each takes its snapshot, does something else for up to two seconds,
//! and then reads some rows. So there is a snapshot from before whatever happens to the table, most
//! of the time without a lock on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use postgres::{Client, NoTls};
use rand::Rng;

use super::OWNER;
use super::place::Place;

/// How many there are.
const READERS: usize = 2;
/// The longest time between a snapshot and what is read by it.
const LONGEST_MS: u64 = 2_000;
/// How many rows are read.
const ROWS: i64 = 100;

/// Readers at work.
pub(super) struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Readers {
    /// Lets them begin.
    pub(super) fn start(place: &Place) -> Result<Self> {
        let mut readers = Self { stop: Arc::default(), threads: Vec::new() };
        for _ in 0..READERS {
            let config = place.cluster.config(OWNER, "postgres");
            let mut client = config.connect(NoTls).context("connecting to read")?;
            let table = place.table;
            let sql = format!(
                "SELECT count(*) FROM (SELECT FROM {} ORDER BY {} DESC LIMIT {ROWS}) r",
                table.name, table.key
            );
            let stop = Arc::clone(&readers.stop);
            let thread = thread::Builder::new()
                .name("reader".to_owned())
                .spawn(move || read(&mut client, &sql, &stop))
                .context("starting a thread")?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Lets them end their transactions. An error of a reader is an error.
    pub(super) fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a reader's thread panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn read(client: &mut Client, sql: &str, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM ledger LIMIT 1";
        client.batch_execute(begin).context("taking a snapshot")?;
        let rest = Duration::from_millis(rand::rng().random_range(0..LONGEST_MS));
        thread::sleep(rest);
        client.batch_execute(&format!("{sql}; COMMIT")).context("reading")?;
    }
    Ok(())
}
