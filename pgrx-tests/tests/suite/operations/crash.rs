//! A crash, and an error, at every failpoint, under writers. What was not committed never happened:
//! the catalog is as before, no write is lost, and the next call of the same verb goes on to its end.
//! A run tries a quarter of them each way; `BLUEGREEN_REPEAT=4` tries all. `BLUEGREEN_SEED` repeats the choices;
//! `BLUEGREEN_POINT` takes one point only.

use std::collections::BTreeSet;
use std::time::Instant;

use bluegreen_tests::cluster::{Cluster, Options, Signal};
use bluegreen_tests::journal::{self, Errors, Schema, Workload, Writers};
use bluegreen_tests::setup::Workspace;
use bluegreen_tests::source;

use crate::story::catalog::Inventory;
use crate::story::course::{repeats, seed};
use crate::story::errand::run_with;
use crate::story::failpoints::{self, arm, is_lost};
use crate::story::{Errand, Person, Scene, own, workers};

/// The call in which a point is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Prepare,
    /// bg_prepare again, for an index that `users` got meanwhile.
    Update,
    /// The same after the swap.
    UpdateBack,
    /// bg_run from `prepared` to `ready`.
    Run,
    /// bg_run in `ready`: a sync.
    Sync,
    /// bg_run in `swapped`: a sync of the old table.
    SyncBack,
    /// bg_run from `ready` to `swapped`.
    RunSwap,
    /// bg_run from `swapped` to `finished`.
    RunFinish,
    /// bg_backfill from `prepared` to `ready`, in one transaction.
    Backfill,
    Swap,
    Revert,
    Finish,
    Abort,
}

use Verb::*;

/// Every failpoint of the extension, and the calls in which it is tried.
const POINTS: &[(&str, &[Verb])] = &[
    ("prepare_built", &[Prepare]),
    ("prepare_captured", &[Prepare]),
    ("prepare_recorded", &[Prepare]),
    ("update_compared", &[Update]),
    ("update_followed", &[Update]),
    ("update_recorded", &[Update]),
    ("update_followed_back", &[UpdateBack]),
    ("copy_begun", &[Run, Backfill]),
    ("copy_range", &[Run, Backfill]),
    ("copy_advanced", &[Run]),
    ("copy_done", &[Run]),
    ("purge_range", &[Run]),
    ("purge_done", &[Run]),
    ("index_laid_out", &[Run]),
    ("index_built", &[Run, Backfill]),
    ("attach_locked", &[Run]),
    ("attach_done", &[Run]),
    ("attach_analyzed", &[Run]),
    ("dependents_locked", &[Run]),
    ("dependents_made", &[Run, Backfill]),
    ("dependents_refreshed", &[Run]),
    ("first_sync_round", &[Run]),
    ("first_sync_done", &[Run]),
    ("sync_applied", &[Sync, SyncBack]),
    ("sync_consumed", &[Sync, SyncBack]),
    ("sync_done", &[Sync, SyncBack]),
    ("verify_begun", &[RunSwap]),
    ("verify_done", &[RunSwap]),
    ("swap_locked", &[Swap]),
    ("drain_earlier", &[Swap, Revert]),
    ("drain_chunks_stamped", &[Swap, Revert]),
    ("drain_earlier_stamped", &[Swap, Revert]),
    ("drain_half_stamped", &[Swap, Revert]),
    ("drain_rows_stamped", &[Swap, Revert]),
    ("swap_drained", &[Swap]),
    ("swap_taken_off", &[Swap]),
    ("swap_exchanged", &[Swap, RunSwap]),
    ("swap_recorded", &[Swap]),
    ("swap_committing", &[Swap, RunSwap]),
    ("validate_done", &[RunSwap]),
    ("revert_locked", &[Revert]),
    ("revert_drained", &[Revert]),
    ("revert_taken_off", &[Revert]),
    ("revert_exchanged", &[Revert]),
    ("revert_recorded", &[Revert]),
    ("revert_committing", &[Revert]),
    ("finish_locked", &[Finish]),
    ("finish_taken_away", &[Finish, RunFinish]),
    ("finish_committing", &[Finish]),
    ("abort_locked", &[Abort]),
    ("abort_taken_away", &[Abort]),
    ("abort_committing", &[Abort]),
];

/// In so many runs every trial is made.
const PARTS: usize = 4;

const CHANGES: &str = "ADD COLUMN phone text DEFAULT ''none''";

