//! Races, one by one: a step is held at a failpoint while somebody else acts, and goes on. Each ends
//! with exactly the rows that were written.

use std::time::{Duration, Instant};

use bluegreen_tests::cluster::Options;

use crate::story::course::{repeats, seed};
use crate::story::failpoints::{self, arm};
use crate::story::{Errand, Gate, Person, Scene, Stage, stage};

static STAGE: Stage = stage!(failpoints::cluster(Options::default()));

/// What is compared.
const COLUMNS: &str = "id, name, email";

/// Points under the swap's locks, and those of a revert.
const UNDER_LOCK: &[&str] =
    &["locked", "drained", "taken_off", "exchanged", "recorded", "committing"];

fn scene(rows: u32) -> Scene {
    let scene = STAGE.empty();
    failpoints::assert_there(&scene);
    scene.add_users(rows);
    scene.admin().run(&format!(
        "CREATE VIEW names AS SELECT id, name FROM users;
         ALTER VIEW names OWNER TO owner;
         CREATE MATERIALIZED VIEW mails AS SELECT count(email) AS mails FROM users;
         ALTER MATERIALIZED VIEW mails OWNER TO owner;
         CREATE TABLE model AS SELECT {COLUMNS} FROM users"
    ));
    scene
}

/// The same for `users` and for the model of what it must be.
fn both(sql: &str) -> String {
    format!("{sql}; {}", sql.replace("users", "model"))
}

/// The live table is the model, and the offline one too once it is synced.
#[track_caller]
fn assert_exact(scene: &Scene, when: &str) {
    let mut admin = scene.admin();
    let apart = "SELECT count(*) FROM (
         (SELECT id, name, email FROM users EXCEPT ALL SELECT id, name, email FROM model)
         UNION ALL (SELECT id, name, email FROM model EXCEPT ALL SELECT id, name, email FROM users)) d";
    assert_eq!(admin.text(apart), "0", "{when}: the live table is not what was written");
    let phase = phase(scene);
    if ["ready", "swapped"].contains(&phase.as_str()) {
        scene.owner().run(&format!("CALL bg_run('users', '{phase}')"));
        let found = admin.rows("SELECT key, problem FROM bg_verify('users') LIMIT 5");
        assert!(found.is_empty(), "{when}: {found:?}");
        scene.assert_same(
            &format!("SELECT {COLUMNS} FROM public.users"),
            &format!("SELECT {COLUMNS} FROM public_blue.users"),
        );
        assert_eq!(admin.text("SELECT misfits FROM bg_status('users')"), "0", "{when}");
    }
}

/// The open deployment's phase; empty where there is none.
fn phase(scene: &Scene) -> String {
    scene.owner().list("SELECT phase FROM bg_status()").into_iter().next().unwrap_or_default()
}

/// A call that stands at a point until the gate opens.
struct Held {
    gate: Gate,
    errand: Errand,
}

