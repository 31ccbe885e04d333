//! The writers: threads that make transactions until they are told to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postgres::NoTls;

use super::report::Report;
use super::schema::Schema;
use super::voice::Voice;
use super::writer::Writer;

/// Which errors a writer takes without calling them a problem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errors {
    /// SQLSTATEs after which the transaction is rolled back and another one made. 42703 also turns
    /// the writer to the schema's other shape, 0A000 makes it prepare its statements anew (and is
    /// taken only with the message `cached plan must not change result type`).
    pub tolerate: Vec<String>,
    /// A lost connection is opened again, and a commit that was not answered is looked up; a
    /// transaction that was prepared by then is committed.
    pub reconnect: bool,
}

impl Errors {
    /// None.
    pub fn strict() -> Self {
        Self::default()
    }

    /// Those that the new definition itself causes.
    pub fn of_a_new_definition() -> Self {
        Self::default().tolerating(&["42703", "0A000"])
    }

    /// These are none either.
    #[must_use]
    pub fn tolerating(mut self, codes: &[&str]) -> Self {
        self.tolerate.extend(codes.iter().map(|code| (*code).to_owned()));
        self
    }

    /// The server is killed now and then.
    #[must_use]
    pub fn reconnecting(mut self) -> Self {
        self.reconnect = true;
        self
    }
}

/// The isolation level of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A snapshot for each statement.
    ReadCommitted,
    /// One snapshot; what others changed since ends the transaction with 40001.
    RepeatableRead,
    /// The same with predicate locks.
    Serializable,
}

impl Isolation {
    /// All of them.
    pub const ALL: [Isolation; 3] =
        [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];

    /// The statement that begins such a transaction.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Isolation::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            Isolation::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }
}

/// What the writers do.
#[derive(Debug, Clone)]
pub struct Workload {
    /// How many.
    pub writers: usize,
    /// Their voices, dealt out in turn.
    pub voices: Vec<Voice>,
    /// Transactions per second of each; as many as it can without.
    pub pace: Option<f64>,
    /// How often the table is truncated.
    pub truncate: Option<Duration>,
    /// How many rows all of them fight for: those with the lowest positive keys.
    pub shared: i64,
    /// Also `SELECT *`, which a prepared statement cannot go on with when columns change.
    pub look: bool,
    /// The isolation levels of the transactions, by chance; READ COMMITTED where there is none. With
    /// another one 40001 has to be tolerated. TRUNCATE is always READ COMMITTED: its entry needs a
    /// snapshot from after its lock.
    pub isolation: Vec<Isolation>,
    /// One in so many transactions is committed in two phases.
    pub two_phase: Option<u32>,
    /// Which errors are none.
    pub errors: Errors,
    /// Where chance begins: the same seed makes the same choices, though not the same interleaving.
    pub seed: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            writers: 8,
            voices: Voice::ALL.to_vec(),
            pace: None,
            truncate: None,
            shared: 100,
            look: false,
            isolation: Vec::new(),
            two_phase: None,
            errors: Errors::strict(),
            seed: 1,
        }
    }
}

/// What the threads and the one who steers them know of each other.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub stop: AtomicBool,
    pub pause: AtomicBool,
    /// Writers that are in the middle of something.
    pub busy: AtomicUsize,
    pub committed: AtomicU64,
    phases: Mutex<Vec<String>>,
    phase: AtomicUsize,
}

impl Control {
    /// The present phase's number.
    pub fn phase(&self) -> usize {
        self.phase.load(Ordering::Acquire)
    }

    /// A phase's name.
    pub fn name(&self, phase: usize) -> String {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        phases.get(phase).cloned().unwrap_or_default()
    }

    fn enter(&self, name: &str) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        phases.push(name.to_owned());
        self.phase.store(phases.len() - 1, Ordering::Release);
    }
}

/// Writers at work.
#[derive(Debug)]
pub struct Writers {
    control: Arc<Control>,
    threads: Vec<JoinHandle<Report>>,
}

impl Writers {
    /// Lets them begin, as the role that `config` names, after [`super::open`]. The first phase is
    /// called `before`.
    pub fn start(config: &postgres::Config, schema: &Schema, workload: &Workload) -> Result<Self> {
        let control = Arc::new(Control::default());
        control.enter("before");
        let mut client = config.connect(NoTls).context("connecting for the writers")?;
        let shape = super::ledger::present_shape(&mut client, schema)?;
        let keys = client
            .query(
                &format!(
                    "SELECT ({key})::int8 FROM {table} WHERE {key} > 0 ORDER BY {key} LIMIT $1",
                    key = shape.key,
                    table = schema.table
                ),
                &[&workload.shared],
            )
            .context("choosing the shared rows")?;
        let shared: Vec<i64> = keys.iter().map(|row| row.get(0)).collect();

        let mut threads = Vec::with_capacity(workload.writers);
        for number in 0..workload.writers {
            let writer = Writer::open(config, schema, workload, number, &shared)
                .with_context(|| format!("opening writer {number}"))?;
            let control = Arc::clone(&control);
            threads.push(
                thread::Builder::new()
                    .name(format!("writer {number}"))
                    .spawn(move || writer.run(&control))
                    .context("starting a thread")?,
            );
        }
        Ok(Self { control, threads })
    }

    /// From now on stalls are counted under this name.
    pub fn phase(&self, name: &str) {
        self.control.enter(name);
    }

    /// How many transactions they have committed.
    pub fn committed(&self) -> u64 {
        self.control.committed.load(Ordering::Acquire)
    }

    /// Waits until they have committed so many more, or have all given up, or a minute is over.
    pub fn wait_for(&self, more: u64) {
        let goal = self.committed() + more;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.committed() < goal
            && Instant::now() < deadline
            && self.threads.iter().any(|thread| !thread.is_finished())
        {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets each end its transaction, and returns when nobody is in one.
    pub fn pause(&self) {
        self.control.pause.store(true, Ordering::SeqCst);
        while self.control.busy.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The same, for so long at most. Whether it came to that; they stay told to pause either way.
    pub fn pause_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.control.pause.store(true, Ordering::SeqCst);
        while self.control.busy.load(Ordering::SeqCst) > 0 {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Whether one of them has had a problem and gone home.
    pub fn any_gave_up(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Lets them go on.
    pub fn go_on(&self) {
        self.control.pause.store(false, Ordering::SeqCst);
    }

    /// Lets each end its transaction and go home.
    pub fn stop(mut self) -> Report {
        self.halt()
    }

    fn halt(&mut self) -> Report {
        self.control.stop.store(true, Ordering::SeqCst);
        let mut report = Report::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(one) => report.add(one),
                Err(_) => report.add(Report {
                    problems: vec![super::report::Problem {
                        writer: 0,
                        phase: String::new(),
                        message: "a writer's thread panicked".to_owned(),
                    }],
                    ..Report::default()
                }),
            }
        }
        report
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.halt();
    }
}
