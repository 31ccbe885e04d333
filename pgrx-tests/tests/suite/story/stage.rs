//! Where scenes are played: the clusters, and when they end.
//!
//! A module's tests share a [`Stage`], a test that brings its server down has a cluster of its [`own`].
//! A cluster ends with the last test that may use it, because each takes memory, disk and now and then
//! the processor; at the latest it ends with the program, by its watchdog.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use bluegreen_tests::cluster::Cluster;

use super::Scene;

/// The cluster that the tests of a module share. It is made for the first of them that asks, and ends
/// when all tests of the module, or below it, have ended.
pub struct Stage {
    module: &'static str,
    make: fn() -> Cluster,
    cluster: OnceLock<Cluster>,
}

/// A stage of the module in which this is written: with a usual cluster, or as an expression makes it.
macro_rules! stage {
    () => {
        stage!($crate::story::new_cluster(&bluegreen_tests::cluster::Options::default()))
    };
    ($cluster:expr) => {
        $crate::story::stage::Stage::new(module_path!(), || $cluster)
    };
}
pub(crate) use stage;

impl Stage {
    /// See [`stage`].
    pub const fn new(module: &'static str, make: fn() -> Cluster) -> Self {
        Self { module, make, cluster: OnceLock::new() }
    }

    /// The cluster itself.
    pub fn cluster(&'static self) -> &'static Cluster {
        enter();
        self.cluster.get_or_init(|| {
            let cluster = (self.make)();
            lock(&OPEN).push(self);
            cluster
        })
    }

    /// An empty database with the extension.
    pub fn empty(&'static self) -> Scene {
        Scene::in_cluster(self.cluster())
    }

    /// The table of the manual method, `users (id, name, email, created_at)`, with so many rows.
    pub fn users(&'static self, rows: u32) -> Scene {
        let scene = self.empty();
        scene.add_users(rows);
        scene
    }

    /// `users` with a row per block: many batches with few rows.
    pub fn wide_users(&'static self, rows: u32) -> Scene {
        let scene = self.empty();
        scene.add_wide_users(rows);
        scene
    }

    /// Whether a test that has not ended belongs to this stage.
    fn is_needed(&self, left: &BTreeSet<String>) -> bool {
        // Tests have no name of the program before their path.
        let module = self.module.split_once("::").map_or("", |(_, module)| module);
        let below =
            |test: &String| test.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"));
        left.iter().any(below)
    }
}

/// A cluster that ends with the test that asks for it.
pub fn own(cluster: Cluster) -> &'static Cluster {
    let cluster: &'static Cluster = Box::leak(Box::new(cluster));
    if enter() {
        TEST.with(|test| lock(&test.own).push(cluster));
    }
    cluster
}

/// Stages whose cluster runs.
static OPEN: Mutex<Vec<&'static Stage>> = Mutex::new(Vec::new());

/// The tests of this run that have not ended. One that never asks for a cluster does not tell when it
/// ends, and stays.
static LEFT: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(|| Mutex::new(selected()));

thread_local! {
    /// The test that this thread runs: each has a thread of its own, which has its name.
    static TEST: Test = Test {
        name: std::thread::current().name().unwrap_or_default().to_owned(),
        own: Mutex::default(),
    };
}

/// A test that runs; it is dropped when its thread ends.
struct Test {
    name: String,
    own: Mutex<Vec<&'static Cluster>>,
}

impl Drop for Test {
    fn drop(&mut self) {
        let mut left = lock(&LEFT);
        if !left.remove(&self.name) {
            return;
        }
        for cluster in lock(&self.own).drain(..) {
            cluster.leave();
        }
        lock(&OPEN).retain(|stage| {
            let needed = stage.is_needed(&left);
            if let Some(cluster) = stage.cluster.get().filter(|_| !needed) {
                cluster.leave();
            }
            needed
        });
    }
}

/// Makes the end of this thread the end of its test, and answers whether it is a test's at all: what a
/// test starts besides, and the only thread of a run without others, are none.
fn enter() -> bool {
    TEST.with(|test| lock(&LEFT).contains(&test.name))
}

/// The tests that this program was started for, as it lists them itself.
fn selected() -> BTreeSet<String> {
    // Not by its path, where there may be a newer one.
    let listed = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .arg("--list")
        .output()
        .expect("the list of tests");
    let text = String::from_utf8_lossy(&listed.stdout);
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
