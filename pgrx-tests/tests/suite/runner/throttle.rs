//! What makes copy, purge and sync wait: a pause, a rate of WAL, a slot, busy clients. They wait, say
//! what for, can be cancelled, and go on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::Cluster;

use crate::story::errand::run_with;
use crate::story::throttled::{
    BLOCKS, SLOWLY, assert_calm, assert_still, assert_went_on, prepare, until_waiting,
    wide_users_in,
};
use crate::story::{Errand, Scene, Stage, stage};

static STAGE: Stage = stage!();

#[test]
fn a_paused_deployment_stands_still_and_goes_on_after_bg_resume() {
    let scene = STAGE.wide_users(BLOCKS);
    prepare(&scene);
    let run = run_with(&scene, SLOWLY);
    scene.until("SELECT rows_copied > 200 FROM bg_status('users')");

    assert_eq!(scene.owner().text("SELECT bg_pause('users')"), "copying");
    assert_eq!(scene.status("paused"), "t");
    until_waiting(&scene, &run, "bg_resume");
    assert_still(&scene);
    assert_eq!(scene.status("worker_pid"), run.pid.to_string());
    // Once more is no error; capture goes on.
    assert_eq!(scene.owner().text("SELECT bg_pause('users')"), "copying");
    scene.app().run("UPDATE users SET name = 'changed' WHERE id % 100 = 0");
    assert_eq!(scene.status("pending_changes"), "30");

    assert_eq!(scene.owner().text("SELECT bg_resume('users')"), "copying");
    assert_eq!(scene.status("paused"), "f");
    scene.until("SELECT waiting_for IS NULL FROM bg_status('users')");
    assert_went_on(&scene, run);
    assert_eq!(scene.owner().text("SELECT bg_resume('users')"), "ready");
}

#[test]
fn a_pause_survives_sessions_and_is_seen_before_the_first_batch() {
    let scene = STAGE.users(3000);
    prepare(&scene);
    scene.owner().run("SELECT bg_pause('users')");
    assert_eq!(scene.owner().text("SELECT bg_backfill('users')"), "prepared");
    let run = run_with(&scene, "SET bluegreen.copy_workers = 1");
    until_waiting(&scene, &run, "bg_resume");
    assert_eq!(scene.status("phase || ' ' || rows_copied"), "prepared 0");
    scene.owner().run("SELECT bg_resume('users')");
    assert_went_on(&scene, run);
}

#[test]
fn a_sync_that_rests_says_after_a_while_that_it_may_not_catch_up() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.make_ready("");
    scene.app().run("UPDATE users SET name = 'changed'");
    owner.run("SET bluegreen.batch_time = '1ms'; SET bluegreen.nice = 35");
    owner.sync();
    let said = owner.notices();
    assert!(said.iter().any(|notice| notice.message.contains("lower bluegreen.nice")), "{said:?}");
    // Without rests there is nothing to say.
    scene.app().run("UPDATE users SET name = 'again'");
    owner.run("RESET ALL");
    owner.sync();
    assert!(!owner.notices().iter().any(|notice| notice.message.contains("lower")));
    scene.assert_in_step("id, name, email");
}

#[test]
fn bg_backfill_does_nothing_during_a_pause_and_takes_nothing_from_the_status_of_bg_run() {
    let scene = STAGE.wide_users(BLOCKS);
    prepare(&scene);
    let run = run_with(&scene, SLOWLY);
    scene.until("SELECT rows_copied > 200 FROM bg_status('users')");
    scene.owner().run("SELECT bg_pause('users')");
    until_waiting(&scene, &run, "bg_resume");

    let copied = scene.status("rows_copied");
    assert_eq!(scene.owner().text("SELECT bg_backfill('users', '1 s')"), "copying");
    assert_eq!(scene.status("rows_copied"), copied);
    std::thread::sleep(Duration::from_millis(500));
    let why = scene.status("waiting_for");
    scene.owner().run("SELECT bg_resume('users')");
    assert_went_on(&scene, run);
    assert!(why.contains("bg_resume"), "bg_run waited, and the status said {why:?}");
}

