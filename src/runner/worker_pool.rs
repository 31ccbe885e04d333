//! The background workers of a run: started by the session that drives it, ended with it.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::deployment::Deployment;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::oid::BlockNumber;
use crate::pg::worker::Handle;
use crate::runner::session::Durability;
use crate::runner::session::Session;
use crate::runner::worker;
use crate::runner::worker::{Job, OwnTable};
use crate::state::store;
use crate::sync;

/// How often one looks whether the vacuum is done.
const VACUUM_LOOK: Duration = Duration::from_millis(10);

/// Blocks that are left to copy from which on workers are started.
pub(crate) const WORTH_A_WORKER: BlockNumber = 2048;
/// How often workers are started in a phase, at most: one that dies at once must not be started for
/// ever.
const MAX_STARTS: u32 = 3;

/// The workers of a run.
#[derive(Default)]
pub(crate) struct WorkerPool {
    workers: Vec<Handle>,
    /// How often workers were started in this phase.
    starts: u32,
    /// It was said that no worker can be had.
    no_slots: bool,
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        // Whoever gives up does not leave an index build of an hour behind.
        if !std::thread::panicking() {
            self.workers.iter().for_each(Handle::terminate);
        }
    }
}

impl WorkerPool {
    /// Forgets the workers that have ended.
    pub(crate) fn forget_ended(&mut self) {
        self.workers.retain(Handle::is_alive);
    }

    /// The processes that work now, the session counted.
    pub(crate) fn processes(&self) -> u32 {
        u32::try_from(self.workers.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// No worker is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// How the session takes the deployment's lock: shared while workers run, because one may hold it for
    /// a whole index build.
    pub(crate) fn hold(&self) -> Hold {
        if self.is_empty() { Hold::Alone } else { Hold::Shared }
    }

    /// Lets workers be started as often again.
    pub(crate) fn begin_phase(&mut self) {
        self.starts = 0;
    }

    /// Starts the workers that copy and build indexes with the session, where there is enough to do.
    pub(crate) fn start(&mut self, session: &mut Session<'_>, d: &Deployment) -> Result<()> {
        let jobs = helped(d, session.settings());
        if self.starts >= MAX_STARTS || !self.is_empty() || jobs.is_empty() {
            return Ok(());
        }
        self.starts += 1;
        let wanted = jobs.len();
        for (number, id) in jobs.into_iter().enumerate() {
            match worker::start(Job::Help(id))? {
                Some(worker) => self.workers.push(worker),
                None => {
                    self.starts = MAX_STARTS;
                    let line = format!(
                        "working with {number} of {wanted} background workers: max_worker_processes leaves no more"
                    );
                    self.say_no_slots(session, &line);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Has a member's blue vacuumed and frozen, before its indexes are built.
    pub(crate) fn vacuum(&mut self, session: &mut Session<'_>, id: i64) -> Result<()> {
        let began = Instant::now();
        let mut detail = None;
        if session.settings().vacuum {
            // Rows of a commit that is not on disk yet cannot be marked.
            session.transaction(Durability::FlushAll, |d, _| {
                d.members_mut().try_for_each(|member| store::save(member))
            })?;
            if !self.wait_for(
                session,
                Job::Vacuum(id, OwnTable::Blue),
                "vacuuming the new table",
            )? {
                let why = "max_worker_processes leaves no worker: the new table is not vacuumed";
                self.say_no_slots(session, why);
                detail = Some(why.to_owned());
            }
        }
        let (wanted, seconds) = (session.settings().vacuum, began.elapsed().as_secs_f64());
        session.transaction(Durability::Async, |d, _| {
            let Some(member) = d.members_mut().find(|member| member.id == id) else {
                return Ok(());
            };
            member.progress.vacuumed = true;
            if wanted {
                let detail = match detail {
                    None => Some(worker::vacuumed(member)?),
                    why => why,
                };
                let step =
                    store::Step { name: "vacuum", seconds, count: None, detail, error: None };
                store::record(member, &step)?;
            }
            store::save(member)
        })
    }

    /// Has the change logs vacuumed that are long: a swap reads them, dead rows too.
    pub(crate) fn vacuum_logs(&mut self, session: &mut Session<'_>) -> Result<()> {
        let long: Vec<i64> = session.transaction(Durability::Async, |d, _| {
            let mut long = Vec::new();
            for member in d.members() {
                if member.phase.is_open() && sync::is_log_long(member)? {
                    long.push(member.id);
                }
            }
            Ok(long)
        })?;
        for id in long {
            let job = Job::Vacuum(id, OwnTable::Log);
            if !self.wait_for(session, job, "vacuuming the change log")? {
                self.say_no_slots(
                    session,
                    "max_worker_processes leaves no worker: the change log is not vacuumed",
                );
            }
        }
        Ok(())
    }

    /// Has a worker do something and waits for its end. False: there is no free slot.
    fn wait_for(&mut self, session: &mut Session<'_>, job: Job, line: &str) -> Result<bool> {
        let Some(worker) = worker::start(job)? else { return Ok(false) };
        // With the others, so that it ends with us.
        self.workers.push(worker);
        while self.workers.last().is_some_and(Handle::is_alive) {
            session.tell_if_due(|| line);
            session.sleep(VACUUM_LOOK)?;
        }
        self.forget_ended();
        Ok(true)
    }

    /// Says once that no worker can be had.
    fn say_no_slots(&mut self, session: &mut Session<'_>, line: &str) {
        if !self.no_slots {
            self.no_slots = true;
            session.tell(line);
        }
    }
}

/// The members that workers are to help with, once for each worker; no more of them than one member asks for.
fn helped(d: &Deployment, settings: &Settings) -> Vec<i64> {
    let wanted: Vec<_> = d.members().map(|member| (member.id, helpers(member, settings))).collect();
    let most = wanted.iter().map(|(_, helpers)| *helpers).max().unwrap_or(0);
    let each = wanted.into_iter().flat_map(|(id, helpers)| std::iter::repeat_n(id, helpers));
    each.take(most).collect()
}

/// The workers that there is enough to do for, beside the session.
fn helpers(member: &Member, settings: &Settings) -> usize {
    let p = &member.progress;
    let processes = match member.phase {
        Phase::Copying if p.end_block.saturating_sub(p.copied_blocks) >= WORTH_A_WORKER => {
            settings.copy_workers
        }
        Phase::Indexing if p.indexes_laid_out && p.end_block >= WORTH_A_WORKER => {
            let left = member.plan.indexes.len().saturating_sub(p.indexes_made as usize);
            settings.index_builders().min(u32::try_from(left).unwrap_or(u32::MAX))
        }
        _ => 1,
    };
    processes.saturating_sub(1) as usize
}
