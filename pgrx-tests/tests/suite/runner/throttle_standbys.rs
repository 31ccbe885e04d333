//! The copy waits for standbys: those that are late, silent or gone, as the settings say.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Cluster, Options, Signal};

use crate::story::errand::run_with;
use crate::story::throttled::{
    BLOCKS, SLOWLY, assert_still, assert_went_on, until_waiting, wide_users_in,
};
use crate::story::{Scene, Stage, new_cluster, stage};

static STAGE: Stage = stage!();
static PRIMARY: Stage = stage!(new_cluster(&options()));
static NEAR: Stage = stage!(standby("near"));
static FAR: Stage = stage!(standby("far"));

fn options() -> Options {
    Options::default().set("shared_buffers", "64MB")
}

fn standby(name: &str) -> Cluster {
    PRIMARY.cluster().standby(name, &options()).expect("a standby")
}

/// A primary with two standbys, `near` and `far`, which the tests use in turn.
struct Pair {
    primary: &'static Cluster,
    near: &'static Cluster,
    far: &'static Cluster,
}

fn replicated() -> (MutexGuard<'static, ()>, Pair) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair { primary: PRIMARY.cluster(), near: NEAR.cluster(), far: FAR.cluster() };
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
    fn scene(&self) -> Scene {
        let scene = wide_users_in(self.primary);
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
    // The status says how long ago it began to wait for this; near may be late for a moment too.
    scene.until("SELECT waiting_since < now() - interval '400 ms' FROM bg_status('users')");

    pair.delay("0");
    assert_went_on(&scene, run);
    assert_eq!(rows_of(pair.far, &scene), i64::from(BLOCKS));
}

/// How many rows a standby shows.
fn rows_of(standby: &Cluster, scene: &Scene) -> i64 {
    let mut session = standby.connect("app", &scene.database).unwrap();
    session.query_one("SELECT count(*) FROM users", &[]).unwrap().get(0)
}

#[test]
fn trap_40_bg_check_tells_of_old_readers_on_a_standby() {
    let (turn, pair) = replicated();
    let scene = Scene::in_cluster(pair.primary);
    scene.add_users(1);
    let check = "SELECT severity || ' ' || message FROM bg_check('users') WHERE code = 'standby'";
    let said = scene.owner().list(check);
    assert!(said.len() == 1 && said[0].starts_with("note a query on a hot standby"), "{said:?}");
    drop(turn);

    let alone = STAGE.users(1);
    assert!(alone.owner().list(check).is_empty());
}

#[test]
fn the_copy_waits_for_a_standby_that_says_nothing_any_more() {
    let (_turn, pair) = replicated();
    let scene = pair.scene();
    let mut far = pair.far.connect("postgres", "postgres").unwrap();
    let receiver: i32 = far.query_one("SELECT pid FROM pg_stat_wal_receiver", &[]).unwrap().get(0);
    pair.far.kill_backend(receiver, Signal::SIGSTOP).unwrap();
    let asleep = Asleep { cluster: pair.far, pid: receiver };
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
    assert_eq!(rows_of(pair.near, &scene), i64::from(BLOCKS));
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
