//! The session that drives a deployment: its claim, a transaction for each of its steps, what it tells
//! its client, and what it writes down when it gives up.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;

use crate::error::{Error, Result};
use crate::guard::intrusion;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::pg::lock;
use crate::pg::security::{self, Identity};
use crate::pg::spi::{self, Arg};
use crate::pg::time_limits;
use crate::pg::witness::Witness;
use crate::pg::xact::{self, Procedure, SubtransactionError};
use crate::runner::begin::{self, Checked};
use crate::state::store::{self, LockedDeployment};

/// How often progress is told. Something is sent at least that often, so that the server notices a
/// client that is gone.
pub(crate) const NOTICE_EVERY: Duration = Duration::from_secs(1);

/// How long an error waits for somebody who has written the state and not committed.
const WRITE_WAIT: Duration = Duration::from_secs(2);

/// Whether a commit waits until it is on disk. A batch that a crash loses is done again, so nobody
/// has to wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// As the session's synchronous_commit says.
    Session,
    /// It does not wait.
    Async,
    /// It waits, with everything that was committed before it, whatever the session says.
    FlushAll,
}

/// A session in `CALL bg_run`.
pub(crate) struct Session<'a> {
    procedure: &'a Procedure,
    id: i64,
    settings: &'a Settings,
    notice: &'a dyn Fn(&str),
    began: Instant,
    told: Option<Instant>,
    checked: Checked,
}

impl<'a> Session<'a> {
    /// A session that has not told or claimed anything yet; `notice` tells its client.
    pub(crate) fn new(
        procedure: &'a Procedure,
        id: i64,
        settings: &'a Settings,
        notice: &'a dyn Fn(&str),
    ) -> Self {
        let (began, checked) = (Instant::now(), Checked::default());
        Self { procedure, id, settings, notice, began, told: None, checked }
    }

    /// The deployment's number.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// The settings of the call.
    pub(crate) fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// Writes down that this backend drives the deployment; another one that lives is an error.
    pub(crate) fn claim(&mut self) -> Result<()> {
        time_limits::none_for_transaction()?;
        let me = me()?;
        let mut table = String::new();
        let done = self.transaction(Durability::Async, |d, settings| {
            for member in d.members_mut() {
                if let Some((pid, since)) = &member.progress.runner
                    && member.progress.runner.as_ref() != Some(&me)
                    && is_alive(*pid, since)?
                {
                    table = member.source.plain();
                    return Ok(Err(*pid));
                }
                member.progress.runner = Some(me.clone());
                member.progress.settings = Some(settings.clone());
                member.progress.waiting = None;
                member.progress.copy_mark = None;
                store::save_claim(member)?;
            }
            Ok(Ok(()))
        })?;
        done.map_err(|pid| {
            Error::new(
                PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
                format!(
                    "CALL bg_run is already driving the deployment of {table} in the session with pid {pid}"
                ),
            )
            .hint("Let it go on, or end it with pg_terminate_backend and call again.")
        })
    }

