//! Runners that are killed at random points of a deployment, under writers: by kill -9 (the server
//! restarts), by pg_terminate_backend, and by an immediate stop of the server. Each time CALL bg_run
//! goes on where it was, and the journal holds; a commit whose answer was lost counts by its journal
//! row. `BLUEGREEN_SEED` repeats the choices of a run, which prints its seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Options, Signal, StopMode};
use bluegreen_tests::journal::{self, Errors, Schema, Workload, Writers};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::story::course::{revert_under_load, seed};
use crate::story::{Person, Scene, new_cluster, own};

/// How many runners are killed.
const KILLS: usize = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// kill -9: the server ends all sessions and recovers.
    Kill,
    /// pg_terminate_backend.
    Terminate,
    /// The server is stopped in mode immediate, and started.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Copy,
    /// Purge and index builds, and the first sync.
    Index,
    Sync,
    Swap,
    SwapBack,
}

/// A deployment that goes round and round.
struct Round {
    scene: Scene,
    schema: Schema,
    random: StdRng,
    /// How long each point takes when nobody interferes, roughly.
    takes: BTreeMap<Point, Duration>,
    kills: BTreeMap<(Way, Point), usize>,
}

#[test]
fn a_runner_that_is_killed_anywhere_goes_on_and_no_write_is_lost() {
    let options = Options::default().set("bluegreen.batch_time", "10ms");
    let cluster = own(new_cluster(&options.set("bluegreen.retry_for", "30s")));
    let seed = seed();
    println!("BLUEGREEN_SEED={seed}");
    let start = Instant::now();
    let scene = Scene::in_cluster(cluster);
    scene.add_users(40_000);
    let schema = Schema::users();
    let mut admin = scene.admin();
    admin.run("CREATE INDEX ON users (lower(email)); CREATE INDEX ON users (created_at, name)");
    journal::open(&mut admin.client, &schema, "app").unwrap();
    let empty = scene.inventory();
    let workload = Workload {
        pace: Some(50.0),
        errors: Errors::strict().reconnecting(),
        seed,
        ..Workload::default()
    };
    let config = cluster.config("app", &scene.database);
    let writers = Writers::start(&config, &schema, &workload).unwrap();
    let mut round = Round {
        scene,
        schema,
        random: StdRng::seed_from_u64(seed),
        takes: BTreeMap::new(),
        kills: BTreeMap::new(),
    };

    let mut plan: Vec<(Way, Point)> = Vec::new();
    let mut deployments = 0;
    while round.killed() < KILLS {
        if plan.is_empty() {
            for way in [Way::Kill, Way::Terminate, Way::Stop] {
                for point in [Point::Copy, Point::Index, Point::Sync, Point::Swap, Point::SwapBack]
                {
                    plan.push((way, point));
                }
            }
            plan.shuffle(&mut round.random);
        }
        round.deploy(&mut plan, &writers);
        deployments += 1;
        assert!(deployments < 60, "the kills miss: {:?}", round.kills);
    }

    let report = writers.stop();
    println!(
        "{report}{} runners killed in {deployments} deployments, {:.0} s: {:?}",
        round.killed(),
        start.elapsed().as_secs_f64(),
        round.kills
    );
    report.check().unwrap();
    let mut admin = round.scene.admin();
    journal::balance(&mut admin.client, &round.schema).unwrap().check().unwrap();
    empty.assert_same(&round.scene.inventory());
}

impl Round {
    fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// One deployment from prepare to finish, with a kill at each point that the plan has for it.
    fn deploy(&mut self, plan: &mut Vec<(Way, Point)>, writers: &Writers) {
        self.owner().run("SELECT bg_prepare('users')");
        self.drive(plan, Point::Copy, "ready", |phase| phase == "copying" || phase == "prepared");
        self.drive(plan, Point::Index, "ready", |phase| phase == "indexing");
        self.finish_call("ready");
        writers.wait_for(50);
        self.drive(plan, Point::Sync, "ready", |phase| phase == "ready");
        self.compare(writers, "ready");
        self.drive(plan, Point::Swap, "swapped", |phase| phase == "ready");
        self.finish_call("swapped");
        writers.wait_for(50);
        self.compare(writers, "swapped");
        if self.random.random_bool(0.5) {
            self.revert(plan);
            self.compare(writers, "ready");
            self.owner().run("SELECT bg_abort('users')");
        } else {
            self.finish_call("finished");
        }
    }

