//! One writer: makes transactions, enters them, and judges the errors.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use postgres::error::SqlState;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::random::Fresh;
use super::report::{Problem, Report, Stall};
use super::schema::{Schema, Statement};
use super::session::{Failure, Session};
use super::sums::Sums;
use super::transaction::{Transaction, Work};
use super::voice::{Value, Voice};
use super::writers::{Control, Isolation, Workload};

/// How long a writer tries to get to the server again.
const RECONNECT: Duration = Duration::from_secs(60);

/// One writer.
pub(super) struct Writer {
    number: usize,
    config: postgres::Config,
    schema: Schema,
    workload: Workload,
    voice: Voice,
    session: Session,
    random: StdRng,
    fresh: Fresh,
    /// Its number in the ledger.
    id: i64,
    /// Its last transaction's number.
    txn: i64,
    keys: Vec<i64>,
    shared: Vec<i64>,
    truncate_at: Option<Instant>,
    report: Report,
    /// By phase, in the order of their numbers.
    stalls: Vec<Stall>,
}

/// How a transaction ended.
enum End {
    Committed(Work),
    RolledBack,
    Truncated(Work),
}

impl Writer {
    /// Connects, and takes possession of some rows.
    pub fn open(
        config: &postgres::Config,
        schema: &Schema,
        workload: &Workload,
        number: usize,
        shared: &[i64],
    ) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.application_name(&format!("writer {number}"));
        let voice = match workload.voices.as_slice() {
            [] => Voice::Prepared,
            voices => voices[number % voices.len()],
        };
        let mut session = Session::open(&config, schema, voice)?;
        let shape = super::ledger::present_shape(session.client(), schema)?;
        let block: i64 = session.client().query_one("SELECT nextval('journal.block')", &[])?.get(0);
        let rows = session.client().query(
            &format!(
                // Not `<> ALL`, which compares each pair where the key is no bigint.
                "SELECT ({key})::int8 FROM {table} \
                 WHERE {key} > 0 AND {key} % $1::int8 = $2::int8 \
                 AND NOT EXISTS (SELECT FROM unnest($3::int8[]) s (shared) WHERE shared = {key}) \
                 ORDER BY random() LIMIT 1000",
                key = shape.key,
                table = schema.table
            ),
            &[&i64::try_from(workload.writers.max(1))?, &i64::try_from(number)?, &shared.to_vec()],
        )?;
        let truncate_at = match workload.truncate {
            Some(every) if number == 0 => Some(Instant::now() + every),
            _ => None,
        };
        Ok(Self {
            number,
            config,
            schema: schema.clone(),
            workload: workload.clone(),
            voice,
            session,
            random: StdRng::seed_from_u64(workload.seed ^ (number as u64) << 32),
            fresh: Fresh::new(block),
            id: block,
            txn: 0,
            keys: rows.iter().map(|row| row.get(0)).collect(),
            shared: shared.to_vec(),
            truncate_at,
            report: Report::default(),
            stalls: Vec::new(),
        })
    }

    /// Makes transactions until it is told to stop or has a problem.
    pub fn run(mut self, control: &Control) -> Report {
        let begin = Instant::now();
        let mut turn: u32 = 0;
        while !control.stop.load(Ordering::SeqCst) {
            control.busy.fetch_add(1, Ordering::SeqCst);
            if control.pause.load(Ordering::SeqCst) {
                control.busy.fetch_sub(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            let (phase, start) = (control.phase(), Instant::now());
            let ended = self.turn(control);
            self.count(control, phase, start.elapsed());
            control.busy.fetch_sub(1, Ordering::SeqCst);
            if let Err(message) = ended {
                let phase = control.name(control.phase());
                self.report.problems.push(Problem { writer: self.number, phase, message });
                break;
            }
            turn += 1;
            if let Some(pace) = self.workload.pace {
                let due = begin + Duration::from_secs_f64(f64::from(turn) / pace);
                while Instant::now() < due && !control.stop.load(Ordering::SeqCst) {
                    let left = due.saturating_duration_since(Instant::now());
                    thread::sleep(left.min(Duration::from_millis(100)));
                }
            }
        }
        self.report.stalls = self.stalls;
        self.report
    }

    /// One transaction, and what follows from its end. An error is a problem.
    fn turn(&mut self, control: &Control) -> Result<(), String> {
        if self.fresh.is_empty() {
            // Rare: after tens of thousands of transactions.
            let block = self.session.client().query_one("SELECT nextval('journal.block')", &[]);
            match block {
                Ok(row) => self.fresh = Fresh::new(row.get(0)),
                Err(error) => return self.judge(control, Failure::Database(error), None),
            }
        }
        self.txn += 1;
        let mut pending = None;
        match self.transact(&mut pending) {
            Ok(End::RolledBack) => self.report.rolled_back += 1,
            Ok(End::Committed(work)) => {
                self.keys = work.keys;
                self.report.committed += 1;
                control.committed.fetch_add(1, Ordering::AcqRel);
            }
            Ok(End::Truncated(work)) => {
                self.keys = work.keys;
                self.report.committed += 1;
                self.report.truncated += 1;
                control.committed.fetch_add(1, Ordering::AcqRel);
            }
            Err(failure) => return self.judge(control, failure, pending),
        }
        Ok(())
    }

    /// Makes a transaction. Before it asks for the commit it leaves in `pending` what will be.
    fn transact(&mut self, pending: &mut Option<Work>) -> Result<End, Failure> {
        let now = Instant::now();
        let truncate = self.truncate_at.is_some_and(|at| at <= now);
        if truncate {
            self.truncate_at = self.workload.truncate.map(|every| now + every);
        }
        let isolation = match self.workload.isolation.as_slice() {
            levels if truncate || levels.is_empty() => Isolation::ReadCommitted,
            levels => levels[self.random.random_range(0..levels.len())],
        };
        self.session.control(isolation.begin())?;
        let mut transaction = Transaction {
            session: &mut self.session,
            random: &mut self.random,
            fresh: &mut self.fresh,
            work: Work::new(self.keys.clone()),
            look: self.workload.look,
        };
        if truncate {
            transaction.truncate(self.id, self.txn)?;
        } else {
            transaction.work(&self.shared)?;
        }
        let work = transaction.work;
        if self.random.random_ratio(1, 12) {
            self.session.control("ROLLBACK")?;
            return Ok(End::RolledBack);
        }
        let Sums { rows, ids, names, emails, whole } = work.effect;
        let entry = [self.id, self.txn, rows, ids, names, emails, whole].map(Value::Int);
        self.session.say(Statement::Enter, &entry)?;
        *pending = Some(work.clone());
        match self.workload.two_phase {
            Some(every) if self.random.random_ratio(1, every.max(1)) => {
                self.commit_in_two_phases()?
            }
            _ => self.session.control("COMMIT")?,
        }
        Ok(if truncate { End::Truncated(work) } else { End::Committed(work) })
    }

    /// Prepares the transaction and commits it after a while, now and then a long one.
    fn commit_in_two_phases(&mut self) -> Result<(), postgres::Error> {
        let name = self.prepared_name();
        self.session.control(&format!("PREPARE TRANSACTION '{name}'"))?;
        let most = if self.random.random_ratio(1, 20) { 1_000 } else { 30 };
        thread::sleep(Duration::from_millis(self.random.random_range(0..most)));
        self.session.control(&format!("COMMIT PREPARED '{name}'"))
    }

    /// The name of the present transaction, once it is prepared.
    fn prepared_name(&self) -> String {
        format!("{} {}", self.id, self.txn)
    }

    /// Whether the writer can go on after a failure; if not, why.
    fn judge(
        &mut self,
        control: &Control,
        failure: Failure,
        pending: Option<Work>,
    ) -> Result<(), String> {
        let error = match failure {
            Failure::Surprise(message) => return Err(message),
            Failure::Database(error) => error,
        };
        let told = tell(&error);
        if is_lost(&error) {
            if !self.workload.errors.reconnect {
                return Err(told);
            }
            return self.reconnect(control, pending).map_err(|why| format!("{told}; then {why}"));
        }
        let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
        let message = error.as_db_error().map(|e| e.message().to_owned()).unwrap_or_default();
        if !self.workload.errors.tolerate.contains(&code) {
            return Err(told);
        }
        match code.as_str() {
            "42703" => self.session.turn(),
            "0A000" if message == "cached plan must not change result type" => {
                self.session.forget();
            }
            "0A000" => return Err(told),
            _ => {}
        }
        *self.report.tolerated.entry(code).or_default() += 1;
        match self.session.control("ROLLBACK") {
            Ok(()) => Ok(()),
            Err(error) => self.judge(control, Failure::Database(error), None),
        }
    }

    /// Connects again; then the ledger says whether the last transaction was committed.
    fn reconnect(&mut self, control: &Control, pending: Option<Work>) -> Result<(), String> {
        let deadline = Instant::now() + RECONNECT;
        loop {
            match self.resume(pending.as_ref()) {
                Ok(()) => {
                    self.report.reconnected += 1;
                    return Ok(());
                }
                Err(_) if control.stop.load(Ordering::SeqCst) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(tell(&error)),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn resume(&mut self, pending: Option<&Work>) -> Result<(), postgres::Error> {
        self.session = Session::open(&self.config, &self.schema, self.voice)?;
        let name = self.prepared_name();
        let prepared = self
            .session
            .client()
            .query_opt("SELECT FROM pg_catalog.pg_prepared_xacts WHERE gid = $1", &[&name])?;
        if prepared.is_some() {
            self.session.control(&format!("COMMIT PREPARED '{name}'"))?;
        }
        let entered: bool = self
            .session
            .client()
            .query_one(
                "SELECT EXISTS (SELECT FROM journal.entry WHERE writer = $1 AND txn = $2)",
                &[&self.id, &self.txn],
            )?
            .get(0);
        if let (true, Some(work)) = (entered, pending) {
            self.keys.clone_from(&work.keys);
            self.report.unanswered += 1;
        }
        Ok(())
    }

    /// Counts a transaction in all the phases that it touched.
    fn count(&mut self, control: &Control, from: usize, took: Duration) {
        let to = control.phase();
        while self.stalls.len() <= to {
            let name = control.name(self.stalls.len());
            self.stalls.push(Stall::new(&name));
        }
        for stall in &mut self.stalls[from..=to] {
            stall.record(took);
        }
    }
}

/// Whether the connection is gone, or the server is not ready for one.
fn is_lost(error: &postgres::Error) -> bool {
    let Some(code) = error.code() else { return true };
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW]
        .contains(code)
}

/// The whole error.
fn tell(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!(
            "{} {}{}{}",
            error.code().code(),
            error.message(),
            error.detail().map(|text| format!("; {text}")).unwrap_or_default(),
            error.where_().map(|text| format!("; {text}")).unwrap_or_default()
        ),
        None => format!("connection: {error}"),
    }
}