/// A round of sync that finds nothing is no work, but ends the wait all the same.
#[test]
fn nothing_is_waited_for_any_more_after_a_pause_in_which_nothing_changed() {
    let scene = STAGE.users(1000);
    prepare(&scene);
    scene.owner().sync();
    scene.owner().run("SELECT bg_pause('users')");
    let run = run_with(&scene, "SET bluegreen.copy_workers = 1");
    until_waiting(&scene, &run, "bg_resume");
    scene.owner().run("SELECT bg_resume('users')");
    assert_went_on(&scene, run);
}

#[test]
fn only_the_owner_may_pause_and_resume() {
    let scene = STAGE.users(10);
    prepare(&scene);
    for verb in ["bg_pause", "bg_resume"] {
        for stranger in ["app", "mallory", "other_owner"] {
            let refusal = scene.person(stranger).refused(&format!("SELECT {verb}('users')"));
            refusal.assert_is("42501", &["users"]);
        }
        assert_eq!(scene.admin().text(&format!("SELECT {verb}('users')")), "prepared");
    }
    assert_eq!(scene.status("paused"), "f");
    let mut owner = scene.owner();
    owner.run("SELECT bg_abort('users')");
    owner.refused("SELECT bg_pause('users')").assert_is("55000", &["users"]);
    owner.refused("SELECT bg_resume('users')").assert_is("55000", &["users"]);
}

#[test]
fn a_run_that_waits_is_cancelled_at_once_and_leaves_the_deployment_to_others() {
    let scene = STAGE.wide_users(1000);
    prepare(&scene);
    scene.owner().run("SELECT bg_pause('users')");
    let run = run_with(&scene, SLOWLY);
    until_waiting(&scene, &run, "bg_resume");

    let asked = Instant::now();
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    let (session, ended) = run.result();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(ended.expect_err("a cancelled statement").code, "57014");
    scene.owner().run("SELECT bg_resume('users')");
    // The session is still there, but does not drive it any more.
    assert_calm(&scene);
    scene.owner().sync();
    assert_eq!(scene.status("phase"), "ready");
    drop(session);
}

#[test]
fn a_run_that_rests_is_cancelled_at_once_and_leaves_the_deployment_to_others() {
    let scene = STAGE.wide_users(BLOCKS);
    prepare(&scene);
    let run =
        run_with(&scene, "SET bluegreen.copy_workers = 1; SET bluegreen.max_wal_rate = '64kB'");
    scene.until("SELECT rows_copied > 0 FROM bg_status('users')");
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    let (session, ended) = run.result();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(ended.expect_err("a cancelled statement").code, "57014");
    assert_eq!(scene.status("phase"), "copying");
    assert_calm(&scene);
    scene.owner().sync();
    assert_eq!(scene.status("phase"), "ready");
    drop(session);
}

#[test]
fn the_estimate_of_the_time_that_is_left_counts_the_rests() {
    let scene = STAGE.wide_users(BLOCKS);
    prepare(&scene);
    let run = run_with(&scene, SLOWLY);
    scene.until("SELECT rows_copied > 1000 FROM bg_status('users')");
    let (asked, eta) = (Instant::now(), scene.status("extract(epoch FROM eta)"));
    scene.until("SELECT phase <> 'copying' FROM bg_status('users')");
    let (real, eta) = (asked.elapsed().as_secs_f64(), eta.parse::<f64>().unwrap());
    run.done();
    assert!(real > 0.4, "too fast for the test: {real} s");
    assert!(eta > real / 4.0 && eta < real * 4.0, "{eta} s were left, and it took {real} s");
}

