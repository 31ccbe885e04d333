//! Every call in PREPARE TRANSACTION, with both endings, and with a crash of the server before the ending: what is
//! committed has happened, what is rolled back has not, and every row is where it belongs.

use std::collections::BTreeMap;

use bluegreen_tests::cluster::{Cluster, Options, StopMode};

use crate::story::{Errand, Person, Scene, Stage, new_cluster, own, stage};

static STAGE: Stage = stage!(new_cluster(&options()));

const COLUMNS: &str = "id, name, email, created_at";
const PREPARE: &str = "SELECT bg_prepare('users', 'ADD COLUMN phone text')";

/// A call, the phase in which it is made (none: there is no deployment), and the one to which it leads.
type Call = (&'static str, &'static str, &'static str);

const CALLS: &[Call] = &[
    (PREPARE, "", "prepared"),
    ("SELECT bg_backfill('users', '1 min')", "prepared", "ready"),
    ("SELECT bg_swap('users')", "ready", "swapped"),
    ("SELECT bg_revert('users')", "swapped", "ready"),
    ("SELECT bg_finish('users')", "swapped", "finished"),
    ("SELECT bg_abort('users')", "ready", "aborted"),
];

fn options() -> Options {
    Options::default().set("max_prepared_transactions", "40").set("shared_buffers", "64MB")
}

/// A call that was prepared and is not ended.
struct Pending {
    scene: Scene,
    call: Call,
    gid: String,
}

impl Pending {
    fn begin(cluster: &'static Cluster, call: Call) -> Self {
        let scene = Scene::in_cluster(cluster);
        scene.add_users(200);
        scene.admin().run(
            "CREATE INDEX ON users (created_at, name);
             CREATE TABLE expected AS SELECT id, name, email, created_at FROM users",
        );
        let mut owner = scene.owner();
        match call.1 {
            "" => {}
            "prepared" => owner.run(PREPARE),
            "ready" => owner.make_ready("ADD COLUMN phone text"),
            _ => {
                owner.make_ready("ADD COLUMN phone text");
                owner.swap();
            }
        }
        if !call.1.is_empty() {
            write(
                &scene,
                "UPDATE @ SET name = 'before' WHERE id % 10 = 3; DELETE FROM @ WHERE id = 44",
            );
        }
        let gid = format!("it''s {}", scene.database);
        owner.run(&format!("BEGIN; {}; PREPARE TRANSACTION '{gid}'", call.0));
        Self { scene, call, gid }
    }

    /// What is told of it.
    fn assert_pending(&self) {
        let mut owner = self.scene.owner();
        owner.run("SET statement_timeout = '5 s'");
        let mut rows = owner.rows("SELECT phase, next_step FROM bg_status()");
        if self.call.1.is_empty() {
            assert!(rows.is_empty(), "{rows:?}");
            return;
        }
        let row: Vec<_> = rows.remove(0).into_iter().flatten().collect();
        assert_eq!(row[0], self.call.1, "{row:?}");
        let ends = format!("COMMIT PREPARED '{0}' or ROLLBACK PREPARED '{0}'", self.gid);
        assert!(row[1].contains(&ends), "{row:?}");
        owner.run(
            "SELECT * FROM bg_progress(); SELECT * FROM bg_help(); SELECT * FROM bg_history()",
        );
        owner.run("SELECT * FROM bg_blockers('users')");
    }

    /// Ends it, and everything after it goes on as it should.
    fn end(self, commits: bool) {
        let Self { scene, call: (call, before, after), gid } = self;
        let (verb, phase) = if commits { ("COMMIT", after) } else { ("ROLLBACK", before) };
        println!("{verb} of {call}");
        // It waits for the locks, or not.
        let late = Errand::start(
            scene.app(),
            "UPDATE users SET name = 'late' WHERE id = 1;
             INSERT INTO users (id, name, email, created_at) VALUES (1000, 'new', 'new', '2020-01-01')",
        );
        let mut owner = scene.owner();
        owner.run(&format!("{verb} PREPARED '{gid}'"));
        late.done();
        scene.admin().run(
            "UPDATE expected SET name = 'late' WHERE id = 1;
             INSERT INTO expected VALUES (1000, 'new', 'new', '2020-01-01')",
        );
        let is_there = "SELECT coalesce((SELECT phase FROM bg_status('users')), '')";
        let now = if phase.is_empty() {
            assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
            String::new()
        } else {
            owner.text(is_there)
        };
        assert_eq!(now, phase, "{verb} of {call}");
        goes_on(&scene, &mut owner, phase);
    }
}

/// Writes to the table, and to what it should be.
fn write(scene: &Scene, sql: &str) {
    scene.app().run(&sql.replace('@', "users"));
    scene.admin().run(&sql.replace('@', "expected"));
}

#[track_caller]
fn assert_accounted(scene: &Scene) {
    scene.assert_same(
        &format!("SELECT {COLUMNS} FROM users"),
        &format!("SELECT {COLUMNS} FROM expected"),
    );
}

/// From any phase round to the end.
fn goes_on(scene: &Scene, owner: &mut Person, phase: &str) {
    assert_accounted(scene);
    if ["", "finished", "aborted"].contains(&phase) {
        assert!(scene.inventory().with("_blue").is_empty(), "{phase}");
        owner.run("SELECT bg_prepare('users', 'ADD COLUMN fax text')");
    }
    owner.sync();
    scene.assert_in_step(COLUMNS);
    owner.run("CALL bg_run('users', 'swapped')");
    assert_accounted(scene);
    write(scene, "UPDATE @ SET name = 'swapped' WHERE id % 10 = 5; DELETE FROM @ WHERE id = 55");
    owner.sync();
    scene.assert_in_step(COLUMNS);
    owner.revert();
    assert_accounted(scene);
    write(scene, "UPDATE @ SET name = 'reverted' WHERE id % 10 = 6");
    owner.sync();
    scene.assert_in_step(COLUMNS);
    owner.run("SELECT bg_abort('users')");
    assert_accounted(scene);
    assert!(scene.inventory().with("_blue").is_empty());
    assert!(scene.inventory().with("trigger CREATE").is_empty());
}

#[test]
fn each_call_can_be_prepared_and_committed_or_rolled_back() {
    for call in CALLS {
        for commits in [true, false] {
            let pending = Pending::begin(STAGE.cluster(), *call);
            pending.assert_pending();
            pending.end(commits);
        }
    }
}

#[test]
fn each_prepared_call_survives_a_crash_and_is_committed_or_rolled_back_after_it() {
    let cluster = own(new_cluster(&options()));
    let mut pending = Vec::new();
    for call in CALLS {
        for commits in [true, false] {
            pending.push((Pending::begin(cluster, *call), commits));
        }
    }
    cluster.stop(StopMode::Immediate).unwrap();
    cluster.restart().unwrap();
    for (pending, commits) in pending {
        pending.assert_pending();
        pending.end(commits);
    }
}

/// A name for an error, not an empty pid.
#[test]
fn who_is_blocked_by_a_prepared_call_is_told_its_name() {
    let mut errands: BTreeMap<String, (Pending, Errand)> = BTreeMap::new();
    for call in CALLS {
        let others: &[&str] = match call.1 {
            "" => &[PREPARE],
            "prepared" => &["SELECT bg_backfill('users')", "SELECT bg_pause('users')"],
            "ready" => {
                &["SELECT bg_swap('users')", "CALL bg_run('users')", "SELECT bg_pause('users')"]
            }
            _ => &["SELECT bg_revert('users')", "SELECT bg_finish('users')"],
        };
        for other in others {
            let pending = Pending::begin(STAGE.cluster(), *call);
            let mut owner = pending.scene.owner();
            owner.run("SET bluegreen.retry_for = '2 s'; SET statement_timeout = '40 s'");
            let errand = Errand::start(owner, other);
            errands.insert(format!("{other} behind {}", call.0), (pending, errand));
        }
    }
    for (what, (pending, errand)) in errands {
        let refusal = errand.refused();
        println!("{what}: {refusal:?}");
        assert_eq!(refusal.code, "55P03", "{what}: {refusal:?}");
        let gid = format!("prepared transaction '{}'", pending.gid);
        assert!(refusal.message.contains(&gid), "{what}: {refusal:?}");
        assert!(!refusal.everything().contains("pid "), "{what}: {refusal:?}");
        pending.scene.admin().run(&format!("ROLLBACK PREPARED '{}'", pending.gid));
    }
}

/// A prepared transaction of the application.
#[test]
fn who_is_blocked_by_a_prepared_write_is_told_its_name() {
    for (call, phase) in [
        (PREPARE, ""),
        ("SELECT bg_swap('users')", "ready"),
        ("SELECT bg_revert('users')", "swapped"),
        ("SELECT bg_finish('users')", "swapped"),
        ("SELECT bg_abort('users')", "ready"),
    ] {
        let scene = STAGE.users(20);
        let mut owner = scene.owner();
        if !phase.is_empty() {
            owner.make_ready("ADD COLUMN phone text");
        }
        if phase == "swapped" {
            owner.swap();
        }
        let gid = format!("write in {}", scene.database);
        scene.app().run(&format!(
            "BEGIN; UPDATE users SET name = 'two' WHERE id = 2; PREPARE TRANSACTION '{gid}'"
        ));
        owner.run("SET bluegreen.retry_for = '500ms'");
        let refusal = owner.refused(call);
        refusal.assert_is("55P03", &[&format!("prepared transaction '{gid}'")]);
        assert!(!refusal.everything().contains("pid "), "{refusal:?}");
        scene.app().run(&format!("COMMIT PREPARED '{gid}'"));
        owner.run(call);
        assert_eq!(owner.text("SELECT name FROM users WHERE id = 2"), "two", "{call}");
    }
}

/// The log says how long a swap held its locks when it is committed, and nothing of one that is not.
#[test]
fn the_log_tells_nothing_of_a_prepared_swap_that_is_rolled_back() {
    let scene = STAGE.users(20);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let gid = format!("swap in {}", scene.database);
    owner.run(&format!("BEGIN; SELECT bg_swap('users'); PREPARE TRANSACTION '{gid}'"));
    owner.run("SELECT 1");
    owner.run(&format!("ROLLBACK PREPARED '{gid}'"));
    owner.run("SELECT 1");
    // What the session remembers of the table is not what it was in the swap.
    owner.run("UPDATE users SET name = 'own' WHERE id = 3");
    owner.sync();
    scene.assert_in_step(COLUMNS);
    let log = std::fs::read_to_string(scene.cluster.log_file()).unwrap();
    let told: Vec<_> = log
        .lines()
        .filter(|line| {
            line.contains(&format!("@{}", scene.database)) && line.contains("held its locks")
        })
        .collect();
    assert_eq!(told, [""; 0]);
}
