//! What makes copy, purge and sync wait: a pause, a standby that is behind, a rate of WAL, a slot,
//! busy clients. They wait, say what for, can be cancelled, and go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Cluster, Options, Signal};
use story::errand::run_with;
use story::{Errand, Person, Scene};

const COLUMNS: &str = "id, name, email, created_at";

/// One process, in batches of a few blocks, with a rest after each: a copy of some seconds.
const SLOWLY: &str = "SET bluegreen.copy_workers = 1; SET bluegreen.batch_time = '2ms';
    SET bluegreen.nice = 20; SET bluegreen.vacuum = off";

/// Blocks of the tables here.
const BLOCKS: u32 = 3000;

fn prepare(scene: &Scene) {
    scene.owner().run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
}

/// Waits until bg_run says that it waits for something with these words in it.
#[track_caller]
fn until_waiting(scene: &Scene, run: &Errand, words: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let why = scene.status("waiting_for");
        if why.contains(words) {
            assert_eq!(
                scene.status("waiting_since BETWEEN now() - interval '1 min' AND now()"),
                "t"
            );
            return why;
        }
        assert!(!run.is_done(), "it did not wait for {words}");
        assert!(Instant::now() < deadline, "it never waited for {words}: {why:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asserts that the copy stands still, in its middle.
#[track_caller]
fn assert_still(scene: &Scene) {
    let copied = scene.status("rows_copied");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(scene.status("rows_copied"), copied);
    assert_eq!(scene.status("phase"), "copying");
}

/// Asserts that the copy came to its end and that nothing is waited for any more.
#[track_caller]
fn assert_went_on(scene: &Scene, run: Errand) -> Person {
    let person = run.done();
    assert_eq!(scene.status("phase"), "ready");
    assert_calm(scene);
    scene.assert_in_step(COLUMNS);
    person
}

/// The status of a deployment that nobody drives.
#[track_caller]
fn assert_calm(scene: &Scene) {
    let calm = "concat_ws(' ', paused, waiting_for, waiting_since, worker_pid)";
    assert_eq!(scene.status(calm), "f");
}

#[test]
fn a_paused_deployment_stands_still_and_goes_on_after_bg_resume() {
    let scene = Scene::wide_users(BLOCKS);
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
    let scene = Scene::users(3000);
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
fn bg_backfill_does_nothing_during_a_pause_and_takes_nothing_from_the_status_of_bg_run() {
    let scene = Scene::wide_users(BLOCKS);
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
    let scene = Scene::users(1000);
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
    let scene = Scene::users(10);
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
    let scene = Scene::wide_users(1000);
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
    let scene = Scene::wide_users(BLOCKS);
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
    let scene = Scene::wide_users(BLOCKS);
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
    let scene = Scene::wide_users(BLOCKS);
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
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (turn, CLUSTER.get_or_init(|| story::new_cluster(&Options::default())))
}

fn wide_users_in(cluster: &'static Cluster) -> Scene {
    let scene = Scene::in_cluster(cluster);
    scene.add_wide_users(BLOCKS);
    prepare(&scene);
    scene
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
    let scene = Scene::wide_users(BLOCKS);
    prepare(&scene);
    let run = run_with(&scene, SLOWLY);
    scene.owner().run("SELECT bg_pause('users')");
    until_waiting(&scene, &run, "bg_resume");
    scene.owner().run("SELECT bg_abort('users')");
    run.refused().assert_is("55000", &["the deployment was aborted"]);
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
    run.refused().assert_is("55000", &["the deployment was aborted"]);
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

/// A primary with two standbys, `near` and `far`, which the tests use in turn.
struct Pair {
    primary: Cluster,
    near: Cluster,
    far: Cluster,
}

fn replicated() -> (MutexGuard<'static, ()>, &'static Pair) {
    static TURN: Mutex<()> = Mutex::new(());
    static PAIR: OnceLock<Pair> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = PAIR.get_or_init(|| {
        let options = Options::default().set("shared_buffers", "64MB");
        let primary = story::new_cluster(&options);
        let far = primary.standby("far", &options).expect("a standby");
        let near = primary.standby("near", &options).expect("a standby");
        Pair { primary, near, far }
    });
    pair.delay("0");
    (turn, pair)
}

impl Pair {
    /// Lets `far` replay with a delay.
    fn delay(&self, time: &str) {
        let mut far = self.far.connect("postgres", "postgres").unwrap();
        far.batch_execute(&format!("ALTER SYSTEM SET recovery_min_apply_delay = '{time}'"))
            .unwrap();
        far.batch_execute("SELECT pg_reload_conf()").unwrap();
    }

    /// A table to be copied, which both standbys have.
    fn scene(&'static self) -> Scene {
        let scene = wide_users_in(&self.primary);
        scene.until(
            "SELECT count(*) = 2 FROM pg_stat_replication
             WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_lsn()",
        );
        scene
    }
}

fn with_lag(replicas: &str) -> String {
    format!(
        "{SLOWLY}; SET bluegreen.max_replica_lag = '300ms'; SET bluegreen.replicas = '{replicas}'"
    )
}

#[test]
fn the_copy_waits_for_a_standby_that_replays_late() {
    let (_turn, pair) = replicated();
    let scene = pair.scene();
    pair.delay("10min");
    let run = run_with(&scene, &with_lag(""));
    let why = until_waiting(&scene, &run, "standby far is");
    assert!(why.contains(" s behind") && why.contains("max_replica_lag of 0.3 s"), "{why}");
    assert_still(&scene);
    // The status says how long ago it began to wait.
    assert_eq!(scene.status("waiting_since < now() - interval '400 ms'"), "t");

    pair.delay("0");
    assert_went_on(&scene, run);
    assert_eq!(rows_of(&pair.far, &scene), i64::from(BLOCKS));
}

/// How many rows a standby shows.
fn rows_of(standby: &Cluster, scene: &Scene) -> i64 {
    let mut session = standby.connect("app", &scene.database).unwrap();
    session.query_one("SELECT count(*) FROM users", &[]).unwrap().get(0)
}

#[test]
fn trap_40_bg_check_tells_of_old_readers_on_a_standby() {
    let (turn, pair) = replicated();
    let scene = Scene::in_cluster(&pair.primary);
    scene.add_users(1);
    let check = "SELECT severity || ' ' || message FROM bg_check('users') WHERE code = 'standby'";
    let said = scene.owner().list(check);
    assert!(said.len() == 1 && said[0].starts_with("note a REPEATABLE READ"), "{said:?}");
    drop(turn);

    let alone = Scene::users(1);
    assert!(alone.owner().list(check).is_empty());
}

#[test]
fn the_copy_waits_for_a_standby_that_says_nothing_any_more() {
    let (_turn, pair) = replicated();
    let scene = pair.scene();
    let mut far = pair.far.connect("postgres", "postgres").unwrap();
    let receiver: i32 = far.query_one("SELECT pid FROM pg_stat_wal_receiver", &[]).unwrap().get(0);
    pair.far.kill_backend(receiver, Signal::SIGSTOP).unwrap();
    let asleep = Asleep { cluster: &pair.far, pid: receiver };
    let run = run_with(&scene, &with_lag(""));
    until_waiting(&scene, &run, "standby far is");
    assert_still(&scene);
    drop(asleep);
    assert_went_on(&scene, run);
}

/// A process that was stopped; it goes on when this is dropped.
struct Asleep<'a> {
    cluster: &'a Cluster,
    pid: i32,
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.kill_backend(self.pid, Signal::SIGCONT);
    }
}

#[test]
fn the_copy_waits_for_a_named_standby_that_is_not_connected() {
    let (_turn, pair) = replicated();
    let scene = pair.scene();
    let run = run_with(&scene, &with_lag("near, other"));
    let why = until_waiting(&scene, &run, "standby other is not connected");
    assert!(why.contains("bluegreen.replicas"), "{why}");
    assert_still(&scene);
    // Cancelled while it waits.
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    let asked = Instant::now();
    let (_session, ended) = run.result();
    assert!(ended.is_err() && asked.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_standby_that_is_not_named_may_be_as_late_as_it_likes() {
    let (_turn, pair) = replicated();
    let scene = pair.scene();
    pair.delay("10min");
    let run = run_with(&scene, &with_lag("near"));
    assert_went_on(&scene, run);
    // `far` has nothing of it yet, `near` all.
    let behind = "SELECT pg_current_wal_lsn() - replay_lsn > 20000000 FROM pg_stat_replication
        WHERE application_name = ";
    assert_eq!(scene.admin().text(&format!("{behind} 'far'")), "t");
    assert_eq!(scene.admin().text(&format!("{behind} 'near'")), "f");
    assert_eq!(rows_of(&pair.near, &scene), i64::from(BLOCKS));
}

/// One who receives WAL and replays none, as for an archive or a backup that is being taken, is no
/// standby.
#[test]
fn the_copy_does_not_wait_for_one_who_only_receives_the_wal() {
    let (_turn, pair) = replicated();
    let scene = pair.scene();
    let place = tempfile::tempdir().unwrap();
    let mut archive = pair
        .primary
        .command("pg_receivewal")
        .args(["--no-sync", "-D", place.path().to_str().unwrap()])
        .spawn()
        .unwrap();
    scene.until(
        "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'pg_receivewal')",
    );
    let run = run_with(&scene, &with_lag(""));
    let deadline = Instant::now() + Duration::from_secs(15);
    while !run.is_done() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (done, why) = (run.is_done(), scene.status("waiting_for"));
    archive.kill().unwrap();
    archive.wait().unwrap();
    assert!(done, "it waits for: {why}");
    assert_went_on(&scene, run);
}
