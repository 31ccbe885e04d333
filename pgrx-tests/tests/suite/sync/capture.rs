//! What breaks capture and sync (docs/hazards.md, 3, 5, 6, 8 to 11, 15, 25, 26): each is a test named
//! after it.

use std::time::{Duration, Instant};

use crate::story::{Person, Stage, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

/// The call that prepares a table with a gate in the mapping of a column.
const PREPARE_WITH_GATE: &str = r#"SELECT bg_prepare('users', 'ADD COLUMN passed boolean',
    forward => '{"passed": "public.gate(id, 500)"}')"#;

#[test]
fn trap_03_a_transaction_that_commits_late_is_not_passed_over() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut late = scene.app();
    late.run("BEGIN; UPDATE users SET name = 'late' WHERE id = 1");
    scene.app().run("UPDATE users SET name = 'early' WHERE id = 2");

    owner.sync();
    assert_eq!(scene.admin().text("SELECT name FROM public_blue.users WHERE id = 2"), "early");
    late.run("COMMIT");
    owner.sync();

    assert_eq!(scene.admin().text("SELECT name FROM public_blue.users WHERE id = 1"), "late");
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_05_rows_that_exchange_unique_values_arrive() {
    let scene = STAGE.users(6000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut app = scene.app();
    let exchange = |app: &mut Person, a: u32, b: u32| {
        app.run(&format!(
            "BEGIN;
             UPDATE users SET email = 'passing' WHERE id = {a};
             UPDATE users SET email = 'user{a}@example.org' WHERE id = {b};
             UPDATE users SET email = 'user{b}@example.org' WHERE id = {a};
             COMMIT"
        ));
    };

    // Two neighbours, two far from each other, a value that moves on when its row goes.
    exchange(&mut app, 1, 2);
    exchange(&mut app, 3, 5999);
    app.run(
        "BEGIN; DELETE FROM users WHERE id = 10;
             UPDATE users SET email = 'user10@example.org' WHERE id = 5000;
             UPDATE users SET email = 'user5000@example.org' WHERE id = 20; COMMIT",
    );
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    scene.assert_in_step(COLUMNS);

    // All of them, one further: no batch of some rows can be written by itself.
    owner.run("SET bluegreen.batch_time = '1ms'");
    app.run(
        "BEGIN; UPDATE users SET email = 'passing' || id;
             UPDATE users SET email = 'user' || (id % 6000 + 1) || '@example.org'; COMMIT",
    );
    owner.sync();
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    scene.assert_in_step(COLUMNS);
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 5999);
}

#[test]
fn trap_06_what_commits_while_a_round_is_applied_is_neither_mixed_in_nor_lost() {
    let scene = STAGE.users(1000);
    scene.with_gate();
    let mut owner = scene.owner();
    owner.run(PREPARE_WITH_GATE);
    owner.sync();
    let mut app = scene.app();
    app.run("UPDATE users SET name = 'first' WHERE id IN (1, 2, 3, 499, 500, 501, 998)");

    let gate = scene.close_gate();
    let run = scene.send("owner", "CALL bg_run('users')");
    scene.until_at_gate();
    // The round has its snapshot and is in the middle of reading rows.
    app.run(
        "BEGIN;
         UPDATE users SET email = 'passing' WHERE id = 1;
         UPDATE users SET email = 'user1@example.org' WHERE id = 998;
         UPDATE users SET email = 'user998@example.org' WHERE id = 1;
         DELETE FROM users WHERE id IN (2, 501);
         UPDATE users SET name = 'second' WHERE id IN (3, 499, 500, 700);
         UPDATE users SET id = 2 WHERE id = 900;
         COMMIT",
    );
    drop(gate);
    run.done();
    assert_eq!(scene.status("misfits"), "0");
    owner.sync();

    assert_eq!(scene.status("misfits"), "0");
    scene.assert_in_step(COLUMNS);
    assert_eq!(scene.admin().text("SELECT name FROM public_blue.users WHERE id = 3"), "second");
}

#[test]
fn trap_08_writes_of_a_replication_role_are_captured() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");

    let mut applier = scene.admin();
    applier.run("SET session_replication_role = replica");
    applier.run(
        "INSERT INTO users (id, email) VALUES (500, 'replicated');
         UPDATE users SET name = 'replicated' WHERE id = 1; DELETE FROM users WHERE id = 2",
    );
    owner.sync();
    scene.assert_in_step(COLUMNS);
    applier.run("TRUNCATE users");
    owner.sync();

    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 0);
}

