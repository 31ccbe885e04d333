//! What transactions read whose snapshot is older than an exchange of the tables: exactly what they would
//! have read without it. Readers of every kind judge what they read by a ledger, while writers write and
//! the tables are exchanged back and forth; afterwards pages and indexes are looked through.
//!
//! `BLUEGREEN_REPEAT=10` makes fifty swaps and fifty reverts, and plays all failpoints; `BLUEGREEN_SEED`
//! repeats the choices of a run.

mod ledger;
mod matrix;
mod operator;
mod points;
mod readers;
mod soundness;
mod table;
mod traffic;
mod writers;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Cluster, Options};

use crate::story::course::{repeats, seed};
use crate::story::{Scene, new_cluster, own};
use ledger::Ledger;
use readers::MOST;
use table::NEWBORNS;
use traffic::Traffic;
use writers::Habits;

/// Rows that never change.
const STILL: u32 = 3000;
const WRITERS: i32 = 6;
/// Swaps, and as many reverts, in a run that is not repeated.
const ROUNDS: u32 = 5;

/// Both standbys are where the primary is.
const REPLAYED: &str = "SELECT count(*) = 2 FROM pg_stat_replication
     WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_lsn()";

/// A primary with two standbys. One tells the primary what its readers still need, and lets replay wait
/// for them; the other does neither for long.
struct Servers {
    primary: &'static Cluster,
    patient: &'static Cluster,
    strict: &'static Cluster,
}

fn servers() -> Servers {
    let options = Options::default()
        .set("autovacuum_naptime", "1s")
        .set("wal_receiver_status_interval", "1s")
        // What replay makes of a page must be what it is on the primary. Not of heap pages: the server
        // stops a standby for a bit of a row that was frozen after a savepoint was rolled back
        // (findings/consistency_check_and_combo_bit.sh).
        .set("wal_consistency_checking", "btree,hash,gin,brin");
    let primary = own(new_cluster(&options));
    let standby = |name: &str, feedback: &str, delay: &str| {
        let options = options
            .clone()
            .set("hot_standby_feedback", feedback)
            .set("max_standby_streaming_delay", delay);
        own(primary.standby(name, &options).expect("a standby"))
    };
    let patient = standby("patient", "on", "30s");
    let strict = standby("strict", "off", "1s");
    Servers { primary, patient, strict }
}

#[test]
fn nobody_reads_stale_rows_across_swaps_and_reverts() {
    let servers = servers();
    let seed = seed();
    println!("BLUEGREEN_SEED={seed}");
    let scene = Scene::in_cluster(servers.primary);
    table::furnish(&scene, STILL);
    table::with_foreign_tables(&scene);
    soundness::install(&scene);
    let mut owner = scene.owner();
    owner.run(
        "SELECT bg_prepare('entries', $$ADD COLUMN extra text DEFAULT 'none', ALTER COLUMN value TYPE bigint$$)",
    );
    owner.run("CALL bg_run('entries')");
    scene.until(REPLAYED);

    let numbers = (1..=WRITERS).chain([NEWBORNS, NEWBORNS + 1]);
    let traffic = Traffic::new(&scene, Ledger::new(numbers, STILL), seed, false);
    writers::send(&traffic, WRITERS, Habits { pace: 15.0, nap: MOST, two_phase: true });
    writers::send_lockers(&traffic, 2, WRITERS);
    writers::send_counters(&traffic, "counter", Duration::ZERO);
    writers::send_counters(&traffic, "repeatable counter", MOST);
    writers::send_vacuums(&traffic);
    readers::send_repeatable(&traffic, 3, "REPEATABLE READ", MOST);
    readers::send_repeatable(&traffic, 1, "SERIALIZABLE", MOST);
    readers::send_stable(&traffic, MOST);
    readers::send_imported(&traffic, MOST);
    readers::send_holders(&traffic, MOST);
    readers::send_foreign(&traffic, MOST);
    readers::send_newborns(&traffic, 0, false, MOST);
    readers::send_newborns(&traffic, 1, true, MOST);
    readers::send_pair(&traffic, MOST);
    readers::send_standby(&traffic, "standby with feedback", servers.patient, MOST);
    readers::send_standby(&traffic, "standby without", servers.strict, MOST);
    std::thread::sleep(Duration::from_secs(2));

    let (began, written) = (Instant::now(), traffic.writes.load(Ordering::Relaxed));
    let mut exchanges = Vec::new();
    for round in 0..ROUNDS * repeats() {
        let reverts = [operator::revert, operator::revert_by_function];
        for exchange in [operator::swap, reverts[round as usize % 2]] {
            exchanges.push(exchange(&mut owner));
            std::thread::sleep(Duration::from_millis(400));
        }
    }
    let writes = traffic.writes.load(Ordering::Relaxed) - written;
    let rate = writes as f64 / began.elapsed().as_secs_f64();
    std::thread::sleep(MOST);
    traffic.stop();

    for operator::Exchange { verb, took, calls, failed } in &exchanges {
        println!("{verb} in {:.2} s, {calls} calls {failed:?}", took.as_secs_f64());
    }
    println!("{rate:.0} writes a second, {:.0} s", began.elapsed().as_secs_f64());
    let failed: Vec<_> = exchanges.iter().filter(|e| e.failed.is_some()).collect();
    let slow: Vec<_> = exchanges.iter().filter(|e| e.took > e.limit()).collect();
    traffic.assert_nothing_found("under load");
    assert!(failed.is_empty() && slow.is_empty(), "{failed:?} {slow:?}");
    for kind in [
        "repeatable read",
        "stable function",
        "cursor",
        "imported snapshot",
        "through postgres_fdw",
        "standby with feedback",
    ] {
        assert!(traffic.tally_of(kind).straddled > 0, "{kind}: none across an exchange");
    }
    assert!(traffic.tally_of("serializable pair").done > 5);
    operator::sync(&scene);
    soundness::assert_as_written(&scene, &traffic, "at rest");
    scene.until(REPLAYED);
    for standby in [servers.patient, servers.strict] {
        soundness::assert_sound_standby(standby, &scene.database, "at rest");
    }
    soundness::assert_sound(&scene, "at rest");
}
