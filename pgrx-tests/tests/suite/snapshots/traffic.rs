//! All who are at work on the table at a time, and what they found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::Cluster;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::ledger::{Ledger, Seen};
use crate::story::person::Refusal;
use crate::story::{Person, Scene};

/// How often a kind of clients did its work, and how that went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub done: usize,
    /// With an exchange between the snapshot and the reading.
    pub straddled: usize,
    pub wrong: usize,
    /// Errors that the server gives such clients without us, too.
    pub refused: usize,
}

/// What all share.
pub struct Traffic {
    pub ledger: Ledger,
    pub cluster: &'static Cluster,
    pub database: String,
    pub seed: u64,
    /// Connections may be lost: somebody makes the server fall.
    pub rough: bool,
    pub writes: AtomicU64,
    stop: AtomicBool,
    pause: AtomicBool,
    busy: AtomicUsize,
    findings: Mutex<Vec<String>>,
    tallies: Mutex<BTreeMap<&'static str, Tally>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Why a client's turn ended early.
pub enum Halt {
    /// The connection is gone.
    Lost,
    /// An error of the server's.
    Refused(Refusal),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        let codes = ["", "57P01", "57P02", "57P03"];
        if codes.contains(&refusal.code.as_str()) { Self::Lost } else { Self::Refused(refusal) }
    }
}

impl Traffic {
    pub fn new(scene: &Scene, ledger: Ledger, seed: u64, rough: bool) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            cluster: scene.cluster,
            database: scene.database.clone(),
            seed,
            rough,
            writes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            pause: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            findings: Mutex::default(),
            tallies: Mutex::default(),
            threads: Mutex::default(),
        })
    }

    /// A session of the application.
    pub fn app(&self) -> Person {
        Person::connect(self.cluster, "app", &self.database)
    }

    /// Lets a client take its turns, in a thread of its own, until all are stopped. `connect` is called
    /// at first and when the connection was lost. A refusal that comes out of a turn is a finding.
    pub fn send<T>(
        self: &Arc<Self>,
        kind: &'static str,
        connect: impl Fn(&Traffic) -> T + Send + 'static,
        mut turn: impl FnMut(&Traffic, &mut T, &mut StdRng) -> Result<(), Halt> + Send + 'static,
    ) {
        let traffic = Arc::clone(self);
        let mut threads = self.threads.lock().unwrap();
        let number = threads.len() as u64;
        threads.push(std::thread::spawn(move || {
            let mut random = StdRng::seed_from_u64(traffic.seed ^ number << 32);
            let mut client = connect(&traffic);
            while !traffic.stop.load(SeqCst) {
                traffic.busy.fetch_add(1, SeqCst);
                if traffic.pause.load(SeqCst) {
                    traffic.busy.fetch_sub(1, SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                }
                match turn(&traffic, &mut client, &mut random) {
                    Ok(()) => {}
                    Err(Halt::Lost) if traffic.rough => client = connect(&traffic),
                    Err(Halt::Lost) => {
                        traffic.find(kind, "the connection was lost".to_owned());
                        client = connect(&traffic);
                    }
                    Err(Halt::Refused(refusal)) => {
                        traffic.find(kind, format!("{refusal:?}"));
                        client = connect(&traffic);
                    }
                }
                traffic.busy.fetch_sub(1, SeqCst);
            }
        }));
    }

    /// Something is wrong.
    pub fn find(&self, kind: &'static str, what: String) {
        self.tally(kind, |tally| tally.wrong += 1);
        let mut findings = self.findings.lock().unwrap();
        if findings.len() < 40 {
            println!("! {kind}: {what}");
        }
        findings.push(format!("{kind}: {what}"));
    }

    /// Judges what a snapshot saw.
    pub fn judge(&self, kind: &'static str, seen: &Seen) {
        self.tally(kind, |tally| {
            tally.done += 1;
            tally.straddled += usize::from(seen.straddles());
        });
        let verdict = self.ledger.judge(seen);
        if !verdict.is_right() {
            let where_ = if seen.straddles() { " across an exchange" } else { "" };
            self.find(kind, format!("read{where_}: {verdict}"));
        }
    }

    pub fn tally(&self, kind: &'static str, change: impl FnOnce(&mut Tally)) {
        change(self.tallies.lock().unwrap().entry(kind).or_default());
    }

    pub fn tally_of(&self, kind: &'static str) -> Tally {
        self.tallies.lock().unwrap().get(kind).copied().unwrap_or_default()
    }

    /// Nobody is in a transaction when it returns.
    pub fn pause(&self) {
        self.pause.store(true, SeqCst);
        let deadline = Instant::now() + Duration::from_secs(90);
        while self.busy.load(SeqCst) > 0 {
            assert!(Instant::now() < deadline, "somebody does not come to an end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn go_on(&self) {
        self.pause.store(false, SeqCst);
    }

    /// Ends all, and prints what they did.
    pub fn stop(&self) {
        self.stop.store(true, SeqCst);
        for thread in std::mem::take(&mut *self.threads.lock().unwrap()) {
            if thread.join().is_err() {
                self.findings.lock().unwrap().push("a client's thread panicked".to_owned());
            }
        }
        for (kind, tally) in &*self.tallies.lock().unwrap() {
            let Tally { done, straddled, wrong, refused } = tally;
            println!(
                "{kind:>24}: {done:>5} done, {straddled:>4} across an exchange, {wrong:>4} wrong, {refused:>4} refused"
            );
        }
    }

    /// All that was found up to now.
    pub fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap().clone()
    }

    #[track_caller]
    pub fn assert_nothing_found(&self, when: &str) {
        let findings = self.findings();
        assert!(
            findings.is_empty(),
            "{when}: {} findings:\n{}",
            findings.len(),
            findings[..findings.len().min(12)].join("\n")
        );
    }
}

/// How long a reader waits between its snapshot and its reading: up to `most`, often not so long.
pub fn nap(random: &mut StdRng, most: Duration) -> Duration {
    let part = if random.random_bool(0.5) { 1.0 } else { 0.2 };
    most.mul_f64(random.random_range(0.0..part))
}
