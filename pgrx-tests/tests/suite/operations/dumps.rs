//! pg_dump in the middle of a deployment, and what the extension says where it is restored.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use bluegreen_tests::cluster::{Options, SUPERUSER};

use crate::story::dump::Dump;
use crate::story::failpoints::{self, arm};
use crate::story::{Errand, Person, Scene, Stage, own, stage};

static STAGE: Stage = stage!();

const CHANGES: &str = "ADD COLUMN phone text";
const LIVE: &str = "SELECT u::text FROM users u ORDER BY id";

/// `users` with something of each kind that hangs on a table, in a database of `owner`'s.
fn furnished() -> Scene {
    let scene = STAGE.users(50);
    let mut admin = scene.admin();
    admin.run(&format!("ALTER DATABASE {} OWNER TO owner", scene.database));
    admin.run(
        "CREATE TABLE teams (id int PRIMARY KEY); INSERT INTO teams VALUES (1);
         ALTER TABLE users ADD COLUMN team int NOT NULL DEFAULT 1 REFERENCES teams,
             ADD COLUMN number serial;
         GRANT USAGE ON SEQUENCE users_number_seq TO app;
         CREATE TABLE visits (user_id bigint REFERENCES users); INSERT INTO visits VALUES (3);
         CREATE VIEW names AS SELECT id, name FROM users;
         CREATE MATERIALIZED VIEW mails AS SELECT count(email) AS mails FROM users;
         CREATE FUNCTION label(u users) RETURNS text LANGUAGE sql AS 'SELECT u.name';
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER own AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION nothing();
         CREATE POLICY everybody ON users USING (true); COMMENT ON TABLE users IS 'people';
         CREATE STATISTICS both_names ON name, email FROM users;
         ALTER TABLE teams OWNER TO owner; ALTER TABLE visits OWNER TO owner;
         ALTER VIEW names OWNER TO owner; ALTER MATERIALIZED VIEW mails OWNER TO owner;
         ALTER FUNCTION label OWNER TO owner; ALTER STATISTICS both_names OWNER TO owner",
    );
    scene
}

/// Brings a deployment to a phase, with changes that wait to be synced.
fn lead_to(scene: &Scene, phase: &str) {
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    match phase {
        "prepared" => {}
        "copying" => owner.run("SELECT bg_backfill('users', '1 us')"),
        "ready" => owner.sync(),
        _ => owner.run("CALL bg_run('users', 'swapped')"),
    }
    if phase == "reverted" {
        owner.run("UPDATE users SET phone = '1' WHERE id = 5");
        owner.revert();
        // Validates foreign keys.
        owner.sync();
    }
    assert_eq!(scene.status("phase"), phase.replace("reverted", "ready"));
    scene.app().run(
        "UPDATE users SET name = 'waits' WHERE id = 1; DELETE FROM users WHERE id = 2;
         INSERT INTO users (email) VALUES ('waits too')",
    );
}

fn client(scene: &Scene, program: &str, arguments: &[&str]) -> Output {
    scene.cluster.command(program).args(arguments).output().unwrap()
}

