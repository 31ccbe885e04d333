//! A client that does nothing but add up the table and the ledger under one snapshot, again and
//! again: whatever statement it is that meets a swap, it must never see one half of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use postgres::{Client, NoTls};

use crate::journal::{self, Schema};

/// Between two looks.
const REST: Duration = Duration::from_millis(30);

/// The client at work. It ends with the value.
pub struct Observer {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    problem: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Lets it begin.
    pub fn start(config: &postgres::Config, schema: &Schema) -> Result<Self> {
        let mut config = config.clone();
        config.application_name("observer");
        let schema = schema.clone();
        let mut observer = Self {
            stop: Arc::default(),
            looks: Arc::default(),
            problem: Arc::default(),
            thread: None,
        };
        let (stop, looks) = (Arc::clone(&observer.stop), Arc::clone(&observer.looks));
        let problem = Arc::clone(&observer.problem);
        let work = move || {
            let mut client: Option<Client> = None;
            while !stop.load(Ordering::SeqCst) {
                thread::sleep(REST);
                let Some(session) = &mut client else {
                    // The server is down, or just recovers.
                    client = config.connect(NoTls).ok();
                    continue;
                };
                // An error is a lost connection, or a column that a swap has renamed meanwhile:
                // the one who looks at everything after the step would meet it again.
                let Ok(balance) = journal::balance(session, &schema) else {
                    client = client.filter(|session| !session.is_closed());
                    continue;
                };
                looks.fetch_add(1, Ordering::SeqCst);
                if let Err(error) = balance.check() {
                    let mut first = problem.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert_with(|| format!("one statement sees: {error}"));
                }
            }
        };
        let thread = thread::Builder::new().name("observer".to_owned()).spawn(work);
        observer.thread = Some(thread.context("starting a thread")?);
        Ok(observer)
    }

    /// How often it has looked.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// What it saw that must not be.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed already.
            let _ = thread.join();
        }
    }
}