    /// Calls bg_run and kills it at a random moment of the point, if the plan says so.
    fn drive(
        &mut self,
        plan: &mut Vec<(Way, Point)>,
        point: Point,
        until: &str,
        there: impl Fn(&str) -> bool,
    ) {
        while self.killed() < KILLS
            && let Some(at) = plan.iter().position(|(_, planned)| *planned == point)
        {
            let (way, _) = plan[at];
            let call = format!("CALL bg_run('users', '{until}')");
            let mut eye = self.owner();
            let run = self.scene.send("owner", &call);
            let mut began = None;
            let end = Instant::now() + Duration::from_secs(60);
            while began.is_none() && !run.is_done() && Instant::now() < end {
                let phase = eye.text("SELECT phase FROM bg_status('users')");
                began = there(&phase).then(Instant::now);
            }
            let Some(began) = began else {
                run.done();
                return;
            };
            let takes = self.takes.get(&point).copied().unwrap_or(Duration::from_millis(100));
            std::thread::sleep(takes.mul_f64(self.random.random_range(0.0..1.0)));
            if run.is_done() {
                // Too late; the next deployment's turn, with a better idea of the time.
                run.done();
                self.takes.insert(point, began.elapsed().mul_f64(0.7));
                return;
            }
            let pid = run.pid;
            self.kill(way, pid);
            let (_, result) = run.result();
            if result.is_err() {
                *self.kills.entry((way, point)).or_default() += 1;
                plan.remove(at);
            }
            // How far it came; the next one goes on from there.
            let phase = self.owner().text("SELECT phase FROM bg_status('users')");
            if !there(&phase) {
                return;
            }
            self.takes.entry(point).or_insert(Duration::from_millis(200));
        }
    }

    /// The same for bg_revert, which has no CALL: it happened, or it did not.
    fn revert(&mut self, plan: &mut Vec<(Way, Point)>) {
        if let Some(at) = plan.iter().position(|(_, point)| *point == Point::SwapBack) {
            let (way, _) = plan[at];
            self.owner().run("CALL bg_run('users', 'swapped')");
            let run = self.scene.send("owner", "SELECT bg_revert('users')");
            std::thread::sleep(Duration::from_micros(self.random.random_range(0..30_000)));
            if !run.is_done() {
                self.kill(way, run.pid);
            }
            if let (_, Err(refusal)) = run.result()
                && !["55000", "55P03"].contains(&refusal.code.as_str())
            {
                *self.kills.entry((way, Point::SwapBack)).or_default() += 1;
                plan.remove(at);
            }
        }
        let mut owner = self.owner();
        if owner.text("SELECT phase FROM bg_status('users')") == "swapped" {
            revert_under_load(&mut owner);
        }
    }

    fn kill(&mut self, way: Way, pid: i32) {
        let cluster = self.scene.cluster;
        match way {
            Way::Kill => {
                // It may have ended this very moment.
                let _ = cluster.kill_backend(pid, Signal::SIGKILL);
            }
            Way::Terminate => {
                self.scene.admin().run(&format!("SELECT pg_terminate_backend({pid})"));
            }
            Way::Stop => {
                cluster.stop(StopMode::Immediate).unwrap();
                cluster.restart().unwrap();
            }
        }
    }

    /// Goes on, undisturbed.
    fn finish_call(&mut self, until: &str) {
        let begin = Instant::now();
        let mut owner = self.owner();
        owner.run(&format!("CALL bg_run('users', '{until}')"));
        assert_eq!(owner.text("SELECT phase FROM bg_status('users')"), until);
        if until == "ready" {
            self.takes.entry(Point::Index).or_insert(begin.elapsed());
        }
    }

    /// The journal holds, and blue is green.
    fn compare(&mut self, writers: &Writers, until: &str) {
        writers.pause();
        self.finish_call(until);
        let mut admin = self.scene.admin();
        let balance = journal::balance(&mut admin.client, &self.schema).unwrap();
        balance.check().unwrap_or_else(|error| panic!("{until}: {error}; {:?}", self.kills));
        let apart = journal::ledger::difference(
            &mut admin.client,
            &self.schema,
            "public.users",
            "public_blue.users",
        )
        .unwrap();
        assert_eq!(apart, 0, "{until}: rows that only one of green and blue has");
        assert_eq!(admin.text("SELECT misfits FROM bg_status('users')"), "0");
        writers.go_on();
    }

    /// A new session, also when the server is just recovering.
    fn owner(&self) -> Person {
        self.scene.owner()
    }
}