#[track_caller]
fn succeed(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A dump in a file.
fn dump(scene: &Scene, role: &str, arguments: &[&str]) -> PathBuf {
    let name = format!("bluegreen-{}-{}.dump", std::process::id(), scene.database);
    let file = std::env::temp_dir().join(name);
    let to = format!("--file={}", file.display());
    let database = ["-U", role, "-d", &scene.database, &to];
    succeed(&client(scene, "pg_dump", &[&database, arguments].concat()));
    file
}

/// A dump takes its snapshot first and its locks then: one that waits for a swap reads the new table with a
/// snapshot that is older than the swap.
#[test]
fn trap_38_a_dump_that_waits_for_a_swap_has_every_row_or_fails() {
    let cluster = own(failpoints::cluster(Options::default()));
    for (changes, is_whole) in [(CHANGES, true), ("RENAME COLUMN name TO title", false)] {
        let scene = Scene::in_cluster(cluster);
        scene.add_users(1000);
        let mut owner = scene.owner();
        owner.run(&format!("SELECT bg_prepare('users', '{changes}')"));
        owner.run("CALL bg_run('users')");
        scene.app().run(
            "UPDATE users SET name = 'late' WHERE id = 1; DELETE FROM users WHERE id = 2;
             INSERT INTO users (name, email) VALUES ('later', 'later')",
        );
        let rows = owner.list("SELECT concat_ws(E'\\t', id, name, email) FROM users ORDER BY id");
        let gate = scene.close_gate();
        arm(&mut owner, "swap_exchanged:wait");
        let swap = Errand::start(owner, "SELECT bg_swap('users', retry_for => '20 s')");
        scene.until_at_gate();
        let dump = cluster
            .command("pg_dump")
            .args(["-U", SUPERUSER, "-d", &scene.database, "--data-only", "--table=public.users"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        scene.until_queued(1);
        drop(gate);
        swap.done();
        let output = dump.wait_with_output().unwrap();
        assert_eq!(output.status.success(), is_whole, "{output:?}");
        if is_whole {
            let text = String::from_utf8(output.stdout).unwrap();
            let copied = text.lines().filter(|line| line.split('\t').count() == 4);
            let mut dumped: Vec<_> =
                copied.map(|line| line.rsplit_once('\t').unwrap().0.to_owned()).collect();
            let number = |row: &String| row.split('\t').next().unwrap().parse::<i64>().unwrap();
            dumped.sort_by_key(number);
            assert_eq!(dumped, rows);
        }
    }
}

/// A database beside another one, without anything in it.
fn beside(scene: &Scene, suffix: &str) -> Scene {
    let database = format!("{}_{suffix}", scene.database);
    scene.admin().run(&format!("CREATE DATABASE {database} OWNER owner"));
    Scene { cluster: scene.cluster, database }
}

/// Restores a plain dump; an error ends it.
fn restore(scene: &Scene, file: &Path, stop: bool) {
    let stop = if stop { "ON_ERROR_STOP=1" } else { "ON_ERROR_STOP=0" };
    let file = file.to_str().unwrap();
    let database = ["-U", SUPERUSER, "-d", &scene.database];
    succeed(&client(
        scene,
        "psql",
        &[&database[..], &["-X", "-q", "-v", stop, "-f", file]].concat(),
    ));
}

fn ours_on_users(admin: &mut Person) -> i64 {
    admin.int(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname ~ '^bluegreen'",
    )
}

#[test]
fn a_dump_of_any_phase_restores_and_what_it_has_of_the_deployment_can_be_taken_away() {
    for phase in ["prepared", "copying", "ready", "swapped", "reverted"] {
        println!("{phase}");
        let scene = furnished();
        lead_to(&scene, phase);
        // By the superuser as text, and by the database's owner for pg_restore.
        let text = beside(&scene, "text");
        let file = dump(&scene, SUPERUSER, &[]);
        restore(&text, &file, true);
        let archive = beside(&scene, "archive");
        let file = dump(&scene, "owner", &["-Fc"]);
        let arguments = ["--exit-on-error", "-d", &archive.database, file.to_str().unwrap()];
        succeed(&client(&scene, "pg_restore", &arguments));
        std::fs::remove_file(file).unwrap();

        for copy in [text, archive] {
            assert_eq!(copy.admin().list(LIVE), scene.admin().list(LIVE), "{phase}");
            Dump::take(&scene).assert_same(&Dump::take(&copy), phase);
            assert_can_only_be_ended(&copy, phase);
            assert_ended(&copy, &Dump::take(&scene), phase);
        }
        // Nothing of this touched the first one.
        let mut owner = scene.owner();
        owner.run("CALL bg_run('users', 'finished')");
        assert_eq!(owner.int("SELECT count(*) FROM users"), 50);
    }
}

fn assert_can_only_be_ended(copy: &Scene, phase: &str) {
    let mut owner = copy.owner();
    let end = if phase == "swapped" { "bg_finish" } else { "bg_abort" };
    let next = owner.text("SELECT next_step FROM bg_status()");
    assert!(next.contains(end), "{phase}: {next}");
    assert!(copy.status("last_error").contains("dump"));
    let prepare = format!("SELECT bg_prepare('users', '{CHANGES}')");
    for call in [
        prepare.as_str(),
        "CALL bg_run('users')",
        "SELECT bg_backfill('users')",
        "SELECT bg_swap('users')",
        "SELECT bg_revert('users')",
        "SELECT * FROM bg_verify('users')",
        "SELECT bg_pause('users')",
    ] {
        let refusal = owner.refused(call);
        refusal.assert_is("55000", &["users", "came here with a dump"]);
        assert!(refusal.hint.contains(end), "{phase}, {call}: {refusal:?}");
    }
    let hint = format!("SELECT hint FROM bg_check('users', '{CHANGES}') WHERE code = 'deployment'");
    assert!(owner.text(&hint).contains(end), "{phase}");
    copy.app().run(
        "INSERT INTO users (email) VALUES ('in the copy');
         UPDATE users SET name = 'x' WHERE id = 7; DELETE FROM users WHERE id = 8",
    );
    let log = if phase == "swapped" { "reverse" } else { "forward" };
    assert_eq!(
        copy.admin().int(&format!("SELECT count(*) FROM bluegreen.{log}_{}", copy.status("id"))),
        3,
        "{phase}: what was waiting when the dump was taken"
    );
}

fn assert_ended(copy: &Scene, schema: &Dump, phase: &str) {
    let (mut owner, mut admin) = (copy.owner(), copy.admin());
    let verb = if phase == "swapped" { "bg_finish" } else { "bg_abort" };
    owner.run(&format!("SELECT {verb}('users')"));
    schema.assert_same(&Dump::take(copy), phase);
    assert_eq!(copy.inventory().with("_blue"), [""; 0]);
    assert_eq!(ours_on_users(&mut admin), 0);
    assert_eq!(owner.int("SELECT count(*) FROM bg_history() WHERE step IN ('finish', 'abort')"), 1);
    // And a new one can be made.
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN later int')");
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(owner.int("SELECT count(*) FROM names"), 50);
}

#[test]
fn a_hand_made_target_that_came_with_a_dump_is_given_back() {
    let scene = STAGE.users(20);
    scene.table("users_new", "id bigserial PRIMARY KEY, name text, email text UNIQUE, phone text");
    scene.owner().run(
        "SELECT bg_prepare('users', target => 'users_new', key => '{id}',
             reverse => '{\"created_at\": \"now()\"}')",
    );
    scene.owner().sync();
    let copy = beside(&scene, "copy");
    let file = dump(&scene, SUPERUSER, &[]);
    restore(&copy, &file, true);
    std::fs::remove_file(file).unwrap();
    let mut owner = copy.owner();
    assert_eq!(owner.text("SELECT bg_abort('users')"), "aborted");
    assert_eq!(owner.int("SELECT count(*) FROM users_new"), 0);
    assert_eq!(owner.int("SELECT count(*) FROM users"), 20);
    assert_eq!(copy.inventory().with("_blue"), [""; 0]);
}

/// In another cluster the numbers of the record may be those of anything.
#[test]
fn a_record_that_came_with_a_dump_touches_no_table_that_has_its_numbers_by_chance() {
    let scene = STAGE.users(20);
    scene.admin().run("CREATE VIEW names AS SELECT id FROM users; ALTER VIEW names OWNER TO owner");
    scene.owner().make_ready(CHANGES);
    let copy = beside(&scene, "copy");
    let file = dump(&scene, SUPERUSER, &[]);
    restore(&copy, &file, true);
    std::fs::remove_file(file).unwrap();
    let mut admin = copy.admin();
    copy.table("orders", "id bigint PRIMARY KEY");
    admin.run(
        "CREATE TABLE looks_like_a_log (p bigint, n int, op \"char\", k bigint, o bigint);
         CREATE VIEW all_orders AS SELECT id FROM orders; INSERT INTO orders VALUES (1);
         UPDATE bluegreen.deployment SET origin = 'orders'::regclass, shadow = 'orders'::regclass,
             owner = 'mallory'::regrole, progress = jsonb_set(progress, '{twins,0,shadow}',
                 to_jsonb('all_orders'::regclass::oid::int8));
         UPDATE bluegreen.capture SET relation = 'users'::regclass, log = 'looks_like_a_log'::regclass
             WHERE relation = (SELECT min(relation::int8)::oid FROM bluegreen.capture);
         INSERT INTO bluegreen.misfit (deployment, direction, error, sqlstate)
             SELECT id, 'forward', 'secret', '22001' FROM bluegreen.deployment",
    );
    copy.app().run("UPDATE users SET name = 'x' WHERE id = 1");
    assert_eq!(admin.int("SELECT count(*) FROM looks_like_a_log"), 0);
    copy.owner().refused("SELECT bg_abort('orders')").assert_names(&["no deployment of", "orders"]);
    let mut mallory = copy.mallory();
    assert_eq!(mallory.int("SELECT count(*) FROM bg_misfits()"), 0);
    assert_eq!(mallory.int("SELECT count(*) FROM bg_history()"), 0);
    assert_eq!(mallory.int("SELECT count(*) FROM bg_status()"), 0);

    assert_eq!(copy.owner().text("SELECT bg_abort('users')"), "aborted");
    assert_eq!(admin.int("SELECT count(*) FROM all_orders"), 1);
    assert_eq!(copy.inventory().with("_blue"), [""; 0]);
    assert_eq!(ours_on_users(&mut admin), 0);
}

#[test]
fn a_dump_without_our_schemas_restores_the_live_table_with_and_without_the_extension() {
    for phase in ["ready", "swapped"] {
        let scene = furnished();
        lead_to(&scene, phase);
        let ours = ["-N", "bluegreen", "-N", "bluegreen_*", "-N", "*_blue"];
        let with = beside(&scene, "with");
        let file = dump(&scene, "owner", &ours);
        restore(&with, &file, true);
        assert_eq!(with.admin().list(LIVE), scene.admin().list(LIVE), "{phase}");
        Dump::take(&scene).assert_same(&Dump::take(&with), phase);
        // The triggers are there, and know of nothing.
        assert_eq!(ours_on_users(&mut with.admin()), 3);
        with.app().run("UPDATE users SET name = 'x' WHERE id = 7");
        let mut owner = with.owner();
        assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
        owner.run("SELECT bg_prepare('users', 'ADD COLUMN later int')");
        with.app().run("UPDATE users SET name = 'y' WHERE id = 7");
        owner.run("CALL bg_run('users', 'finished')");
        assert_eq!(owner.text("SELECT name FROM users WHERE id = 7"), "y");
        assert_eq!(ours_on_users(&mut with.admin()), 0);

        // Only the triggers fail, which call functions of the extension.
        let without = beside(&scene, "without");
        let file = dump(&scene, SUPERUSER, &[&ours[..], &["--extension=plpgsql"]].concat());
        restore(&without, &file, false);
        std::fs::remove_file(file).unwrap();
        assert_eq!(without.admin().list(LIVE), scene.admin().list(LIVE), "{phase}");
        assert_eq!(ours_on_users(&mut without.admin()), 0);
        without.app().run("UPDATE users SET name = 'x' WHERE id = 7");
    }
}
