//! Exchanges that are broken off at each point under their locks: by an error, by a crash, by a server that
//! is stopped there. The next swap and the next revert succeed, nobody reads anything else than what was
//! written, and the tables are sound.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Options, Signal, StopMode};
use bluegreen_tests::setup::Workspace;
use bluegreen_tests::source;

use super::ledger::Ledger;
use super::traffic::Traffic;
use super::writers::{self, Habits};
use super::{operator, readers, soundness, table};
use crate::story::course::{repeats, seed};
use crate::story::failpoints::{self, arm, is_lost};
use crate::story::person::Refusal;
use crate::story::{Errand, Scene, own};

const BOTH: &[&str] = &["bg_swap", "bg_revert"];

/// Every point under the locks of an exchange, and the calls in which it is tried.
const POINTS: &[(&str, &[&str])] = &[
    ("swap_locked", &["bg_swap"]),
    ("drain_earlier", BOTH),
    ("drain_chunks_stamped", BOTH),
    ("drain_earlier_stamped", BOTH),
    ("drain_half_stamped", BOTH),
    ("drain_rows_stamped", BOTH),
    ("swap_drained", &["bg_swap"]),
    ("swap_taken_off", &["bg_swap"]),
    ("swap_exchanged", &["bg_swap"]),
    ("swap_recorded", &["bg_swap"]),
    ("swap_committing", &["bg_swap"]),
    ("revert_locked", &["bg_revert"]),
    ("revert_drained", &["bg_revert"]),
    ("revert_taken_off", &["bg_revert"]),
    ("revert_exchanged", &["bg_revert"]),
    ("revert_recorded", &["bg_revert"]),
    ("revert_committing", &["bg_revert"]),
];

/// What such points' names begin with.
const BEGINNINGS: [&str; 3] = ["swap_", "revert_", "drain_"];

/// In so many runs every trial is made.
const PARTS: usize = 8;
const STILL: u32 = 500;
const WRITERS: i32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Error,
    Crash,
    Stop,
}

#[test]
fn every_point_under_the_locks_of_an_exchange_is_in_the_table() {
    let top = Workspace::find().unwrap().root().join("src");
    let found = source::failpoints(&top).unwrap();
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let names: BTreeSet<&str> =
        names.into_iter().filter(|n| BEGINNINGS.iter().any(|b| n.starts_with(b))).collect();
    let known: BTreeSet<&str> = POINTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known);
}

#[test]
fn an_exchange_that_is_broken_off_anywhere_leaves_two_sound_tables_and_no_stale_reader() {
    let cluster = own(failpoints::cluster(Options::default()));
    let seed = seed();
    println!("BLUEGREEN_SEED={seed}");
    let scene = Scene::in_cluster(cluster);
    failpoints::assert_there(&scene);
    table::furnish(&scene, STILL);
    soundness::install(&scene);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('entries')");
    owner.run("CALL bg_run('entries')");
    let traffic = Traffic::new(&scene, Ledger::new(1..=WRITERS, STILL), seed, true);
    writers::send(&traffic, WRITERS, Habits { pace: 12.0, nap: Duration::ZERO, two_phase: false });
    writers::send_lockers(&traffic, 1, WRITERS);
    readers::send_repeatable(&traffic, 3, "REPEATABLE READ", Duration::from_millis(700));
    let only = std::env::var("BLUEGREEN_POINT").ok();

    let ways = [Way::Error, Way::Crash, Way::Stop];
    let trials =
        POINTS.iter().flat_map(|(point, calls)| calls.iter().map(move |call| (*point, *call)));
    let trials = trials.flat_map(|(point, call)| ways.map(|way| (point, call, way)));
    for (number, (point, call, way)) in trials.enumerate() {
        let due = (number + seed as usize) % PARTS < repeats() as usize;
        if only.as_deref().map_or(due, |only| only == point) {
            let began = Instant::now();
            play(&scene, &traffic, point, call, way);
            println!("{way:?} at {point} of {call}: {:.2} s", began.elapsed().as_secs_f64());
        }
    }
    traffic.stop();
    traffic.assert_nothing_found("at all points");
}

fn play(scene: &Scene, traffic: &Arc<Traffic>, point: &str, call: &str, way: Way) {
    let when = format!("{way:?} at {point} of {call}");
    let from = if call == "bg_swap" { "ready" } else { "swapped" };
    lead_to(scene, from);
    break_off(scene, point, call, way);
    assert_eq!(operator::phase(scene), from, "{when}");
    std::thread::sleep(Duration::from_millis(150));
    let other = if from == "ready" { "swapped" } else { "ready" };
    lead_to(scene, other);
    std::thread::sleep(Duration::from_millis(150));
    lead_to(scene, from);
    traffic.pause();
    traffic.assert_nothing_found(&when);
    operator::sync(scene);
    soundness::assert_as_written(scene, traffic, &when);
    soundness::assert_sound_but_for_leaks(scene, &when);
    traffic.go_on();
}