impl Verb {
    fn call(self) -> String {
        match self {
            Prepare | Update | UpdateBack => format!("SELECT bg_prepare('users', '{CHANGES}')"),
            Run | Sync => "CALL bg_run('users')".to_owned(),
            RunSwap | SyncBack => "CALL bg_run('users', 'swapped')".to_owned(),
            RunFinish => "CALL bg_run('users', 'finished')".to_owned(),
            Backfill => "SELECT bg_backfill('users', '1 min')".to_owned(),
            Swap => "SELECT bg_swap('users')".to_owned(),
            Revert => "SELECT bg_revert('users')".to_owned(),
            Finish => "SELECT bg_finish('users')".to_owned(),
            Abort => "SELECT bg_abort('users')".to_owned(),
        }
    }

    /// The phase in which it is called.
    fn before(self) -> &'static str {
        match self {
            Prepare => "",
            Run | Backfill => "prepared",
            Sync | RunSwap | Swap | Abort | Update => "ready",
            UpdateBack | SyncBack | Revert | Finish | RunFinish => "swapped",
        }
    }

    /// The phase that it leads to.
    fn after(self) -> &'static str {
        match self {
            Prepare => "prepared",
            Update => "indexing",
            Run | Sync | Backfill | Revert => "ready",
            RunSwap | SyncBack | Swap | UpdateBack => "swapped",
            Finish | RunFinish => "finished",
            Abort => "aborted",
        }
    }

    /// One transaction, before the commit of which the point is: nothing of it may be left.
    fn is_one_transaction(self) -> bool {
        !matches!(self, Run | RunSwap)
    }
}

/// What happens at the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Crash,
    Error,
}

#[test]
fn every_failpoint_of_the_source_is_in_the_table() {
    let top = Workspace::find().unwrap().root().join("src");
    let found = source::failpoints(&top).unwrap();
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let known: BTreeSet<&str> = POINTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known);
    assert_eq!(names.len(), found.len(), "a name is there twice: {found:?}");
}

#[test]
fn a_crash_at_any_failpoint_leaves_the_old_world_and_the_next_call_goes_on() {
    at_every_point(own(failpoints::cluster(Options::default())), Way::Crash);
}

#[test]
fn an_error_at_any_failpoint_leaves_the_old_world_and_the_next_call_goes_on() {
    at_every_point(own(failpoints::cluster(Options::default())), Way::Error);
}

fn at_every_point(cluster: &'static Cluster, way: Way) {
    let seed = seed();
    println!("BLUEGREEN_SEED={seed}");
    let scene = Scene::in_cluster(cluster);
    failpoints::assert_there(&scene);
    furnish(&scene);
    let schema = Schema::users();
    journal::open(&mut scene.admin().client, &schema, "app").unwrap();
    let workload = Workload {
        writers: 4,
        pace: Some(50.0),
        errors: Errors::strict().reconnecting(),
        seed,
        ..Workload::default()
    };
    let config = cluster.config("app", &scene.database);
    let writers = Writers::start(&config, &schema, &workload).unwrap();
    let only = std::env::var("BLUEGREEN_POINT").ok();

    let mut trials = 0;
    let begin = Instant::now();
    let all = POINTS.iter().flat_map(|(name, verbs)| verbs.iter().map(move |verb| (*name, *verb)));
    for (number, (name, verb)) in all.enumerate() {
        let part = (number + seed as usize) % PARTS;
        if only.as_deref().map_or(part < repeats() as usize, |only| only == name) {
            let (schema, writers) = (&schema, &writers);
            let trial = Trial { scene: &scene, schema, writers, name, verb, way };
            // Both ends of a deployment, in turn.
            trial.play(if trials % 2 == 0 { Finish } else { Abort });
            trials += 1;
        }
    }

    println!("{trials} trials in {:.1} s", begin.elapsed().as_secs_f64());
    let report = writers.stop();
    report.check().unwrap();
    let mut admin = scene.admin();
    journal::balance(&mut admin.client, &schema).unwrap().check().unwrap();
}