#[test]
fn a_slot_that_keeps_too_much_wal_stops_the_copy_until_it_is_gone() {
    let scene = STAGE.wide_users(BLOCKS);
    prepare(&scene);
    let mut admin = scene.admin();
    admin.run("SELECT pg_create_physical_replication_slot('dead', true)");
    let run = run_with(&scene, &format!("{SLOWLY}; SET bluegreen.max_slot_lag = '4MB'"));
    let why = until_waiting(&scene, &run, "slot dead");
    assert!(why.contains("max_slot_lag"), "{why}");
    assert_still(&scene);
    // Not more than it may, and a batch.
    let copied: u32 = scene.status("rows_copied").parse().unwrap();
    assert!(copied < 2000, "{copied} rows");
    // It ends at once where it would have to wait, and says why.
    let mut owner = scene.owner();
    owner.run("SET bluegreen.max_slot_lag = '4MB'");
    assert_eq!(owner.text("SELECT bg_backfill('users')"), "copying");
    assert!(scene.status("waiting_for").contains("slot dead"));

    // The caller of bg_run is told about once a second.
    std::thread::sleep(Duration::from_millis(1200));
    admin.run("SELECT pg_drop_replication_slot('dead')");
    let mut session = assert_went_on(&scene, run);
    let said = session.notices();
    assert!(said.iter().any(|n| n.message.contains("waiting: replication slot dead")), "{said:?}");
}

/// A cluster in which nobody else writes or is active; the tests that need that take turns.
fn quiet() -> (MutexGuard<'static, ()>, &'static Cluster) {
    static TURN: Mutex<()> = Mutex::new(());
    static QUIET: Stage = stage!();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (turn, QUIET.cluster())
}

/// 3000 pages are 23 MB.
#[test]
fn the_copy_writes_no_more_wal_in_a_second_than_it_may() {
    let (_turn, cluster) = quiet();
    for workers in [1, 2] {
        let scene = wide_users_in(cluster);
        let mut admin = scene.admin();
        let position = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        let before = admin.int(position);
        let began = Instant::now();
        let run = run_with(
            &scene,
            &format!(
                "SET bluegreen.copy_workers = {workers}; SET bluegreen.batch_time = '20ms';
                 SET bluegreen.vacuum = off; SET bluegreen.max_wal_rate = '8MB'"
            ),
        );
        scene.until("SELECT phase NOT IN ('prepared', 'copying') FROM bg_status('users')");
        let (took, wal) = (began.elapsed().as_secs_f64(), admin.int(position) - before);
        let megabytes = wal as f64 / f64::from(1 << 20);
        println!("{workers} processes: {megabytes:.1} MB in {took:.2} s");
        assert!(megabytes > 15.0, "{megabytes} MB");
        let least = megabytes / 8.0;
        assert!(took > 0.7 * least, "{megabytes} MB in {took} s at 8 MB a second");
        assert!(took < 3.0 * least + 1.0, "{megabytes} MB took {took} s at 8 MB a second");
        assert_went_on(&scene, run);
    }
}

#[test]
fn the_copy_waits_while_too_many_clients_are_active() {
    let (_turn, cluster) = quiet();
    let scene = wide_users_in(cluster);
    let sleepers: Vec<_> = (0..3).map(|_| scene.send("app", "SELECT pg_sleep(60)")).collect();
    let limit = format!("{SLOWLY}; SET bluegreen.max_active_backends = 2");
    let run = run_with(&scene, &limit);
    let why = until_waiting(&scene, &run, "client sessions are active");
    assert!(why.contains("max_active_backends"), "{why}");
    assert_still(&scene);
    wake(&scene, sleepers);
    assert_went_on(&scene, run);
}

#[test]
fn a_deployment_that_ends_during_a_pause_is_waited_for_by_nobody() {
    let scene = STAGE.wide_users(BLOCKS);
    prepare(&scene);
    let run = run_with(&scene, SLOWLY);
    scene.owner().run("SELECT bg_pause('users')");
    until_waiting(&scene, &run, "bg_resume");
    scene.owner().run("SELECT bg_abort('users')");
    run.refused().assert_is("55000", &["deployment of public.users was aborted"]);
}

fn wake(scene: &Scene, sleepers: Vec<Errand>) {
    for sleeper in sleepers {
        scene.admin().run(&format!("SELECT pg_cancel_backend({})", sleeper.pid));
        let _ = sleeper.result();
    }
}

