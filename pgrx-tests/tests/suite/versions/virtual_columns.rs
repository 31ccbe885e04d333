//! Columns that the server computes where it reads them, of PostgreSQL 18 and later: no row has their values.

use bluegreen_tests::cluster::Options;

use super::of_18::has_18;
use crate::story::verification::assert_verified;
use crate::story::{Person, Scene, Stage, new_cluster, own, stage};

static STAGE: Stage = stage!();

#[test]
fn virtual_columns_go_over() {
    let scene = STAGE.users(40);
    let mut admin = scene.admin();
    let live =
        "ALTER TABLE users ADD COLUMN initial text GENERATED ALWAYS AS (left(name, 1)) VIRTUAL";
    if !has_18() {
        assert_eq!(admin.refused(live).code, "42601");
        return;
    }
    admin.run(live);
    let mut owner = scene.owner();
    owner.make_ready(
        "ADD COLUMN short text GENERATED ALWAYS AS (left(email, 3)), ADD COLUMN kept text GENERATED ALWAYS AS (upper(name)) STORED",
    );
    scene.app().run("INSERT INTO users (name, email) VALUES ('zoe', 'zoe@example.org')");
    let read = "SELECT count(*) FROM users WHERE initial = left(name, 1)";
    let fresh = "SELECT count(*) FROM users WHERE short = left(email, 3) AND kept = upper(name) AND initial = left(name, 1)";
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(owner.int(fresh), 41);
    scene.app().run("UPDATE users SET name = 'anna' WHERE id <= 10");
    owner.run("CALL bg_run('users', 'reverted')");
    assert_eq!(owner.int(read), 41);
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(owner.int(fresh), 41);
    owner.run("SELECT bg_finish('users')");
    let kinds =
        "SELECT string_agg(attname || attgenerated::text, ' ' ORDER BY attname) FROM pg_attribute
                  WHERE attrelid = 'users'::regclass AND attgenerated <> ''";
    assert_eq!(admin.text(kinds), "initialv kepts shortv");
}

/// Columns of `t`; `w` is computed where it is read, between two that are stored.
const WITH_VIRTUAL: &str = "id int PRIMARY KEY,
    w int GENERATED ALWAYS AS (v * 2) VIRTUAL NOT NULL CHECK (w < 5000), v int NOT NULL, u text";

const ROWS: &str =
    "SELECT string_agg(format('%s %s %s %s', id, v, w, u), E'\\n' ORDER BY id) FROM t";

fn add_rows_with_virtual(scene: &Scene) {
    scene.table("t", WITH_VIRTUAL);
    scene
        .admin()
        .run("INSERT INTO t (id, v, u) SELECT g, g, 'u' || g FROM generate_series(1, 20) g");
}

/// A REPEATABLE READ transaction that has its snapshot, and what it has to read in `t`.
fn reader(scene: &Scene) -> (Person, String) {
    let mut person = scene.app();
    // Another table: it must be possible to lock `t`.
    person.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class");
    (person, scene.app().text(ROWS))
}

/// Nothing is computed of the virtual column: that earlier versions have no value of it does not matter.
#[test]
fn a_virtual_column_lets_no_swap_wait_for_older_snapshots() {
    if !has_18() {
        let refusal = STAGE.empty().admin().refused(&format!("CREATE TABLE t ({WITH_VIRTUAL})"));
        assert_eq!(refusal.code, "42601");
        return;
    }
    // An open writer anywhere on the server makes younger snapshots look old.
    let scene = Scene::in_cluster(own(new_cluster(&Options::default())));
    add_rows_with_virtual(&scene);
    let mut owner = scene.owner();
    owner.run(
        "SELECT bg_prepare('t', 'ADD COLUMN extra text NOT NULL DEFAULT ''none'', ALTER COLUMN u TYPE varchar(40),
             ADD COLUMN half int GENERATED ALWAYS AS (v / 2) VIRTUAL NOT NULL')",
    );
    owner.run("CALL bg_run('t')");
    let mut readers = vec![reader(&scene)];
    for step in [
        "UPDATE t SET v = 1000 WHERE id = 1",
        "UPDATE t SET id = 102, u = 'moved' WHERE id = 2",
        "DELETE FROM t WHERE id = 3",
    ] {
        scene.app().run(step);
        readers.push(reader(&scene));
        owner.run("CALL bg_run('t')");
    }
    assert_eq!(owner.int("SELECT count(*) FROM bg_blockers('t')"), 0, "after short rounds");
    scene.app().run("UPDATE t SET v = v + 1 WHERE id IN (1, 4)");
    readers.push(reader(&scene));
    scene.app().run("UPDATE t SET u = 'last' WHERE id IN (1, 5)");

    owner.run("SELECT bg_swap('t', retry_for => '0')");

    for (person, expected) in &mut readers {
        assert_eq!(person.text(ROWS), *expected);
        person.run("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off");
        assert_eq!(person.text(ROWS), *expected, "through the index");
    }
    drop(readers);
    assert_eq!(owner.int("SELECT count(*) FROM t WHERE w = v * 2 AND half = v / 2"), 19);
    assert_eq!(owner.int("SELECT count(*) FROM bg_verify('t')"), 0);
    let mut admin = scene.admin();
    admin.run("CREATE EXTENSION amcheck");
    assert_eq!(admin.int("SELECT count(*) FROM verify_heapam('t')"), 0);
}

