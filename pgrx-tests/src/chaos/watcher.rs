//! A client that does the same again and again in a thread of its own, and connects again where the
//! server was down.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use postgres::{Client, Error, NoTls};

/// Between two tries, and two turns.
const REST: Duration = Duration::from_millis(10);

/// The client at work. It ends with the value.
pub struct Watcher {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    problem: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Lets it begin, under that application_name. Each turn says what must not be; an error of the
    /// server ends the transaction, and a lost connection is opened again.
    pub fn start(
        config: &postgres::Config,
        name: &str,
        mut turn: impl FnMut(&mut Client) -> Result<Option<String>, Error> + Send + 'static,
    ) -> Result<Self> {
        let mut config = config.clone();
        config.application_name(name);
        let mut watcher = Self {
            stop: Arc::default(),
            count: Arc::default(),
            problem: Arc::default(),
            thread: None,
        };
        let (stop, count) = (Arc::clone(&watcher.stop), Arc::clone(&watcher.count));
        let problem = Arc::clone(&watcher.problem);
        let work = move || {
            let mut client: Option<Client> = None;
            while !stop.load(Ordering::SeqCst) {
                thread::sleep(REST);
                let Some(session) = &mut client else {
                    // The server is down, or just recovers.
                    client = config.connect(NoTls).ok();
                    continue;
                };
                match turn(session) {
                    Ok(found) => {
                        count.fetch_add(1, Ordering::SeqCst);
                        if let Some(found) = found {
                            let mut first = problem.lock().unwrap_or_else(PoisonError::into_inner);
                            first.get_or_insert(found);
                        }
                    }
                    Err(_) => {
                        // Whatever transaction is open is over.
                        let over = session.batch_execute("ROLLBACK").is_err();
                        client = client.filter(|session| !over && !session.is_closed());
                    }
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        watcher.thread = Some(thread.context("starting a thread")?);
        Ok(watcher)
    }

    /// How many turns there were.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The first thing that must not be.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed already.
            let _ = thread.join();
        }
    }
}
