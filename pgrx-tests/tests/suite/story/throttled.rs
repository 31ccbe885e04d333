//! A copy that goes slowly and is made to wait.

use std::time::{Duration, Instant};

use bluegreen_tests::cluster::Cluster;

use super::{Errand, Person, Scene};

const COLUMNS: &str = "id, name, email, created_at";

/// One process, in batches of a few blocks, with a rest after each: a copy of some seconds.
pub const SLOWLY: &str = "SET bluegreen.copy_workers = 1; SET bluegreen.batch_time = '2ms';
    SET bluegreen.nice = 20; SET bluegreen.vacuum = off";

/// Blocks of the tables here.
pub const BLOCKS: u32 = 3000;

/// Begins a deployment of users.
pub fn prepare(scene: &Scene) {
    scene.owner().run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
}

/// Waits until bg_run says that it waits for something with these words in it.
#[track_caller]
pub fn until_waiting(scene: &Scene, run: &Errand, words: &str) -> String {
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
pub fn assert_still(scene: &Scene) {
    let copied = scene.status("rows_copied");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(scene.status("rows_copied"), copied);
    assert_eq!(scene.status("phase"), "copying");
}

/// Asserts that the copy came to its end and that nothing is waited for any more.
#[track_caller]
pub fn assert_went_on(scene: &Scene, run: Errand) -> Person {
    let person = run.done();
    assert_eq!(scene.status("phase"), "ready");
    assert_calm(scene);
    scene.assert_in_step(COLUMNS);
    person
}

/// The status of a deployment that nobody drives.
#[track_caller]
pub fn assert_calm(scene: &Scene) {
    let calm = "concat_ws(' ', paused, waiting_for, waiting_since, worker_pid)";
    assert_eq!(scene.status(calm), "f");
}

/// Prepared users in a cluster.
pub fn wide_users_in(cluster: &'static Cluster) -> Scene {
    let scene = Scene::in_cluster(cluster);
    scene.add_wide_users(BLOCKS);
    prepare(&scene);
    scene
}