#[test]
fn trap_09_a_capture_that_was_switched_off_for_a_while_is_noticed() {
    for (off, on) in [
        ("DISABLE TRIGGER ALL", "ENABLE TRIGGER ALL"),
        ("DISABLE TRIGGER ALL", "ENABLE ALWAYS TRIGGER"),
        ("DISABLE TRIGGER USER", "ENABLE TRIGGER USER"),
    ] {
        let scene = STAGE.users(100);
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        let mut admin = scene.admin();
        admin.run(&format!("ALTER TABLE users {off}"));
        scene.app().run("UPDATE users SET name = 'unseen' WHERE id = 1");
        if on == "ENABLE ALWAYS TRIGGER" {
            // Put back exactly as it was: only the trigger's row itself is younger.
            for trigger in admin.list(
                "SELECT quote_ident(tgname) FROM pg_trigger
                 WHERE tgrelid = 'users'::regclass AND NOT tgisinternal",
            ) {
                admin.run(&format!("ALTER TABLE users {on} {trigger}"));
            }
        } else {
            admin.run(&format!("ALTER TABLE users {on}"));
        }

        let refusal = owner.refused("SELECT bg_swap('users')");
        refusal.assert_is("55000", &["users", "trigger"]);
        let refusal = owner.refused("CALL bg_run('users', 'swapped')");
        refusal.assert_is("55000", &["users", "trigger"]);
        assert!(refusal.hint.contains("bg_abort"), "{refusal:?}");
        assert_eq!(owner.text("SELECT bg_abort('users')"), "aborted");
    }
}

#[test]
fn trap_10_truncate_returns_at_once_also_while_blues_indexes_are_built() {
    let scene = STAGE.users(1000);
    scene.with_gate();
    scene.admin().run("CREATE INDEX users_gated ON users (public.gate(id, 500))");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    let gate = scene.close_gate();
    let run = scene.send("owner", "CALL bg_run('users')");
    scene.until_at_gate();
    assert!(["copying", "indexing"].contains(&scene.status("phase").as_str()));

    let mut app = scene.app();
    app.run("SET statement_timeout = '2s'");
    let start = Instant::now();
    app.run("TRUNCATE users");
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    app.run("INSERT INTO users (id, email) VALUES (1, 'one'), (2, 'two')");
    drop(gate);
    run.done();
    owner.sync();
    scene.assert_in_step(COLUMNS);

    // In step already; with rows of the same key before and after, and a TRUNCATE rolled back.
    app.run("INSERT INTO users (id, email) VALUES (3, 'three')");
    app.run("BEGIN; TRUNCATE users; ROLLBACK");
    owner.sync();
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 3);
    app.run(
        "BEGIN; UPDATE users SET name = 'x'; TRUNCATE users;
             INSERT INTO users (id, email) VALUES (3, 'tres'); COMMIT",
    );
    owner.sync();
    scene.assert_in_step(COLUMNS);
    assert_eq!(scene.admin().text("SELECT email FROM public_blue.users"), "tres");
    // And the other way round.
    owner.swap();
    app.run("TRUNCATE users; INSERT INTO users (id, email) VALUES (4, 'four')");
    owner.revert();
    assert_eq!(app.list("SELECT id FROM users"), ["4"]);
}

#[test]
fn trap_15_writers_need_no_privilege_on_the_log() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut app = scene.app();

    app.run(
        "INSERT INTO users (id, email) VALUES (500, 'x'); UPDATE users SET name = 'y' WHERE id = 1;
         DELETE FROM users WHERE id = 2; UPDATE users SET id = 600 WHERE id = 3",
    );
    let mut admin = scene.admin();
    let logs = admin.list(
        "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'bluegreen'::regnamespace
             AND relname ~ '^(forward|reverse)_'",
    );
    assert!(!logs.is_empty(), "no log to look at");
    for log in logs {
        for role in ["app", "owner", "mallory"] {
            for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"] {
                let question =
                    format!("SELECT has_table_privilege('{role}', '{log}', '{privilege}')");
                assert_eq!(admin.text(&question), "f", "{privilege} on {log} for {role}");
            }
        }
    }
    assert_ne!(admin.text("SELECT pending_changes FROM bg_status('users')"), "0");
    owner.sync();
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_25_a_mapping_that_depends_on_settings_keeps_those_of_prepare() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, seen timestamptz, born text");
    scene.admin().run(
        "INSERT INTO users SELECT n, '2020-01-01 12:00 UTC', '03/04/2020' FROM generate_series(1, 20) n",
    );
    let mut owner = scene.owner();
    owner.run("SET timezone = 'America/New_York'; SET datestyle = 'ISO, DMY'");
    let changes = "ALTER COLUMN seen TYPE timestamp, ALTER COLUMN born TYPE date USING born::date,
        ADD COLUMN now timestamptz";
    let arguments = format!(r#"'users', '{changes}', forward => '{{"now": "now()"}}'"#);
    let warned = owner.list(&format!(
        "SELECT severity || ' ' || object || ' ' || message FROM bg_check({arguments})"
    ));
    for column in ["seen", "born", "now"] {
        assert!(
            warned.iter().any(|line| line.starts_with("warning")
                && line.contains(column)
                && !line.contains("revert")),
            "no warning about {column}: {warned:#?}"
        );
    }

    owner.run(&format!("SELECT bg_prepare({arguments})"));
    owner.run("SET timezone = 'Asia/Tokyo'; SET datestyle = 'ISO, MDY'");
    owner.sync();
    scene.app().run("UPDATE users SET id = id + 100 WHERE id > 10");
    owner.run("SET timezone = 'Europe/Berlin'");
    owner.sync();

    assert_eq!(
        scene.admin().list("SELECT DISTINCT seen || ' ' || born FROM public_blue.users"),
        ["2020-01-01 07:00:00 2020-04-03"]
    );
}