    /// Takes the claim back.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.transaction(Durability::Async, |d, _| {
            d.members_mut().try_for_each(|member| {
                member.progress.runner = None;
                store::save_claim(member)
            })
        })
    }

    /// Runs `work` in a transaction of its own. An error is rolled back, written to the deployment,
    /// and raised.
    pub(crate) fn transaction<T>(
        &mut self,
        flush: Durability,
        work: impl FnOnce(&mut LockedDeployment, &Settings) -> Result<T>,
    ) -> Result<T> {
        self.transaction_as(Hold::Alone, flush, work)
    }

    /// The same, under the deployment's lock with others who copy or alone.
    pub(crate) fn transaction_as<T>(
        &mut self,
        hold: Hold,
        flush: Durability,
        work: impl FnOnce(&mut LockedDeployment, &Settings) -> Result<T>,
    ) -> Result<T> {
        let witness = Witness::stand();
        let done = xact::with_memory(|| {
            xact::subtransaction(|| {
                let mut d = begin::begin_as(self.id, hold, &mut self.checked)?;
                work(&mut d, self.settings)
            })
        });
        match done {
            Ok(value) => {
                match flush {
                    Durability::Session => {}
                    Durability::Async => security::set_local("synchronous_commit", "off")?,
                    Durability::FlushAll => security::set_local("synchronous_commit", "local")?,
                }
                self.commit()?;
                Ok(value)
            }
            Err(caught) => {
                let error = intrusion::blame_caught(caught.error, &witness);
                self.or_give_up(Err(SubtransactionError { error }))
            }
        }
    }

    /// Runs `work` in the transaction that is open. An error is treated the same.
    pub(crate) fn look<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.or_give_up(xact::subtransaction(work))
    }

    /// Sleeps; a cancel gives the deployment back.
    pub(crate) fn sleep(&self, time: Duration) -> Result<()> {
        self.look(|| {
            xact::sleep(time);
            Ok(())
        })
    }

    /// Ends the transaction that is open, so that no snapshot of it is left.
    pub(crate) fn commit(&self) -> Result<()> {
        self.procedure.commit();
        time_limits::none_for_transaction()
    }

    /// Tells the client something that it is to know at once.
    pub(crate) fn notice(&self, line: &str) {
        (self.notice)(line);
    }

    /// Sends a progress NOTICE now.
    pub(crate) fn tell(&mut self, line: &str) {
        self.notice(line);
        self.told = Some(Instant::now());
    }

    /// Nothing was told lately.
    pub(crate) fn is_due(&self) -> bool {
        self.told.is_none_or(|at| at.elapsed() >= NOTICE_EVERY)
    }

    /// Sends a progress NOTICE, if nothing was told lately.
    pub(crate) fn tell_if_due<S: AsRef<str>>(&mut self, line: impl FnOnce() -> S) {
        if self.is_due() {
            self.tell(line().as_ref());
        }
    }

    /// Returns what was done. On an error: writes it as last_error, ends this session's claim, and returns it.
    fn or_give_up<T>(&self, done: std::result::Result<T, SubtransactionError>) -> Result<T> {
        let error = match done {
            Ok(value) => return Ok(value),
            Err(caught) => resumable(caught.error),
        };
        // In vain where somebody has written the state and not committed, or another cancel comes: the client
        // gets the error all the same.
        let _written = xact::subtransaction(|| {
            let _limited = lock::limited(WRITE_WAIT)?;
            store::save_error(self.id, &error)?;
            let member = store::load(self.id)?;
            let error = Some(error.message.clone());
            let seconds = self.began.elapsed().as_secs_f64();
            let step = store::Step { name: "run", seconds, count: None, detail: None, error };
            store::record(&member, &step)
        });
        self.commit()?;
        Err(error)
    }
}

/// This backend: its number, and when it began.
fn me() -> Result<(i32, String)> {
    let _us = Identity::extension()?;
    let sql =
        "SELECT pg_catalog.pg_backend_pid()::text || ' ' || extract(epoch FROM backend_start)::text
           FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()";
    let text: String = spi::one(sql, &[])?.unwrap_or_default();
    let (pid, since) = text.split_once(' ').unwrap_or(("0", ""));
    Ok((pid.parse().unwrap_or_default(), since.to_owned()))
}

/// Whether this session drives the deployment, and so commits each batch at once.
pub(crate) fn is_run_of_ours(member: &Member) -> bool {
    member.progress.runner.as_ref().is_some_and(|(pid, _)| *pid == xact::my_pid())
}

/// Whether the backend with this number that began then still lives.
pub(crate) fn is_alive(pid: i32, since: &str) -> Result<bool> {
    let _us = Identity::extension()?;
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity
                        WHERE pid = $1::int8 AND extract(epoch FROM backend_start)::text = $2)";
    Ok(spi::one::<bool>(sql, &[Arg::Int(pid.into()), Arg::Text(since)])?.unwrap_or(false))
}

/// Forgets the sessions that drove it and are gone. The caller has its lock alone.
pub(crate) fn forget_dead(d: &mut LockedDeployment) -> Result<()> {
    for member in d.members_mut() {
        if let Some((pid, since)) = &member.progress.runner
            && !is_alive(*pid, since)?
        {
            member.progress.runner = None;
            member.progress.waiting = None;
            store::save_claim(member)?;
        }
    }
    Ok(())
}

/// Says how to go on after a time limit, a cancel, or rows that break a constraint.
fn resumable(error: Error) -> Error {
    if error.hint.is_some() {
        return error;
    }
    if matches!(&xact::sqlstate(error.code)[..2], "22" | "23" | "54") {
        error.hint("Correct the rows in the live table and CALL bg_run again: it goes on where it was. SELECT bg_abort(table) ends the deployment.")
    } else if matches!(&xact::sqlstate(error.code)[..2], "3F" | "42") {
        error.hint("Make what is missing, or let the function that calls it find it: ALTER FUNCTION … SET search_path. Then CALL bg_run again: it goes on where it was.")
    } else if error.code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED {
        error.hint("Committed batches stay: CALL bg_run again with the same arguments and it goes on. statement_timeout counts for the whole CALL; SET statement_timeout = 0 for it.")
    } else {
        error
    }
}
