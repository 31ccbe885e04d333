//! Deals the blows of a step, and knows which errors they excuse.

use std::collections::BTreeSet;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use postgres::error::SqlState;

use super::operator::Refusal;
use super::plan::{Blow, Fault};
use super::table::Table;
use crate::cluster::{Cluster, SUPERUSER, Signal, StopMode};

/// How long a blow waits for a worker to hit.
const WORKERS_COME: Duration = Duration::from_millis(500);

/// What has been hit in a step.
#[derive(Debug, Default)]
pub struct Damage {
    /// The server went down.
    crashed: bool,
    /// Sessions that were cancelled.
    cancelled: BTreeSet<i32>,
    /// Sessions that were ended.
    ended: BTreeSet<i32>,
    /// Transactions that last for a while.
    lasting: Vec<JoinHandle<()>>,
}

/// Where a blow lands.
pub struct Target<'a> {
    /// In this cluster.
    pub cluster: &'a Cluster,
    /// In this database.
    pub database: &'a str,
    /// On this table.
    pub table: &'a Table,
    /// Or on one of these sessions.
    pub runners: &'a [i32],
}

impl Damage {
    /// Deals a blow. Whom it hit; `None` when nobody of that kind was there.
    pub fn deal(&mut self, target: &Target<'_>, blow: Blow) -> Result<Option<String>> {
        let Target { cluster, database, table, runners } = *target;
        let (green, blue) = (&table.schema.table, table.blue());
        let pick = |pids: &[i32]| pids.get(blow.whom % pids.len().max(1)).copied();
        let victim = match blow.fault {
            Fault::CancelRunner | Fault::TerminateRunner | Fault::KillRunner => pick(runners),
            Fault::CancelWorker | Fault::TerminateWorker | Fault::KillWorker => {
                pick(&workers(cluster, database)?)
            }
            Fault::TerminateWriter => {
                pick(&pids(cluster, database, "application_name LIKE 'writer %'")?)
            }
            _ => Some(0),
        };
        let Some(pid) = victim else { return Ok(None) };
        match blow.fault {
            Fault::CancelRunner | Fault::CancelWorker => {
                if !signal(cluster, database, "pg_cancel_backend", pid)? {
                    return Ok(None);
                }
                self.cancelled.insert(pid);
            }
            Fault::TerminateRunner | Fault::TerminateWorker | Fault::TerminateWriter => {
                if !signal(cluster, database, "pg_terminate_backend", pid)? {
                    return Ok(None);
                }
                self.ended.insert(pid);
            }
            Fault::KillRunner | Fault::KillWorker => {
                // It may have ended this very moment.
                if cluster.kill_backend(pid, Signal::SIGKILL).is_err() {
                    return Ok(None);
                }
                self.crashed = true;
            }
            Fault::Stop => {
                self.crashed = true;
                cluster.stop(StopMode::Immediate)?;
                cluster.restart()?;
            }
            Fault::VacuumFull => {
                self.let_run(cluster, database, &format!("VACUUM FULL {green}"))?
            }
            Fault::Analyze => self.let_run(cluster, database, &format!("ANALYZE {green}"))?,
            Fault::VacuumFullBlue => {
                self.let_run(cluster, database, &format!("VACUUM FULL {blue}"))?;
            }
            Fault::ReindexBlue => {
                self.let_run(cluster, database, &format!("REINDEX TABLE {blue}"))?;
            }
            Fault::Comment => {
                let text = format!("COMMENT ON TABLE {green} IS '{} ms'", blow.lasts.as_millis());
                self.let_run(cluster, database, &text)?;
            }
            Fault::Index => {
                self.let_run(cluster, database, &format!("CREATE INDEX ON {green} ((1))"))?;
            }
            Fault::Holder => self.let_last(
                cluster,
                database,
                &format!("BEGIN; LOCK TABLE {green} IN ACCESS SHARE MODE"),
                blow.lasts,
            )?,
            Fault::Snapshot => self.let_last(
                cluster,
                database,
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1",
                blow.lasts,
            )?,
        }
        Ok(Some(if pid == 0 { String::new() } else { format!(" of {pid}") }))
    }

    /// Waits for what lasts.
    pub fn pass(&mut self) {
        for thread in self.lasting.drain(..) {
            // Its errors are those of the table that is gone or the server that went down.
            let _ = thread.join();
        }
    }

    /// Whether a session's error is a consequence of what was done.
    pub fn excuses(&self, pid: i32, refusal: &Refusal) -> bool {
        let code = refusal.code.as_deref();
        let is = |state: &SqlState| code == Some(state.code());
        if is(&SqlState::QUERY_CANCELED) {
            return self.cancelled.contains(&pid);
        }
        let lost = code.is_none()
            || is(&SqlState::ADMIN_SHUTDOWN)
            || is(&SqlState::CRASH_SHUTDOWN)
            || is(&SqlState::CANNOT_CONNECT_NOW);
        lost && (self.crashed || self.ended.contains(&pid))
    }

    fn let_run(&mut self, cluster: &Cluster, database: &str, sql: &str) -> Result<()> {
        self.let_last(
            cluster,
            database,
            &format!("SET statement_timeout = '20s'; {sql}"),
            Duration::ZERO,
        )
    }

    fn let_last(
        &mut self,
        cluster: &Cluster,
        database: &str,
        sql: &str,
        lasts: Duration,
    ) -> Result<()> {
        let mut client = cluster.connect(SUPERUSER, database)?;
        let statements: Vec<String> = sql.split("; ").map(str::to_owned).collect();
        let thread = thread::Builder::new()
            .name("fault".to_owned())
            .spawn(move || {
                for statement in statements {
                    if client.batch_execute(&statement).is_err() {
                        return;
                    }
                }
                thread::sleep(lasts);
            })
            .context("starting a thread")?;
        self.lasting.push(thread);
        Ok(())
    }
}

/// The workers; where there is none yet, one may come soon.
fn workers(cluster: &Cluster, database: &str) -> Result<Vec<i32>> {
    let end = Instant::now() + WORKERS_COME;
    loop {
        let found = pids(cluster, database, "backend_type = 'pg_bluegreen'")?;
        if !found.is_empty() || Instant::now() > end {
            return Ok(found);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn pids(cluster: &Cluster, database: &str, what: &str) -> Result<Vec<i32>> {
    let rows = cluster
        .connect(SUPERUSER, database)?
        .query(
            &format!(
                "SELECT pid FROM pg_catalog.pg_stat_activity
                 WHERE datname = current_database() AND {what} ORDER BY pid"
            ),
            &[],
        )
        .context("looking for somebody to hit")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn signal(cluster: &Cluster, database: &str, function: &str, pid: i32) -> Result<bool> {
    let row = cluster
        .connect(SUPERUSER, database)?
        .query_one(&format!("SELECT {function}({pid})"), &[])
        .with_context(|| format!("calling {function}"))?;
    Ok(row.get(0))
}
