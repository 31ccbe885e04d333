//! CALL bg_run: batches, each committed, with a notice of progress about once a second.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;

use crate::deployment::batches::Checked;
use crate::deployment::exchange::{self, Misfits};
use crate::deployment::throttle::{LOOK_EVERY, Throttle};
use crate::deployment::workers::{self, Job};
use crate::deployment::{batches, dependents, finish, status, store};
use crate::error::{Error, Result};
use crate::model::deployment::Deployment;
use crate::model::phase::{Event, Phase};
use crate::model::settings::Settings;
use crate::pg::lock::Hold;
use crate::pg::security::{self, Identity};
use crate::pg::spi::{self, Arg};
use crate::pg::worker::Handle;
use crate::pg::xact::{self, Caught, Procedure};

/// How often progress is told. Something is sent at least that often, so that the server notices a
/// client that is gone.
const NOTICE_EVERY: Duration = Duration::from_secs(1);

/// How long a session that has nothing to copy lets its workers go on before it looks again.
const OTHERS: Duration = Duration::from_millis(10);
/// How often one looks whether the vacuum is done.
const VACUUM_LOOK: Duration = Duration::from_millis(10);

/// Blocks that are left to copy from which on workers are started.
const WORTH_A_WORKER: u32 = 2048;
/// How often workers are started, at most.
const MOST_STARTS: u32 = 3;

/// Where bg_run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Blue is in step.
    Ready,
    /// The new table is live.
    Swapped,
    /// The old table is gone.
    Finished,
}

impl Until {
    /// Reads the argument.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "ready" => Ok(Self::Ready),
            "swapped" => Ok(Self::Swapped),
            "finished" => Ok(Self::Finished),
            other => Err(Error::argument(format!("until cannot be '{other}'"))
                .hint("Use 'ready', 'swapped' or 'finished'.")),
        }
    }
}

/// Drives the deployment to `until`; returns the phase reached.
pub fn run(
    procedure: &Procedure,
    id: i64,
    until: Until,
    settings: &Settings,
    notice: impl Fn(&str),
) -> Result<Phase> {
    let mut runner = Runner {
        procedure,
        id,
        settings,
        notice,
        told: None,
        throttle: Throttle::begin(),
        checked: RefCell::default(),
        workers: Vec::new(),
        starts: 0,
        no_slots: false,
        alone: false,
        phase: Phase::Prepared,
        waiting: None,
    };
    runner.claim()?;
    let phase = runner.drive(until)?;
    // After an error the claim is gone already, with what was written of the error.
    runner.release()?;
    Ok(phase)
}

/// Whether a commit waits until it is on disk. A batch that a crash loses is done again, so nobody
/// has to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// As the session's synchronous_commit says.
    Now,
    /// It does not wait.
    Later,
    /// It waits, with everything that was committed before it, whatever the session says.
    Everything,
}

struct Runner<'a, N: Fn(&str)> {
    procedure: &'a Procedure,
    id: i64,
    settings: &'a Settings,
    notice: N,
    told: Option<Instant>,
    throttle: Throttle,
    checked: RefCell<Checked>,
    /// Workers that copy with this session.
    workers: Vec<Handle>,
    /// How often workers were started: one that dies at once must not be started for ever.
    starts: u32,
    /// It was said that no worker can be had.
    no_slots: bool,
    /// The next batch must be done without the workers.
    alone: bool,
    /// The phase after the last batch.
    phase: Phase,
    /// What the deployment's status says that it waits for.
    waiting: Option<String>,
}

impl<N: Fn(&str)> Drop for Runner<'_, N> {
    fn drop(&mut self) {
        // Whoever gives up does not leave an index build of an hour behind.
        if !std::thread::panicking() {
            self.workers.iter().for_each(Handle::terminate);
        }
    }
}