/// What the new column of an earlier version was is not known: nobody reads NULL instead.
#[test]
fn an_expression_over_a_virtual_column_lets_a_swap_wait_for_older_snapshots() {
    let scene = STAGE.empty();
    if !has_18() {
        let refusal = scene.admin().refused(&format!("CREATE TABLE t ({WITH_VIRTUAL})"));
        assert_eq!(refusal.code, "42601");
        return;
    }
    add_rows_with_virtual(&scene);
    let mut owner = scene.owner();
    owner.run(r#"SELECT bg_prepare('t', 'ADD COLUMN extra int', forward => '{"extra": "w + 1"}')"#);
    owner.run("CALL bg_run('t')");
    // Brought in by a short round, and left to the last drain.
    for (step, is_synced) in [
        ("UPDATE t SET v = 1000 WHERE id = 1", true),
        ("UPDATE t SET v = 1001 WHERE id = 1", false),
    ] {
        let (mut person, expected) = reader(&scene);
        scene.app().run(step);
        if is_synced {
            owner.run("CALL bg_run('t')");
        }
        let refusal = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");
        assert_eq!(refusal.code, "55P03", "{refusal:?}");
        assert_eq!(person.text(ROWS), expected, "{step}");
    }

    owner.run("SELECT bg_swap('t')");

    assert_eq!(owner.int("SELECT count(*) FROM t WHERE extra = w + 1"), 20);
}

/// Its values are computed on one side and stored on the other.
#[test]
fn a_virtual_column_becomes_an_ordinary_one_of_a_table_made_by_hand() {
    let scene = STAGE.empty();
    let columns = "id int PRIMARY KEY, net int NOT NULL, total int GENERATED ALWAYS AS (net * 2) VIRTUAL, note text";
    if !has_18() {
        let refusal = scene.admin().refused(&format!("CREATE TABLE users ({columns})"));
        assert_eq!(refusal.code, "42601");
        return;
    }
    scene.table("users", columns);
    scene.table("users_new", "id int PRIMARY KEY, net int NOT NULL, total int, note text");
    let mut admin = scene.admin();
    admin.run(
        "INSERT INTO users (id, net, note) SELECT g, g, 'note ' || g FROM generate_series(1, 1000) g;
         ANALYZE users",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', target => 'users_new')");
    owner.run("CALL bg_run('users')");
    scene.app().run(
        "UPDATE users SET net = 7 WHERE id <= 10; INSERT INTO users (id, net) VALUES (2000, 3)",
    );
    owner.run("CALL bg_run('users')");
    let scans = "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE relname = 'users'";
    let before = admin.int(scans);
    assert_verified(&mut admin);
    admin.run("SELECT pg_stat_force_next_flush()");
    let by_key = admin.int(scans) - before;
    assert!(by_key < 500, "rows were looked up {by_key} times although they lie side by side");

    let right = "SELECT count(*) FROM users WHERE total = net * 2";
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(owner.int(right), 1001);
    scene.app().run("UPDATE users SET net = 100, total = 200 WHERE id <= 5");
    owner.run("CALL bg_run('users')");
    assert_verified(&mut admin);
    owner.run("CALL bg_run('users', 'reverted')");
    assert_eq!(owner.int(right), 1001);
    assert_verified(&mut admin);
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(owner.int(right), 1001);
}

/// The server does not look at a virtual column when it decides whether a table needs a TOAST table.
#[test]
fn settings_of_a_toast_table_stay_where_the_first_column_is_virtual() {
    let scene = STAGE.empty();
    let columns = "w int GENERATED ALWAYS AS (id * 2) VIRTUAL, id int PRIMARY KEY, old text";
    if !has_18() {
        let refusal = scene.admin().refused(&format!("CREATE TABLE users ({columns})"));
        assert_eq!(refusal.code, "42601");
        return;
    }
    scene.table("users", columns);
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    admin.run("ALTER TABLE users SET (toast.vacuum_truncate = off); ALTER TABLE users DROP old");
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN n int')");

    owner.run("CALL bg_run('users', 'swapped')");

    let toast = "SELECT t.reloptions FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = 'users'::regclass";
    assert_eq!(admin.text(toast), "{vacuum_truncate=off}");
}
