//! The extension with failpoints: a build of its own, in a server tree of its own.

use bluegreen_tests::cluster::{Cluster, Options};
use bluegreen_tests::setup::Tree;

use super::person::{Person, Refusal};
use super::{Scene, new_cluster};

/// A cluster whose extension was built with failpoints. One that has none, or a release build in its
/// place, fails every test that asks for it.
pub fn cluster(options: Options) -> Cluster {
    let options = options
        .tree(Tree::Failpoints)
        // Background workers do not get the setting that names the point.
        .set("bluegreen.copy_workers", "1")
        .set("bluegreen.vacuum", "off");
    new_cluster(&options)
}

/// Asserts that the extension of a scene's cluster has failpoints at all.
pub fn assert_there(scene: &Scene) {
    scene.table("probe", "id int PRIMARY KEY");
    let mut owner = scene.owner();
    arm(&mut owner, "prepare_built");
    let Err(refusal) = owner.try_run("SELECT bg_prepare('probe')") else {
        panic!("no failpoints in this build: run cargo verify --only install");
    };
    assert_eq!(refusal.message, "failpoint prepare_built");
    scene.admin().run("DROP TABLE probe");
}

/// From now on the session does at the point what is asked for: `name`, `name:crash`, `name:wait`.
pub fn arm(person: &mut Person, point: &str) {
    person.run(&format!("SET bluegreen_test.failpoint = '{point}'"));
}

/// The server closed the connection without a word.
pub fn is_lost(refusal: &Refusal) -> bool {
    refusal.code.is_empty()
}