impl<N: Fn(&str)> Runner<'_, N> {
    fn drive(&mut self, until: Until) -> Result<Phase> {
        let (mut phase, mut in_step);
        loop {
            (phase, in_step) = self.batch()?;
            if in_step {
                break;
            }
        }
        if phase == Phase::Aborted {
            return Err(Error::state("the deployment was aborted by another session")
                .hint("Begin a new one with SELECT bg_prepare(table, changes)."));
        }
        if phase == Phase::Ready && until != Until::Ready {
            phase = self.swap()?;
        }
        // Foreign keys that a swap or a revert has left NOT VALID.
        while let Some(what) = self.transaction(Flush::Now, |d, _| dependents::validate_next(d))? {
            (self.notice)(&format!("validated {what}"));
        }
        if phase == Phase::Swapped && until == Until::Finished {
            phase = self.transaction(Flush::Now, |d, settings| {
                finish::finish(d, settings)?;
                Ok(d.phase)
            })?;
        }
        Ok(phase)
    }

    /// One batch, and the rest after it; whether blue is in step now.
    fn batch(&mut self) -> Result<(Phase, bool)> {
        let began = Instant::now();
        self.workers.retain(Handle::is_alive);
        if self.alone && !self.workers.is_empty() {
            // They end when nothing is left that they can do.
            if self.told.is_none_or(|at| at.elapsed() >= NOTICE_EVERY) {
                self.tell("waiting for the background workers to end their work");
            }
            self.sleep(OTHERS)?;
            return Ok((self.phase, false));
        }
        let hold = if self.workers.is_empty() { Hold::Alone } else { Hold::Shared };
        let (mut d, batch) = self.transaction_as(hold, Flush::Later, |d, settings| {
            let batch = if d.paused { None } else { Some(batches::next(d, settings, hold)?) };
            Ok((d.clone(), batch))
        })?;
        let Some(batch) = batch else {
            self.wait_for(Some("bg_resume".to_owned()))?;
            return Ok((d.phase, false));
        };
        self.wait_for(None)?;
        if self.told.is_none_or(|at| at.elapsed() >= NOTICE_EVERY) {
            self.tell(&status::progress_line(&d));
        }
        self.alone = batch.alone;
        if batch.throttled && batch.worked {
            self.rest(began.elapsed())?;
        } else if !batch.worked && !batch.in_step && !batch.alone {
            self.sleep(if d.phase == Phase::Copying { OTHERS } else { OTHERS * 10 })?;
        }
        if d.phase == Phase::Indexing && d.progress.purged && !d.progress.vacuumed {
            self.vacuum()?;
            d.progress.vacuumed = true;
        }
        self.start_workers(&d)?;
        self.phase = d.phase;
        Ok((d.phase, batch.in_step || !d.phase.is_open()))
    }

    /// Rests after a batch as the settings say, and waits while something is over its limit.
    fn rest(&mut self, took: Duration) -> Result<()> {
        let mut left = self.throttle.rest(self.settings, took);
        while !left.is_zero() {
            let part = left.min(NOTICE_EVERY);
            self.sleep(part)?;
            left -= part;
            if !left.is_zero() {
                self.tell("resting, as bluegreen.nice and bluegreen.max_wal_rate ask for");
            }
        }
        loop {
            let settings = self.settings;
            let throttle = &mut self.throttle;
            let looked = xact::subtransaction(|| throttle.obstacle(settings));
            let Some(why) = self.or_give_up(looked)? else { break };
            // No snapshot while we wait.
            self.procedure.commit();
            self.wait_for(Some(why))?;
        }
        self.wait_for(None)?;
        Ok(())
    }

    /// Lets a moment pass, and lets the status say what for; None is over.
    fn wait_for(&mut self, why: Option<String>) -> Result<()> {
        // Numbers in it change all the time.
        let kind = |why: &Option<String>| {
            why.as_ref().map(|w| w.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        };
        if kind(&self.waiting) != kind(&why) {
            let waiting = why.clone().map(|why| (why, batches::now()));
            // Beside a worker that builds an index for an hour it could not be had alone.
            let hold = if self.workers.is_empty() { Hold::Alone } else { Hold::Shared };
            self.transaction_as(hold, Flush::Later, |d, _| {
                d.progress.waiting = waiting;
                store::save(d)
            })?;
        }
        if let Some(why) = &why {
            if self.told.is_none_or(|at| at.elapsed() >= NOTICE_EVERY) {
                self.tell(&format!("waiting: {why}"));
            }
            self.sleep(LOOK_EVERY)?;
        }
        self.waiting = why;
        Ok(())
    }

    fn tell(&mut self, line: &str) {
        (self.notice)(line);
        self.told = Some(Instant::now());
    }

    /// Says once that no worker can be had.
    fn say_no_slots(&mut self, line: &str) {
        if !self.no_slots {
            self.no_slots = true;
            self.tell(line);
        }
    }

    /// Sleeps; a cancel gives the deployment back.
    fn sleep(&self, time: Duration) -> Result<()> {
        let slept = xact::subtransaction(|| {
            xact::sleep(time);
            Ok(())
        });
        self.or_give_up(slept)
    }

    /// Starts the workers that copy and build indexes with us, where there is enough to do.
    fn start_workers(&mut self, d: &Deployment) -> Result<()> {
        if d.phase != self.phase {
            self.starts = 0;
        }
        let p = &d.progress;
        let useful = match d.phase {
            Phase::Copying => p.end_block.saturating_sub(p.copied_blocks) >= WORTH_A_WORKER,
            Phase::Indexing => {
                let left = d.plan.indexes.len().saturating_sub(p.indexes_made as usize);
                p.indexes_laid_out && left > 1 && p.end_block >= WORTH_A_WORKER
            }
            _ => false,
        };
        let wanted = self.settings.copy_workers.saturating_sub(1) as usize;
        if !useful || self.alone || self.starts >= MOST_STARTS {
            return Ok(());
        }
        if !self.workers.is_empty() || wanted == 0 {
            return Ok(());
        }
        self.starts += 1;
        for number in 0..wanted {
            match workers::start(Job::Help(self.id))? {
                Some(worker) => self.workers.push(worker),
                None => {
                    self.starts = MOST_STARTS;
                    self.say_no_slots(&format!(
                        "working with {number} of {wanted} background workers: max_worker_processes leaves no more"
                    ));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Has blue vacuumed and frozen, before its indexes are built.
    fn vacuum(&mut self) -> Result<()> {
        let began = Instant::now();
        let mut detail = None;
        if self.settings.vacuum {
            // Rows of a commit that is not on disk yet cannot be marked.
            self.transaction(Flush::Everything, |d, _| store::save(d))?;
            match workers::start(Job::Vacuum(self.id))? {
                Some(worker) => {
                    // With the others, so that it ends with us.
                    self.workers.push(worker);
                    while self.workers.last().is_some_and(Handle::is_alive) {
                        if self.told.is_none_or(|at| at.elapsed() >= NOTICE_EVERY) {
                            self.tell("vacuuming the new table");
                        }
                        self.sleep(VACUUM_LOOK)?;
                    }
                }
                None => {
                    let why =
                        "max_worker_processes leaves no worker: the new table is not vacuumed";
                    self.say_no_slots(why);
                    detail = Some(why.to_owned());
                }
            }
        }
        let (wanted, seconds) = (self.settings.vacuum, began.elapsed().as_secs_f64());
        self.transaction(Flush::Later, |d, _| {
            d.progress.vacuumed = true;
            if wanted {
                let detail = match detail {
                    None => Some(workers::vacuumed(d)?),
                    why => why,
                };
                let step =
                    store::Step { name: "vacuum", seconds, count: None, detail, error: None };
                store::record(d, &step)?;
            }
            store::save(d)
        })
    }

    /// Syncs and tries, each committed by itself, until the swap is made or the time is over.
    fn swap(&mut self) -> Result<Phase> {
        let until = Instant::now() + self.settings.retry_for;
        loop {
            let quick = Settings {
                retry_for: self.settings.retry_for.min(Duration::from_secs(2)),
                ..self.settings.clone()
            };
            let last = Instant::now() + quick.retry_for >= until;
            let tried = self.transaction(Flush::Now, |d, _| {
                if d.phase != Phase::Ready {
                    return Ok(Ok(d.phase));
                }
                let tried = xact::subtransaction(|| {
                    exchange::exchange(d, &quick, Event::Swapped, Misfits::Refuse)?;
                    Ok(d.phase)
                });
                match tried {
                    Ok(phase) => Ok(Ok(phase)),
                    Err(caught) if !last && may_pass(&caught.error) => Ok(Err(caught.error)),
                    Err(caught) => caught.raise(),
                }
            })?;
            match tried {
                Ok(phase) => return Ok(phase),
                Err(why) => (self.notice)(&format!("swap: {}; trying again", why.message)),
            }
            while !self.batch()?.1 {}
        }
    }

    /// Runs `work` in a transaction of its own. An error is rolled back, written to the deployment,
    /// and raised.
    fn transaction<T>(
        &self,
        flush: Flush,
        work: impl FnOnce(&mut Deployment, &Settings) -> Result<T>,
    ) -> Result<T> {
        self.transaction_as(Hold::Alone, flush, work)
    }

    /// The same, under the deployment's lock with others who copy or alone.
    fn transaction_as<T>(
        &self,
        hold: Hold,
        flush: Flush,
        work: impl FnOnce(&mut Deployment, &Settings) -> Result<T>,
    ) -> Result<T> {
        let done = xact::with_memory(|| {
            xact::subtransaction(|| {
                let mut d = batches::begin_as(self.id, hold, &mut self.checked.borrow_mut())?;
                work(&mut d, self.settings)
            })
        });
        match done {
            Ok(value) => {
                match flush {
                    Flush::Now => {}
                    Flush::Later => security::set_local("synchronous_commit", "off")?,
                    Flush::Everything => security::set_local("synchronous_commit", "local")?,
                }
                self.procedure.commit();
                Ok(value)
            }
            failed => self.or_give_up(failed),
        }
    }

    /// What was done; an error is written to the deployment, which is given back, and raised.
    fn or_give_up<T>(&self, done: std::result::Result<T, Caught>) -> Result<T> {
        let caught = match done {
            Ok(value) => return Ok(value),
            Err(caught) => caught,
        };
        store::save_error(self.id, &caught.error)?;
        if let Ok(d) = store::load(self.id) {
            let error = Some(caught.error.message.clone());
            let step = store::Step { name: "run", seconds: 0.0, count: None, detail: None, error };
            store::record(&d, &step)?;
        }
        self.procedure.commit();
        Err(resumable(caught.error))
    }

    /// Writes down that this backend drives the deployment; another one that lives is an error.
    fn claim(&mut self) -> Result<()> {
        let me = self.me()?;
        let done = self.transaction(Flush::Later, |d, settings| {
            if let Some((pid, since)) = &d.progress.runner
                && d.progress.runner.as_ref() != Some(&me)
                && is_alive(*pid, since)?
            {
                return Ok(Err(*pid));
            }
            d.progress.runner = Some(me);
            d.progress.settings = Some(settings.clone());
            d.progress.waiting = None;
            d.progress.copy_mark = None;
            store::save(d)?;
            Ok(Ok(()))
        })?;
        done.map_err(|pid| {
            Error::new(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                format!(
                    "CALL bg_run is already driving this deployment in the session with pid {pid}"
                ),
            )
            .hint("Let it go on, or end it with pg_terminate_backend and call again.")
        })
    }

    fn release(&self) -> Result<()> {
        self.transaction(Flush::Later, |d, _| {
            d.progress.runner = None;
            store::save(d)
        })
    }

    fn me(&self) -> Result<(i32, String)> {
        let _us = Identity::extension()?;
        let sql = "SELECT pg_catalog.pg_backend_pid()::text || ' ' || extract(epoch FROM backend_start)::text
                     FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()";
        let text: String = spi::one(sql, &[])?.unwrap_or_default();
        let (pid, since) = text.split_once(' ').unwrap_or(("0", ""));
        Ok((pid.parse().unwrap_or_default(), since.to_owned()))
    }
}

/// Whether the backend with this number that began then still lives.
pub fn is_alive(pid: i32, since: &str) -> Result<bool> {
    let _us = Identity::extension()?;
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity
                        WHERE pid = $1::int8 AND extract(epoch FROM backend_start)::text = $2)";
    Ok(spi::one::<bool>(sql, &[Arg::Int(pid.into()), Arg::Text(since)])?.unwrap_or(false))
}

/// Says how to go on after a time limit or a cancel.
fn resumable(error: Error) -> Error {
    if error.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED && error.hint.is_none() {
        error.hint("Committed batches stay: CALL bg_run again with the same arguments and it goes on. statement_timeout counts for the whole CALL; SET statement_timeout = 0 for it.")
    } else {
        error
    }
}

/// Errors of a swap that another committed sync, or a moment's wait, may cure.
fn may_pass(error: &Error) -> bool {
    error.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE || exchange::is_backlog(error)
}