/// A worker copies and builds indexes beside its runner. What it was at is done again; by the runner
/// itself where the worker can only fail.
#[test]
fn a_worker_that_falls_at_a_failpoint_gives_its_part_back() {
    let options = Options::default().set("max_worker_processes", "32");
    let cluster = own(failpoints::cluster(options));
    let scene = workers::large(cluster);
    failpoints::assert_there(&scene);
    let account = workers::Account::open(&scene);
    let mut runs = 0;
    for point in ["copy_range", "copy_advanced", "index_built"] {
        for way in [Way::Crash, Way::Error] {
            let when = format!("{way:?} at {point} in a worker");
            if runs > 0 {
                scene.owner().run("SELECT bg_abort('users')");
            }
            runs += 1;
            workers::prepare(&scene, "");
            let how = if way == Way::Crash { ":crash" } else { "" };
            let database = &scene.database;
            let mut admin = scene.admin();
            // Workers get what the database sets, the runner has a setting of its own.
            admin.run(&format!(
                "ALTER DATABASE {database} SET bluegreen_test.failpoint = '{point}{how}'"
            ));
            let mut owner = scene.owner();
            arm(&mut owner, "none");
            owner.run(workers::FAST);
            let (_, ended) = Errand::start(owner, "CALL bg_run('users')").result();
            let mut admin = scene.admin();
            admin.run(&format!("ALTER DATABASE {database} RESET bluegreen_test.failpoint"));
            match (way, ended) {
                (Way::Crash, Err(refusal)) => assert!(is_lost(&refusal), "{when}: {refusal:?}"),
                (Way::Crash, Ok(_)) => panic!("not reached: {when}"),
                (Way::Error, ended) => assert!(ended.is_ok(), "{when}: {ended:?}"),
            }
            let log = std::fs::read_to_string(cluster.log_file()).unwrap();
            let fell = log.matches(&format!("failpoint {point}")).count();
            assert!(way == Way::Crash || fell > 0, "not reached: {when}");
            run_with(&scene, workers::FAST).done();
            let found = scene.admin().rows("SELECT key, problem FROM bg_verify('users') LIMIT 5");
            assert!(found.is_empty(), "{when}: {found:?}");
            scene.until(workers::NONE_LEFT);
        }
    }
    account.check(&scene);
}

/// `users`, with something of each kind that hangs on a table.
fn furnish(scene: &Scene) {
    scene.add_users(2_000);
    scene.table("teams", "id int PRIMARY KEY");
    scene.table("visits", "user_id bigint REFERENCES users ON DELETE CASCADE");
    scene.admin().run(
        "INSERT INTO teams VALUES (1);
         ALTER TABLE users ADD COLUMN team int NOT NULL DEFAULT 1 REFERENCES teams;
         ALTER TABLE users ADD CONSTRAINT named CHECK (id <> 0) NOT VALID;
         CREATE VIEW names AS SELECT id, name FROM users;
         ALTER VIEW names OWNER TO owner;
         CREATE MATERIALIZED VIEW mails AS SELECT count(email) AS mails FROM users;
         ALTER MATERIALIZED VIEW mails OWNER TO owner;
         CREATE FUNCTION label(u users) RETURNS text LANGUAGE sql AS 'SELECT u.name';
         ALTER FUNCTION label OWNER TO owner",
    );
}

/// A deployment that is disturbed at one point.
struct Trial<'a> {
    scene: &'a Scene,
    schema: &'a Schema,
    writers: &'a Writers,
    name: &'a str,
    verb: Verb,
    way: Way,
}