impl Held {
    fn at(scene: &Scene, point: &str, call: &str) -> Self {
        let gate = scene.close_gate();
        let mut owner = scene.owner();
        arm(&mut owner, &format!("{point}:wait"));
        let errand = Errand::start(owner, call);
        let mut admin = scene.admin();
        let deadline = Instant::now() + Duration::from_secs(30);
        while admin.text(AT_GATE) != "t" {
            assert!(!errand.is_done(), "{call} did not come to {point}: {:?}", errand.result().1);
            assert!(Instant::now() < deadline, "{call} does not come to {point}");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { gate, errand }
    }

    /// Opens the gate.
    fn go_on(self) -> Errand {
        drop(self.gate);
        self.errand
    }
}

const AT_GATE: &str =
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// Waits until an errand has ended or waits for a lock on a table.
fn until_queued_or_done(scene: &Scene, errand: &Errand) {
    let mut admin = scene.admin();
    let queued =
        format!("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {} AND NOT granted)", errand.pid);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !errand.is_done() && admin.text(&queued) != "t" {
        assert!(Instant::now() < deadline, "neither waits nor ends");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn writers_queued_at_any_place_of_a_swap_or_revert_land_in_the_live_table() {
    let scene = scene(300);
    scene.admin().run(
        "CREATE FUNCTION rename_user(i bigint, n text) RETURNS void LANGUAGE plpgsql
             AS $$ BEGIN UPDATE users SET name = n WHERE id = i; END $$",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut prepared = scene.app();
    prepared.run("PREPARE p (bigint, text) AS UPDATE users SET name = $2 WHERE id = $1");
    let mut cached = scene.app();
    // From the sixth time on the plan is a generic one that is kept.
    for _ in 0..6 {
        prepared.run("EXECUTE p (0, '')");
        cached.run("SELECT rename_user(0, '')");
    }
    let mut fresh = 1000;
    for round in 0..2 * UNDER_LOCK.len() {
        let verb = if round % 2 == 0 { "swap" } else { "revert" };
        let point = format!("{verb}_{}", UNDER_LOCK[round / 2]);
        owner.run(&format!("CALL bg_run('users', '{}')", phase(&scene)));
        // Something for the drain.
        scene
            .admin()
            .run(&both(&format!("UPDATE users SET name = 'drained' WHERE id = {}", 90 + round)));

        let held = Held::at(&scene, &point, &format!("SELECT bg_{verb}('users')"));
        fresh += 10;
        let id = 10 + round * 5;
        let plain = format!("UPDATE users SET name = '{point} plain' WHERE id = {id}");
        let insert =
            format!("INSERT INTO users (id, name, email) VALUES ({fresh}, '{point}', '{point}')");
        let moved = format!("UPDATE users SET id = {} WHERE id = {}", fresh + 1, id + 3);
        let delete = format!("DELETE FROM users WHERE id = {}", id + 4);
        let (by_plan, by_call) = (
            format!("EXECUTE p ({}, '{point} p')", id + 1),
            format!("SELECT rename_user({}, '{point} f')", id + 2),
        );
        let writers = [
            scene.send("app", &plain),
            scene.send("app", &insert),
            scene.send("app", &moved),
            scene.send("app", &delete),
            Errand::start(prepared, &by_plan),
            Errand::start(cached, &by_call),
        ];
        scene.until_queued(writers.len());
        held.go_on().done();
        let people: Vec<Person> = writers.into_iter().map(Errand::done).collect();
        let mut people = people.into_iter().skip(4);
        (prepared, cached) = (people.next().unwrap(), people.next().unwrap());

        let model = [plain, insert, moved, delete].join("; ").replace("users", "model");
        scene.admin().run(&format!(
            "{model}; UPDATE model SET name = '{point} p' WHERE id = {};
             UPDATE model SET name = '{point} f' WHERE id = {}",
            id + 1,
            id + 2
        ));
        assert_exact(&scene, &point);
    }
    owner.run("CALL bg_run('users', 'finished')");
    assert_exact(&scene, "finished");
}

/// Points of a run from `prepared` to `swapped` between which or in which others do something.
const ON_THE_WAY: &[&str] = &[
    "copy_range",
    "copy_done",
    "purge_range",
    "purge_done",
    "index_built",
    "attach_done",
    "attach_analyzed",
    "dependents_made",
    "dependents_refreshed",
    "first_sync_round",
    "first_sync_done",
    "sync_consumed",
    "verify_begun",
    "verify_done",
];

/// The call in which a point is reached, brought about.
fn hold_on_the_way(scene: &Scene, point: &str) -> Held {
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users')");
    // What is logged before the copy begins is forgotten; without a key in the log there is nothing to purge.
    owner.run("SELECT bg_backfill('users', '0')");
    scene.admin().run(&both("UPDATE users SET name = 'logged' WHERE id = 1"));
    let until = if point.starts_with("verify") { "swapped" } else { "ready" };
    Held::at(scene, point, &format!("CALL bg_run('users', '{until}')"))
}

#[test]
fn a_definition_that_changes_at_any_step_is_named_and_its_undoing_lets_it_go_on() {
    let scene = scene(300);
    let before = scene.inventory();
    for (number, point) in ON_THE_WAY.iter().enumerate() {
        for (ddl, named, undo) in [
            (
                "ALTER TABLE users ADD COLUMN extra int",
                "column extra",
                "ALTER TABLE users DROP COLUMN extra",
            ),
            ("CREATE INDEX extra ON users (name)", "index extra", "DROP INDEX extra"),
            ("GRANT SELECT ON users TO mallory", "grants", "REVOKE SELECT ON users FROM mallory"),
            (
                "CREATE TRIGGER extra BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
                "trigger extra",
                "DROP TRIGGER extra ON users",
            ),
        ] {
            // All of them at some points, some at all.
            if (number + ddl.len()) % 2 == 0 {
                continue;
            }
            let held = hold_on_the_way(&scene, point);
            let change = scene.send("postgres", ddl);
            until_queued_or_done(&scene, &change);
            let run = held.go_on();
            change.done();
            let when = format!("{ddl} at {point}");
            let refusal = match run.result() {
                (_, Err(refusal)) => refusal,
                // It came too late for this call.
                (_, Ok(_)) => scene.owner().refused("CALL bg_run('users', 'swapped')"),
            };
            assert_eq!(refusal.code, "55000", "{when}: {refusal:?}");
            assert!(refusal.everything().contains(named), "{when}: {refusal:?}");
            refusal.assert_helps();

            let mut admin = scene.admin();
            admin.run(&both("UPDATE users SET name = name || '.' WHERE id = 7"));
            admin.run(undo);
            scene.owner().run("CALL bg_run('users')");
            assert_exact(&scene, &when);
            scene.owner().run("SELECT bg_abort('users')");
            before.assert_same(&scene.inventory());
        }
    }
}

#[test]
fn a_truncate_at_any_step_leaves_what_was_written_after_it() {
    let scene = scene(300);
    let before = scene.inventory();
    for point in
        ON_THE_WAY.iter().copied().chain(["swap_locked", "swap_drained", "swap_committing"])
    {
        scene.admin().run(&both(
            "INSERT INTO users (id, name, email) SELECT n, 'again', 'again' || n FROM generate_series(1, 300) n
                 WHERE n NOT IN (SELECT id FROM users)",
        ));
        let held = if point.starts_with("swap") {
            scene.owner().make_ready("");
            Held::at(&scene, point, "SELECT bg_swap('users')")
        } else {
            hold_on_the_way(&scene, point)
        };
        let sql = format!(
            "TRUNCATE users; INSERT INTO users (id, name, email)
                 SELECT n, '{point}', 'mail' || n FROM generate_series(1, 5) n;
             DELETE FROM users WHERE id = 2"
        );
        let truncate = scene.send("app", &format!("BEGIN; {sql}; COMMIT"));
        until_queued_or_done(&scene, &truncate);
        let run = held.go_on();
        truncate.done();
        run.done();
        scene.admin().run(&sql.replace("users", "model"));

        if phase(&scene) != "swapped" {
            scene.owner().run("CALL bg_run('users', 'swapped')");
        }
        assert_exact(&scene, point);
        scene.owner().run("SELECT bg_finish('users')");
        assert_exact(&scene, point);
        before.assert_same(&scene.inventory());
    }
}

/// Calls that are held, each at a point, from a phase.
const FIRST: &[(&str, &str, &str)] = &[
    ("", "prepare_captured", "SELECT bg_prepare('users')"),
    ("prepared", "copy_range", "CALL bg_run('users')"),
    ("prepared", "index_built", "SELECT bg_backfill('users', '10 s')"),
    ("ready", "sync_applied", "CALL bg_run('users')"),
    ("ready", "verify_begun", "CALL bg_run('users', 'swapped')"),
    ("ready", "swap_locked", "SELECT bg_swap('users')"),
    ("ready", "swap_committing", "CALL bg_run('users', 'swapped')"),
    ("swapped", "revert_exchanged", "SELECT bg_revert('users')"),
    ("swapped", "finish_taken_away", "SELECT bg_finish('users')"),
    ("ready", "abort_taken_away", "SELECT bg_abort('users')"),
];

/// Calls of a second session.
const SECOND: &[&str] = &[
    "SELECT bg_prepare('users')",
    "SELECT * FROM bg_check('users')",
    "CALL bg_run('users')",
    "CALL bg_run('users', 'finished')",
    "SELECT bg_backfill('users', '1 s')",
    "SELECT bg_swap('users')",
    "SELECT bg_revert('users')",
    "SELECT * FROM bg_verify('users')",
    "SELECT * FROM bg_verify('users', repair => true)",
    "SELECT bg_pause('users'); SELECT bg_resume('users')",
    "SELECT bg_finish('users')",
    "SELECT bg_abort('users')",
];

/// In so many runs every pair of calls is tried.
const PARTS: usize = 4;

#[test]
fn a_second_session_with_any_verb_waits_or_is_refused_while_another_is_in_the_middle() {
    let scene = scene(200);
    let before = scene.inventory();
    // A quarter of the pairs in each run, all with BLUEGREEN_REPEAT=4.
    let (begin, repeats) = (seed() as usize % PARTS, repeats() as usize);
    println!("BLUEGREEN_SEED={begin}");
    for (i, (from, point, first)) in FIRST.iter().enumerate() {
        for (j, second) in SECOND.iter().enumerate() {
            if (i + j + begin) % PARTS >= repeats {
                continue;
            }
            let when = format!("{second} while {first} is at {point}");
            lead_to(&scene, from);
            if *from == "ready" {
                // Something to sync.
                scene.admin().run(&both("UPDATE users SET name = name || '.' WHERE id = 7"));
            }
            let held = Held::at(&scene, point, first);
            // Looking is always possible.
            let mut looker = scene.owner();
            looker.run("SET statement_timeout = '5 s'");
            let looked = looker.try_run("SELECT * FROM bg_status()");
            assert!(looked.is_ok(), "bg_status, {when}: {looked:?}");
            let other = scene.send("owner", second);
            until_queued_or_done(&scene, &other);
            let first_one = held.go_on();
            for errand in [first_one, other] {
                if let (_, Err(refusal)) = errand.result() {
                    let known =
                        ["55000", "55006", "55P03", "42P01"].contains(&refusal.code.as_str());
                    assert!(known, "{when}: {refusal:?}");
                    assert!(!refusal.message.contains("could not"), "{when}: {refusal:?}");
                }
            }
            scene.admin().run(&both("UPDATE users SET name = name || '!' WHERE id = 8"));
            assert_exact(&scene, &when);
            end(&scene);
            assert_exact(&scene, &when);
            before.assert_same(&scene.inventory());
        }
    }
}

fn lead_to(scene: &Scene, phase: &str) {
    let mut owner = scene.owner();
    if !phase.is_empty() {
        owner.run("SELECT bg_prepare('users')");
    }
    if ["ready", "swapped"].contains(&phase) {
        owner.run(&format!("CALL bg_run('users', '{phase}')"));
    }
}

/// Ends the deployment that is open, if one is.
fn end(scene: &Scene) {
    match phase(scene).as_str() {
        "" => {}
        "swapped" => scene.owner().run("SELECT bg_finish('users')"),
        _ => scene.owner().run("SELECT bg_abort('users')"),
    }
}

#[test]
fn a_cancel_under_any_lock_of_a_swap_gives_the_old_world_back_at_once() {
    let scene = scene(200);
    scene.owner().make_ready("ADD COLUMN phone text");
    let under =
        |verb: &str| UNDER_LOCK.iter().map(|place| format!("{verb}_{place}")).collect::<Vec<_>>();
    for (verb, call, after) in [
        ("swap", "SELECT bg_swap('users')", "swapped"),
        ("swap", "CALL bg_run('users', 'swapped')", "swapped"),
        ("revert", "SELECT bg_revert('users')", "ready"),
    ] {
        if verb == "swap" && phase(&scene) == "swapped" {
            scene.owner().revert();
        }
        for way in ["pg_cancel_backend", "pg_terminate_backend"] {
            for point in under(verb) {
                let when = format!("{way} of {call} at {point}");
                let from = phase(&scene);
                scene.owner().run(&format!("CALL bg_run('users', '{from}')"));
                scene.admin().run(&both("UPDATE users SET name = name || '.' WHERE id = 7"));
                let world = scene.inventory();
                let held = Held::at(&scene, &point, call);
                let queued = scene.send("app", "UPDATE users SET name = 'queued' WHERE id = 8");
                scene.until_queued(1);
                scene.admin().run(&format!("SELECT {way}({})", held.errand.pid));
                // The gate stays closed: it is the cancel that ends it.
                let (_, ended) = held.errand.result();
                let refusal = ended.expect_err(&when);
                // The driver does not always hear the last word of a session that is ended.
                let ended = way == "pg_terminate_backend" && failpoints::is_lost(&refusal);
                let code = if way == "pg_cancel_backend" { "57014" } else { "57P01" };
                assert!(ended || refusal.code == code, "{when}: {refusal:?}");
                queued.done();
                let mut app = scene.app();
                app.run("SET lock_timeout = '1 s'; UPDATE users SET name = 'at once' WHERE id = 9");
                scene.admin().run(
                    "UPDATE model SET name = 'queued' WHERE id = 8;
                     UPDATE model SET name = 'at once' WHERE id = 9",
                );
                assert_eq!(phase(&scene), from, "{when}");
                world.assert_same(&scene.inventory());
                assert_exact(&scene, &when);
                drop(held.gate);
            }
        }
        scene.owner().run(call);
        assert_eq!(phase(&scene), after, "{call}");
        assert_exact(&scene, call);
    }
    scene.owner().run("CALL bg_run('users', 'finished')");
    assert_exact(&scene, "finished");
}

/// Waits until an errand waits for a deployment's lock.
fn until_waiting_for_an_object(scene: &Scene, errand: &Errand) {
    let mut admin = scene.admin();
    let waiting = format!(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = {} AND locktype = 'object' AND NOT granted)",
        errand.pid
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while admin.text(&waiting) != "t" {
        assert!(!errand.is_done() && Instant::now() < deadline, "it does not wait");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_prepare_that_waits_for_the_end_of_a_deployment_begins_a_new_one() {
    let scene = scene(50);
    for (phase, verb, changes) in [
        ("", "abort", "ADD COLUMN phone text"),
        ("ready", "abort", "ADD COLUMN phone text"),
        ("swapped", "finish", ""),
    ] {
        let mut owner = scene.owner();
        let prepare = format!("SELECT bg_prepare('users', '{changes}')");
        owner.run(&prepare);
        if !phase.is_empty() {
            owner.run(&format!("CALL bg_run('users', '{phase}')"));
        }
        let first = owner.int("SELECT id FROM bg_status()");
        // It has the deployment, and tries to get the tables.
        let mut reader = scene.app();
        reader.run("BEGIN; SELECT FROM users LIMIT 1");
        let end = scene.send("owner", &format!("SELECT bg_{verb}('users')"));
        std::thread::sleep(Duration::from_millis(100));
        let second = scene.send("owner", &prepare);
        until_waiting_for_an_object(&scene, &second);
        reader.run("COMMIT");
        end.done();
        let (_, said) = second.result();
        assert_eq!(said.unwrap(), [[Some("prepared".to_owned())]], "{verb}");
        assert!(owner.int("SELECT id FROM bg_status()") > first, "{verb}");
        owner.run("CALL bg_run('users')");
        assert_exact(&scene, verb);
        owner.run("SELECT bg_abort('users')");
    }
}
