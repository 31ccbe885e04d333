//! What is seen from outside while somebody works on the table: how long the sessions under test
//! hold a snapshot, which keeps VACUUM from cleaning the whole database; and when the table's name
//! came to mean another table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use postgres::{Client, NoTls};
use serde::Serialize;

use super::place::Place;
use super::session::SUBJECT;
use crate::cluster::SUPERUSER;

/// How often is looked.
const EVERY: Duration = Duration::from_millis(20);

/// Each transaction of a subject that holds a snapshot, and what it is doing. Parallel workers have
/// a snapshot of their leader's; workers of ours have an application_name of their own. The snapshot of
/// a VACUUM is left out: the server itself overlooks it when it asks what may be cleaned up.
const HOLDERS: &str = "
    SELECT coalesce(a.leader_pid, a.pid), extract(epoch FROM a.xact_start)::float8,
           extract(epoch FROM clock_timestamp())::float8,
           i.pid IS NOT NULL, n.pid IS NOT NULL, v.pid IS NOT NULL
      FROM pg_stat_activity a
      LEFT JOIN pg_stat_progress_create_index i ON i.pid = coalesce(a.leader_pid, a.pid)
      LEFT JOIN pg_stat_progress_analyze n ON n.pid = a.pid
      LEFT JOIN pg_stat_progress_vacuum v ON v.pid = a.pid
     WHERE (a.application_name = $1 OR a.application_name LIKE 'pg\\_bluegreen%')
       AND a.backend_xmin IS NOT NULL AND a.xact_start IS NOT NULL";

/// The oldest snapshots, in seconds since the last look at which they were not held.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Oldest {
    /// Of all.
    pub(super) all: f64,
    /// Of transactions that never built an index.
    pub(super) outside_index_builds: f64,
    /// Of transactions that ran ANALYZE; part of both.
    pub(super) analyze: f64,
    /// Of all others: of ours those that copy, purge and sync.
    pub(super) batches: f64,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) oldest: Oldest,
    /// When the name meant another table, or the table had other files, for the first time.
    pub(super) swapped: Option<SystemTime>,
}

/// The one who looks.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Watch {
    /// Begins to look.
    pub(super) fn start(place: &Place) -> Result<Self> {
        let config = place.cluster.config(SUPERUSER, "postgres");
        let mut client = config.connect(NoTls).context("connecting to watch")?;
        let table = format!("public.{}", place.table.name);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || look(&mut client, &table, &stopped))
            .context("starting a thread")?;
        Ok(Self { stop, thread })
    }

    /// What was seen up to now.
    pub(super) fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the thread that watches panicked"))?
    }
}

/// A transaction that held a snapshot.
#[derive(Debug, Default, Clone, Copy)]
struct Holder {
    seconds: f64,
    built_index: bool,
    analyzed: bool,
    /// A VACUUM; at its very end it is one without showing it.
    vacuumed: bool,
}

fn look(client: &mut Client, table: &str, stopped: &AtomicBool) -> Result<Seen> {
    let holders = client.prepare(HOLDERS).context("preparing to look")?;
    // Neither takes a lock. A name is away for a moment where it is renamed in two transactions.
    let meaning = "SELECT to_regclass($1)::oid, pg_relation_filenode(to_regclass($1))";
    let meaning = client.prepare(meaning).context("preparing to look")?;
    let mut first: Option<(u32, u32)> = None;
    let mut swapped = None;
    // By the transaction: what one has done may be seen after its snapshot is old.
    let mut seen: BTreeMap<(i32, u64), Holder> = BTreeMap::new();
    // Those of the last look, since when. A transaction may rest for long before its first snapshot.
    let mut held: BTreeMap<(i32, u64), f64> = BTreeMap::new();
    let mut looked = seconds_since_1970();
    while !stopped.load(Ordering::SeqCst) {
        let looks = seconds_since_1970();
        let before = std::mem::take(&mut held);
        for row in client.query(&holders, &[&SUBJECT]).context("looking")? {
            let began: f64 = row.get(1);
            let transaction = (row.get(0), began.to_bits());
            let since = before.get(&transaction).copied().unwrap_or(looked.max(began));
            held.insert(transaction, since);
            let holder = seen.entry(transaction).or_default();
            holder.seconds = holder.seconds.max(row.get::<_, f64>(2) - since);
            holder.built_index |= row.get::<_, bool>(3);
            holder.analyzed |= row.get::<_, bool>(4);
            holder.vacuumed |= row.get::<_, bool>(5);
        }
        looked = looks;
        let row = client.query_one(&meaning, &[&table]).context("looking")?;
        if let (Some(oid), Some(file)) = (row.get(0), row.get(1)) {
            let now = (oid, file);
            if *first.get_or_insert(now) != now && swapped.is_none() {
                swapped = Some(SystemTime::now());
            }
        }
        thread::sleep(EVERY);
    }
    Ok(Seen { oldest: oldest(seen.into_values()), swapped })
}

fn seconds_since_1970() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0.0, |time| time.as_secs_f64())
}

fn oldest(holders: impl Iterator<Item = Holder>) -> Oldest {
    let mut oldest = Oldest::default();
    for Holder { seconds, built_index, analyzed, .. } in holders.filter(|h| !h.vacuumed) {
        oldest.all = oldest.all.max(seconds);
        if !built_index {
            oldest.outside_index_builds = oldest.outside_index_builds.max(seconds);
        }
        if analyzed {
            oldest.analyze = oldest.analyze.max(seconds);
        }
        if !built_index && !analyzed {
            oldest.batches = oldest.batches.max(seconds);
        }
    }
    oldest
}

#[cfg(test)]
mod tests {
    use super::{Holder, oldest};

    #[test]
    fn one_that_built_an_index_counts_only_among_all_and_a_vacuum_nowhere() {
        let holder = Holder::default();
        let holders = [
            Holder { seconds: 3.0, built_index: true, ..holder },
            Holder { seconds: 1.0, analyzed: true, ..holder },
            Holder { seconds: 0.5, ..holder },
            Holder { seconds: 9.0, vacuumed: true, ..holder },
        ];
        let found = oldest(holders.into_iter());
        let all = [found.all, found.outside_index_builds, found.analyze, found.batches];
        assert_eq!(all.map(|seconds| seconds.to_string()), ["3", "1", "1", "0.5"]);
    }
}
