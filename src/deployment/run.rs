//! CALL bg_run: batches, each committed, with a notice of progress about once a second.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;

use crate::deployment::exchange::{self, Misfits};
use crate::deployment::{batches, dependents, finish, status, store};
use crate::error::{Error, Result};
use crate::model::deployment::Deployment;
use crate::model::phase::{Event, Phase};
use crate::model::settings::Settings;
use crate::pg::security::{self, Identity};
use crate::pg::spi::{self, Arg};
use crate::pg::xact::{self, Procedure};

/// How often progress is told. Something is sent at least that often, so that the server notices a
/// client that is gone.
const NOTICE_EVERY: Duration = Duration::from_secs(1);

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
    let mut runner = Runner { procedure, id, settings, notice, told: None };
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
    Now,
    Later,
}

struct Runner<'a, N: Fn(&str)> {
    procedure: &'a Procedure,
    id: i64,
    settings: &'a Settings,
    notice: N,
    told: Option<Instant>,
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

    /// One batch; whether blue is in step now.
    fn batch(&mut self) -> Result<(Phase, bool)> {
        let (d, in_step) = self.transaction(Flush::Later, |d, settings| {
            let batch = batches::next(d, settings)?;
            let done = batch.in_step || !d.phase.is_open();
            Ok((d.clone(), done))
        })?;
        if self.told.is_none_or(|at| at.elapsed() >= NOTICE_EVERY) {
            (self.notice)(&status::progress_line(&d));
            self.told = Some(Instant::now());
        }
        Ok((d.phase, in_step))
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
        let done = xact::with_memory(|| {
            xact::subtransaction(|| {
                let mut d = batches::begin(self.id)?;
                work(&mut d, self.settings)
            })
        });
        match done {
            Ok(value) => {
                if flush == Flush::Later {
                    security::set_local("synchronous_commit", "off")?;
                }
                self.procedure.commit();
                Ok(value)
            }
            Err(caught) => {
                store::save_error(self.id, &caught.error)?;
                if let Ok(d) = store::load(self.id) {
                    let error = Some(caught.error.message.clone());
                    let step =
                        store::Step { name: "run", seconds: 0.0, count: None, detail: None, error };
                    store::record(&d, &step)?;
                }
                self.procedure.commit();
                Err(resumable(caught.error))
            }
        }
    }

    /// Writes down that this backend drives the deployment; another one that lives is an error.
    fn claim(&mut self) -> Result<()> {
        let me = self.me()?;
        let done = self.transaction(Flush::Later, |d, _| {
            if let Some((pid, since)) = &d.progress.runner
                && d.progress.runner.as_ref() != Some(&me)
                && is_alive(*pid, since)?
            {
                return Ok(Err(*pid));
            }
            d.progress.runner = Some(me);
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
        let sql = "SELECT pg_catalog.pg_backend_pid()::text || ' ' || backend_start::text
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
                        WHERE pid = $1::int8 AND backend_start = $2::timestamptz)";
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
