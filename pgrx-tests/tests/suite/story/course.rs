//! A whole deployment under writers, from prepare to finish, with a revert on the way, and the
//! account at each stop.

use std::time::{Duration, Instant};

use bluegreen_tests::journal::{self, Schema, Workload, Writers};

use super::{Person, Scene};

/// What is deployed and who writes meanwhile.
pub struct Course {
    pub schema: Schema,
    pub workload: Workload,
    /// The call of bg_prepare.
    pub prepare: String,
    /// How long the writers are left alone between two verbs.
    pub rest: Duration,
}

impl Course {
    /// Of a change to `users`, by writers who need not know of it.
    pub fn of(changes: &str) -> Self {
        Self {
            schema: Schema::users(),
            workload: Workload { seed: seed(), ..Workload::default() },
            prepare: format!("SELECT bg_prepare('users', '{}')", changes.replace('\'', "''")),
            rest: Duration::from_millis(400),
        }
    }

    /// Runs it. `swapped` looks at the table after the first swap, `reverted` after the revert.
    pub fn run(
        &self,
        scene: &Scene,
        swapped: impl FnOnce(&mut Person),
        reverted: impl FnOnce(&mut Person),
    ) {
        println!("seed {}", self.workload.seed);
        let start = Instant::now();
        let mut admin = scene.admin();
        let mut owner = scene.owner();
        // The writers take all of the machine: sync can only win once they stand still.
        owner.run("SET bluegreen.max_final_drain = '2 s'");
        journal::open(&mut admin.client, &self.schema, "app").unwrap();
        let config = scene.cluster.config("app", &scene.database);
        let writers = Writers::start(&config, &self.schema, &self.workload).unwrap();
        let stop_and_compare = |what: &str, admin: &mut Person, owner: &mut Person| {
            self.stop_and_compare(what, &writers, admin, owner);
        };

        std::thread::sleep(self.rest);
        writers.phase("prepare");
        assert_eq!(owner.text(&self.prepare), "prepared");
        writers.phase("run");
        owner.sync();
        writers.phase("ready");
        writers.wait_for(50);
        stop_and_compare("ready", &mut admin, &mut owner);
        std::thread::sleep(self.rest);

        writers.phase("swap");
        owner.run("CALL bg_run('users', 'swapped')");
        writers.phase("swapped");
        std::thread::sleep(self.rest);
        stop_and_compare("swapped", &mut admin, &mut owner);
        swapped(&mut admin);
        std::thread::sleep(self.rest);

        writers.phase("revert");
        revert_under_load(&mut owner);
        writers.phase("reverted");
        std::thread::sleep(self.rest);
        stop_and_compare("reverted", &mut admin, &mut owner);
        reverted(&mut admin);
        std::thread::sleep(self.rest);

        writers.phase("swap again");
        owner.run("CALL bg_run('users', 'swapped')");
        writers.phase("swapped again");
        std::thread::sleep(self.rest);
        stop_and_compare("swapped again", &mut admin, &mut owner);
        writers.phase("finish");
        assert_eq!(owner.text("SELECT bg_finish('users')"), "finished");
        writers.phase("finished");
        writers.wait_for(200);
        std::thread::sleep(self.rest);

        let report = writers.stop();
        println!("{report}in {:.1} s", start.elapsed().as_secs_f64());
        report.check().unwrap();
        let balance = journal::balance(&mut admin.client, &self.schema).unwrap();
        balance.check().unwrap();
        assert!(balance.entries > 1000, "hardly anything was written: {balance}");
    }

    /// Nobody writes for a moment: the table is what was written, and blue is what green is.
    fn stop_and_compare(
        &self,
        what: &str,
        writers: &Writers,
        admin: &mut Person,
        owner: &mut Person,
    ) {
        writers.pause();
        let until = if what.starts_with("swapped") { "swapped" } else { "ready" };
        owner.run(&format!("CALL bg_run('users', '{until}')"));
        let balance = journal::balance(&mut admin.client, &self.schema).unwrap();
        balance.check().unwrap_or_else(|error| panic!("{what}: {error}"));
        let blue = self.schema.table.replace("public.", "public_blue.");
        let apart =
            journal::ledger::difference(&mut admin.client, &self.schema, &self.schema.table, &blue)
                .unwrap();
        assert_eq!(apart, 0, "{what}: rows that only one of green and blue has");
        assert_eq!(owner.text("SELECT misfits FROM bg_status('users')"), "0", "{what}");
        writers.go_on();
    }
}

/// Syncs and reverts, again when the writers were faster.
pub fn revert_under_load(owner: &mut Person) {
    for _ in 0..50 {
        owner.run("CALL bg_run('users', 'swapped')");
        match owner.try_rows("SELECT bg_revert('users')") {
            Ok(_) => return,
            Err(refusal) if ["55000", "55P03"].contains(&refusal.code.as_str()) => {
                println!("once more: {}", refusal.everything());
            }
            Err(refusal) => panic!("bg_revert: {refusal:#?}"),
        }
    }
    panic!("bg_revert was never near enough");
}

/// The seed of chance: of the environment, or of the clock.
pub fn seed() -> u64 {
    match std::env::var("BLUEGREEN_SEED") {
        Ok(seed) => seed.parse().expect("BLUEGREEN_SEED is no number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |time| time.as_millis() as u64),
    }
}

/// How often a test with concurrent writers is done.
pub fn repeats() -> u32 {
    std::env::var("BLUEGREEN_REPEAT").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
