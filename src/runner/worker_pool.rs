//! The background workers of a run: started by the session that drives it, ended with it.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::deployment::Deployment;
use crate::model::hold::Hold;
use crate::model::phase::Phase;
use crate::pg::worker::Handle;
use crate::runner::session::Flush;
use crate::runner::session::Session;
use crate::runner::worker;
use crate::runner::worker::Job;
use crate::state::store;

/// How often one looks whether the vacuum is done.
const VACUUM_LOOK: Duration = Duration::from_millis(10);

/// Blocks that are left to copy from which on workers are started.
const WORTH_A_WORKER: u32 = 2048;
/// How often workers are started in a phase, at most: one that dies at once must not be started for
/// ever.
const MOST_STARTS: u32 = 3;

/// The workers of a run.
#[derive(Default)]
pub(crate) struct Crew {
    workers: Vec<Handle>,
    /// How often workers were started in this phase.
    starts: u32,
    /// It was said that no worker can be had.
    no_slots: bool,
}

impl Drop for Crew {
    fn drop(&mut self) {
        // Whoever gives up does not leave an index build of an hour behind.
        if !std::thread::panicking() {
            self.workers.iter().for_each(Handle::terminate);
        }
    }
}

impl Crew {
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
        let p = &d.progress;
        let settings = session.settings();
        let processes = match d.phase {
            Phase::Copying if p.end_block.saturating_sub(p.copied_blocks) >= WORTH_A_WORKER => {
                settings.copy_workers
            }
            Phase::Indexing if p.indexes_laid_out && p.end_block >= WORTH_A_WORKER => {
                let left = d.plan.indexes.len().saturating_sub(p.indexes_made as usize);
                settings.index_builders().min(u32::try_from(left).unwrap_or(u32::MAX))
            }
            _ => 1,
        };
        let wanted = processes.saturating_sub(1);
        if self.starts >= MOST_STARTS || !self.is_empty() || wanted == 0 {
            return Ok(());
        }
        self.starts += 1;
        for number in 0..wanted {
            match worker::start(Job::Help(session.id()))? {
                Some(worker) => self.workers.push(worker),
                None => {
                    self.starts = MOST_STARTS;
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

    /// Has blue vacuumed and frozen, before its indexes are built.
    pub(crate) fn vacuum(&mut self, session: &mut Session<'_>) -> Result<()> {
        let began = Instant::now();
        let mut detail = None;
        if session.settings().vacuum {
            // Rows of a commit that is not on disk yet cannot be marked.
            session.transaction(Flush::Everything, |d, _| store::save(d))?;
            match worker::start(Job::Vacuum(session.id()))? {
                Some(worker) => {
                    // With the others, so that it ends with us.
                    self.workers.push(worker);
                    while self.workers.last().is_some_and(Handle::is_alive) {
                        session.tell_if_due(|| "vacuuming the new table");
                        session.sleep(VACUUM_LOOK)?;
                    }
                    self.forget_ended();
                }
                None => {
                    let why =
                        "max_worker_processes leaves no worker: the new table is not vacuumed";
                    self.say_no_slots(session, why);
                    detail = Some(why.to_owned());
                }
            }
        }
        let (wanted, seconds) = (session.settings().vacuum, began.elapsed().as_secs_f64());
        session.transaction(Flush::Later, |d, _| {
            d.progress.vacuumed = true;
            if wanted {
                let detail = match detail {
                    None => Some(worker::vacuumed(d)?),
                    why => why,
                };
                let step =
                    store::Step { name: "vacuum", seconds, count: None, detail, error: None };
                store::record(d, &step)?;
            }
            store::save(d)
        })
    }

    /// Says once that no worker can be had.
    fn say_no_slots(&mut self, session: &mut Session<'_>, line: &str) {
        if !self.no_slots {
            self.no_slots = true;
            session.tell(line);
        }
    }
}