impl Trial<'_> {
    fn play(&self, end: Verb) {
        let begin = Instant::now();
        let plain = self.inventory();
        let columns = self.columns();
        self.lead_to(self.verb.before());
        let updates = matches!(self.verb, Update | UpdateBack);
        if updates {
            self.scene.admin().run("CREATE INDEX users_late ON users (created_at)");
        }
        if self.name == "purge_range" {
            // What is logged before the copy begins is forgotten: there has to be something since.
            self.scene.owner().run("SELECT bg_backfill('users', '0')");
        }
        self.writers.wait_for(10);
        let world = self.inventory();

        self.disturb();
        let phase = self.phase();
        if self.verb.is_one_transaction() {
            assert_eq!(phase, self.verb.before(), "{self:?}");
            world.assert_same(&self.inventory());
        }
        self.writers.pause();
        self.balance("disturbed");
        self.writers.go_on();

        self.go_on(self.verb);
        assert_eq!(self.phase_reached(), self.verb.after(), "{self:?}");
        self.writers.wait_for(10);
        if ["finished", "aborted"].contains(&self.verb.after()) {
            self.balance_at_rest(None);
        } else {
            if ["prepared", "indexing"].contains(&self.phase().as_str()) {
                self.go_on(Run);
            }
            self.balance_at_rest(Some(self.phase()));
            self.end(end);
            self.balance_at_rest(None);
        }
        // The old table or the new one stays; the column that it has more goes, for the next trial.
        if self.columns() != columns {
            self.scene.admin().run("ALTER TABLE users DROP COLUMN phone");
        }
        if updates {
            self.scene.admin().run("DROP INDEX users_late");
        }
        plain.assert_same(&self.inventory());
        println!("{} in {:?}: {:.2} s", self.name, self.verb, begin.elapsed().as_secs_f64());
    }

    /// Undisturbed, to the phase in which the verb is called.
    fn lead_to(&self, phase: &str) {
        if phase.is_empty() {
            return;
        }
        self.owner().run(&Prepare.call());
        if phase != "prepared" {
            self.go_on(Run);
        }
        if phase == "swapped" {
            self.go_on(RunSwap);
        }
    }

    /// The call that reaches the point.
    fn disturb(&self) {
        for _ in 0..20 {
            let mut owner = self.owner();
            let pid = owner.pid();
            let how = if self.way == Way::Crash { ":crash" } else { "" };
            arm(&mut owner, &format!("{}{how}", self.name));
            let Err(refusal) = owner.try_run(&self.verb.call()) else {
                panic!("the point was not reached: {self:?}");
            };
            if is_busy(&refusal.code) {
                // The writers were faster.
                self.catch_up();
                continue;
            }
            if self.way == Way::Crash {
                assert!(is_lost(&refusal), "{self:?}: {refusal:?}");
                // Returns when the server has taken note.
                let _ = self.scene.cluster.kill_backend(pid, Signal::SIGKILL);
            } else {
                assert_eq!(refusal.message, format!("failpoint {}", self.name), "{self:?}");
                if matches!(self.verb, Run | RunSwap | Sync | SyncBack | RunFinish) {
                    let told = owner.text("SELECT last_error FROM bg_status('users')");
                    assert!(told.contains(self.name), "{self:?}: last_error is {told:?}");
                }
            }
            return;
        }
        panic!("the writers were always faster: {self:?}");
    }

    /// The verb again, to its end.
    fn go_on(&self, verb: Verb) {
        for _ in 0..50 {
            match self.owner().try_run(&verb.call()) {
                Ok(()) => return,
                Err(refusal) if is_busy(&refusal.code) && matches!(verb, Swap | Revert) => {
                    self.catch_up();
                }
                Err(refusal) => panic!("{verb:?} after {self:?}: {refusal:#?}"),
            }
        }
        panic!("{verb:?} was never near enough: {self:?}");
    }

    /// A sync, whichever table is live.
    fn catch_up(&self) {
        let until = self.phase();
        self.owner().run(&format!("CALL bg_run('users', '{until}')"));
    }

    fn end(&self, end: Verb) {
        let phase = self.phase();
        match (end, phase.as_str()) {
            (Finish, "ready") => self.go_on(RunFinish),
            (Abort, "swapped") => {
                self.go_on(Revert);
                self.go_on(Abort);
            }
            _ => self.go_on(end),
        }
    }

    /// Nobody writes: the live table is what was written, and blue is what green is.
    fn balance_at_rest(&self, phase: Option<String>) {
        self.writers.pause();
        if let Some(phase) = phase {
            self.owner().run(&format!("CALL bg_run('users', '{phase}')"));
            let mut admin = self.admin();
            let (green, blue) = ("public.users", "public_blue.users");
            let apart =
                journal::ledger::difference(&mut admin.client, self.schema, green, blue).unwrap();
            assert_eq!(apart, 0, "{self:?}, {phase}: rows that only one of green and blue has");
            let found = admin.rows("SELECT key, problem FROM bg_verify('users') LIMIT 5");
            assert!(found.is_empty(), "{self:?}: {found:?}");
            assert_eq!(admin.text("SELECT misfits FROM bg_status('users')"), "0", "{self:?}");
            assert_eq!(admin.text("SELECT last_error FROM bg_status('users')"), "", "{self:?}");
        }
        self.balance("gone on");
        self.writers.go_on();
    }

    #[track_caller]
    fn balance(&self, when: &str) {
        let balance = journal::balance(&mut self.admin().client, self.schema).unwrap();
        balance.check().unwrap_or_else(|error| panic!("{self:?}, {when}: {error}"));
    }

    /// The open deployment's phase; empty where there is none.
    fn phase(&self) -> String {
        let rows = self.owner().list("SELECT phase FROM bg_status()");
        assert!(rows.len() < 2, "{self:?}: {rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    /// The last deployment's phase.
    fn phase_reached(&self) -> String {
        self.owner().text("SELECT phase FROM bg_status('users')")
    }

    fn columns(&self) -> String {
        self.admin().text(
            "SELECT string_agg(attname, ' ') FROM pg_attribute
             WHERE attrelid = 'public.users'::regclass AND attnum > 0 AND NOT attisdropped",
        )
    }

    fn inventory(&self) -> Inventory {
        self.scene.inventory()
    }

    fn owner(&self) -> Person {
        self.scene.owner()
    }

    fn admin(&self) -> Person {
        self.scene.admin()
    }
}

impl std::fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {} in {:?}", self.way, self.name, self.verb)
    }
}

/// A refusal that another sync, or a moment's wait, cures.
fn is_busy(code: &str) -> bool {
    ["55000", "55P03"].contains(&code)
}