/// A column that only the new table has keeps its values while the old one is live; so it does when a swap
/// is broken off in the middle of its drain.
#[test]
fn values_that_only_the_new_table_has_survive_a_swap_that_is_broken_off() {
    let cluster = own(failpoints::cluster(Options::default()));
    let scene = Scene::in_cluster(cluster);
    failpoints::assert_there(&scene);
    table::furnish(&scene, STILL);
    soundness::install(&scene);
    scene.owner().run("SELECT bg_prepare('entries', $$ADD COLUMN extra text DEFAULT 'none'$$)");
    let points = POINTS.iter().map(|(point, _)| *point).filter(|p| !p.starts_with("revert_"));
    let ways = [Way::Error, Way::Crash];
    for (point, way) in points.flat_map(|point| ways.map(|way| (point, way))) {
        let when = format!("{way:?} at {point}");
        scene.owner().run("CALL bg_run('entries', 'swapped')");
        scene.admin().run("UPDATE entries SET extra = 'mine ' || id WHERE id BETWEEN 1 AND 40");
        lead_to(&scene, "ready");
        scene.admin().run(
            "UPDATE entries SET value = value + 1 WHERE id BETWEEN 1 AND 20;
             UPDATE entries SET value = value + 1 WHERE id BETWEEN 10 AND 15;
             UPDATE entries SET body = body_of('x.' || id || '.0.3') WHERE id BETWEEN 16 AND 17",
        );
        let mut owner = scene.owner();
        let pid = owner.pid();
        arm(&mut owner, &format!("{point}{}", if way == Way::Crash { ":crash" } else { "" }));
        // Changes of its own, of which the log knows nothing once they are rolled back.
        let refusal = owner.refused(
            "BEGIN; UPDATE entries SET value = value + 1 WHERE id BETWEEN 19 AND 25;
             SELECT bg_swap('entries', retry_for => '20 s')",
        );
        if way == Way::Crash {
            assert!(is_lost(&refusal), "{when}: {refusal:?}");
            let _ = scene.cluster.kill_backend(pid, Signal::SIGKILL);
        } else {
            assert_eq!(refusal.message, format!("failpoint {point}"), "{when}");
        }
        owner = scene.owner();
        owner.run("CALL bg_run('entries')");
        let found = owner.rows("SELECT key, problem FROM bg_verify('entries') LIMIT 5");
        assert!(found.is_empty(), "{when}: bg_verify: {found:?}");
        lead_to(&scene, "swapped");
        let lost = scene.admin().rows(
            "SELECT n, extra FROM generate_series(1, 40) n LEFT JOIN entries ON id = n
             WHERE extra IS DISTINCT FROM 'mine ' || n ORDER BY n LIMIT 5",
        );
        assert!(lost.is_empty(), "{when}: {lost:?}");
    }
    operator::sync(&scene);
    let found = scene.admin().rows("SELECT key, problem FROM bg_verify('entries') LIMIT 5");
    assert!(found.is_empty(), "{found:?}");
}

/// To the phase, undisturbed.
fn lead_to(scene: &Scene, phase: &str) {
    if operator::phase(scene) != phase {
        let mut owner = scene.owner();
        let exchange = if phase == "swapped" {
            operator::swap(&mut owner)
        } else {
            operator::revert_by_function(&mut owner)
        };
        assert!(exchange.failed.is_none(), "{exchange:?}");
    }
}

/// The call that is broken off, with changes to drain; again where it was refused before, or where nobody
/// had written since the sync, so that nothing was drained.
fn break_off(scene: &Scene, point: &str, call: &str, way: Way) {
    let from = operator::phase(scene);
    for _ in 0..30 {
        lead_to(scene, &from);
        operator::sync(scene);
        std::thread::sleep(Duration::from_millis(120));
        let mut owner = scene.owner();
        let how = match way {
            Way::Error => "",
            Way::Crash => ":crash",
            Way::Stop => ":wait",
        };
        arm(&mut owner, &format!("{point}{how}"));
        let sql = format!("SELECT {call}('entries', retry_for => '5 s')");
        if way == Way::Stop {
            let gate = scene.close_gate();
            let errand = Errand::start(owner, &sql);
            while !errand.is_done() && !is_at_gate(scene) {
                std::thread::sleep(Duration::from_millis(2));
            }
            if errand.is_done() {
                expect_busy_or_undrained(errand.result().1.map(drop), point);
                continue;
            }
            scene.cluster.stop(StopMode::Immediate).unwrap();
            drop(gate);
            scene.cluster.restart().unwrap();
            let (_, ended) = errand.result();
            assert!(is_lost(&ended.unwrap_err()), "{point}");
            return;
        }
        let pid = owner.pid();
        let ended = owner.try_run(&sql);
        match &ended {
            Err(refusal) if way == Way::Crash && is_lost(refusal) => {
                // Returns when the server has taken note.
                let _ = scene.cluster.kill_backend(pid, Signal::SIGKILL);
                return;
            }
            Err(refusal) if refusal.message == format!("failpoint {point}") => return,
            _ => expect_busy_or_undrained(ended, point),
        }
    }
    panic!("{point} was never reached");
}

/// The writers were faster, or a snapshot was too old; or there was nothing to drain.
fn expect_busy_or_undrained(ended: Result<(), Refusal>, point: &str) {
    match ended {
        Ok(()) => assert!(point.starts_with("drain_"), "{point} was not reached"),
        Err(refusal) => {
            let is_busy = ["55000", "55P03"].contains(&refusal.code.as_str());
            assert!(is_busy, "{point}: {}", refusal.everything());
        }
    }
}

fn is_at_gate(scene: &Scene) -> bool {
    scene.admin().text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
    ) == "t"
}