#[test]
fn trap_26_rows_that_do_not_fit_stop_nothing_but_the_swap() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, name text, code text, share numeric");
    scene.admin().run(
        "INSERT INTO users SELECT n, 'n' || n, n::text, n FROM generate_series(1, 2000) n;
         UPDATE users SET name = NULL WHERE id = 100;
         UPDATE users SET name = 'too wide for ten' WHERE id = 900;
         UPDATE users SET code = 'none' WHERE id = 1500;
         UPDATE users SET share = 0 WHERE id = 1999",
    );
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ALTER COLUMN name TYPE varchar(10), ALTER COLUMN name SET NOT NULL,
            ALTER COLUMN code TYPE int USING code::int, ADD COLUMN part numeric',
            forward => '{"part": "1 / share"}')"#,
    );
    owner.sync();

    let mut admin = scene.admin();
    assert_eq!(scene.status("phase || ' ' || misfits"), "ready 4");
    assert_eq!(admin.int("SELECT count(*) FROM public_blue.users"), 1996);
    assert_eq!(
        admin.list("SELECT sqlstate || ' ' || (key->>'id') FROM bluegreen.misfit ORDER BY (key->>'id')::int"),
        ["23502 100", "22001 900", "22P02 1500", "22012 1999"]
    );
    let refusal = owner.refused("SELECT bg_swap('users')");
    refusal.assert_is("55000", &["users", "4"]);
    assert!(refusal.everything().contains("misfit"), "{refusal:?}");

    // One is mended, one goes, one gets another key, and a new one comes with others.
    scene.app().run(
        "UPDATE users SET name = 'mended' WHERE id = 100; DELETE FROM users WHERE id = 900;
         UPDATE users SET id = 5000 WHERE id = 1500; UPDATE users SET code = 'x' WHERE id = 1;
         UPDATE users SET name = 'fine' WHERE id = 2",
    );
    owner.sync();
    assert_eq!(
        admin.list("SELECT sqlstate || ' ' || (key->>'id') FROM bluegreen.misfit ORDER BY (key->>'id')::int"),
        ["22P02 1", "22012 1999", "22P02 5000"]
    );
    assert_eq!(admin.text("SELECT name FROM public_blue.users WHERE id = 2"), "fine");
    scene.app().run(
        "UPDATE users SET code = '7' WHERE id IN (1, 5000); UPDATE users SET share = 1 WHERE id = 1999",
    );
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    owner.swap();
    assert_eq!(admin.int("SELECT count(*) FROM users"), 1999);
}

#[test]
fn trap_26_a_row_that_the_reverse_mapping_cannot_take_can_be_deleted_again() {
    let scene = STAGE.empty();
    scene.table("users", "id integer PRIMARY KEY, name text");
    scene.admin().run("INSERT INTO users SELECT n, 'n' FROM generate_series(1, 10) n");
    let mut owner = scene.owner();
    owner.make_ready("ALTER COLUMN id TYPE bigint");
    owner.swap();

    scene.app().run("INSERT INTO users VALUES (3000000000, 'wide'), (11, 'fits')");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(scene.status("misfits"), "1");
    scene.app().run(
        "DELETE FROM users WHERE id = 3000000000;
         INSERT INTO users VALUES (4000000000, 'x'); DELETE FROM users WHERE id = 4000000000",
    );
    owner.revert();

    assert_eq!(scene.status("misfits"), "0");
    assert_eq!(scene.app().int("SELECT count(*) FROM users"), 11);
}

#[test]
fn trap_11_a_rewrite_of_columns_that_were_added_with_a_default_changes_no_definition() {
    let scene = STAGE.users(100);
    scene.admin().run(
        "ALTER TABLE users ADD COLUMN note text DEFAULT 'old', ADD COLUMN plan int NOT NULL DEFAULT 7;
         ALTER TABLE users ALTER COLUMN note DROP DEFAULT",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text DEFAULT 'none'");
    owner.run("VACUUM FULL users");
    owner.swap();
    owner.run("VACUUM FULL users");
    owner.revert();
    scene.assert_in_step("id, name, email, created_at, note, plan");
    // The same definition again, and other values.
    owner.run("ALTER TABLE users ALTER COLUMN plan TYPE int USING plan + 1");
    owner.refused("CALL bg_run('users')").assert_names(&["rewritten column plan"]);
}