#[test]
fn a_run_that_waits_for_others_notices_a_pause_and_an_abort() {
    let (_turn, cluster) = quiet();
    let scene = wide_users_in(cluster);
    let sleepers: Vec<_> = (0..3).map(|_| scene.send("app", "SELECT pg_sleep(60)")).collect();
    let run = run_with(&scene, &format!("{SLOWLY}; SET bluegreen.max_active_backends = 2"));
    until_waiting(&scene, &run, "client sessions are active");
    let since = scene.status("waiting_since");
    // One more: another number, the same wait.
    let more = vec![scene.send("app", "SELECT pg_sleep(60)")];
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(scene.status("waiting_since"), since);
    wake(&scene, more);

    let mut owner = scene.owner();
    owner.run("SELECT bg_pause('users')");
    until_waiting(&scene, &run, "bg_resume");
    owner.run("SELECT bg_resume('users')");
    until_waiting(&scene, &run, "client sessions are active");
    owner.run("SELECT bg_abort('users')");
    run.refused().assert_is("55000", &["deployment of public.users was aborted"]);
    wake(&scene, sleepers);
}

/// Our own session is no client that anybody has to wait for, to our own workers neither.
#[test]
fn workers_do_not_wait_for_the_session_that_they_work_for() {
    let (_turn, cluster) = quiet();
    let scene = Scene::in_cluster(cluster);
    scene.table("users", "id bigint PRIMARY KEY, name text, email text, created_at timestamptz");
    scene.admin().run(
        "ALTER TABLE users SET (fillfactor = 10);
         INSERT INTO users SELECT n, 'First Last' || n, n || '@example.org', now() FROM generate_series(1, 120000) n",
    );
    scene.owner().run(
        "SELECT bg_prepare('users', 'SET (fillfactor = 90), ADD COLUMN pid int DEFAULT pg_backend_pid()')",
    );
    // Somebody else is active all the time, and may be.
    let sleeper = scene.send("app", "SELECT pg_sleep(60)");
    let mut runner = scene.owner();
    runner.run(
        "SET bluegreen.copy_workers = 2; SET bluegreen.batch_time = '5ms'; SET bluegreen.nice = 10;
         SET bluegreen.vacuum = off; SET bluegreen.max_active_backends = 1",
    );
    runner.run("CALL bg_run('users')");
    let copied = scene.admin().int("SELECT count(DISTINCT pid) FROM public_blue.users");
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", sleeper.pid));
    let _ = sleeper.result();
    assert_eq!(copied, 2, "processes that copied");
}

/// More than any volume has.
const FULL: &str = "SET bluegreen.min_free_space = '2000TB'";

#[test]
fn the_copy_and_each_index_build_wait_while_a_volume_is_nearly_full() {
    let scene = STAGE.wide_users(BLOCKS);
    prepare(&scene);
    let run = run_with(&scene, &format!("{SLOWLY}; {FULL}"));
    let why = until_waiting(&scene, &run, "MB free");
    assert!(why.contains("the volume of tablespace pg_default has "), "{why}");
    assert_still(&scene);
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    run.refused().assert_is("57014", &[]);

    let mut owner = scene.owner();
    owner.run(FULL);
    assert_eq!(owner.text("SELECT bg_backfill('users')"), "copying");
    assert!(scene.status("waiting_for").contains("bluegreen.min_free_space"));
    owner.run("RESET bluegreen.min_free_space");
    // What comes next is an index.
    while owner.int("SELECT count(*) FROM bg_history() WHERE step = 'purge'") == 0 {
        owner.run("SELECT bg_backfill('users', max_time => '1 ms')");
    }
    let run = run_with(&scene, &format!("{SLOWLY}; {FULL}"));
    until_waiting(&scene, &run, "bluegreen.min_free_space");
    assert_eq!(scene.status("phase"), "indexing");
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    run.refused().assert_is("57014", &[]);
    owner.run("CALL bg_run('users')");
    scene.assert_in_step("id, name, email");
}

/// What is ready is swapped, reverted and finished all the same, which frees space.
#[test]
fn a_full_volume_does_not_keep_from_the_swap_or_the_way_back() {
    let scene = STAGE.users(1000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.run(FULL);
    for (until, phase) in [("swapped", "swapped"), ("reverted", "ready"), ("finished", "finished")]
    {
        scene.app().run("UPDATE users SET name = name || '.'");
        owner.run("SET statement_timeout = '20s'");
        assert_eq!(owner.text(&format!("CALL bg_run('users', '{until}')")), phase);
    }
}
