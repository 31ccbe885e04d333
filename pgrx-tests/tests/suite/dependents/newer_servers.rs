//! What only newer servers have: it goes over, or is refused by name before anything is made. On an older server
//! there is nothing to carry: its statements are syntax errors there.

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// Whether the server has what PostgreSQL 18 brought.
fn has_18(scene: &Scene) -> bool {
    scene.admin().int("SELECT current_setting('server_version_num')") >= 180_000
}

/// Constraints of a table and to it, as the server prints them.
fn constraints(person: &mut Person) -> Vec<String> {
    person.list(
        "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
          WHERE (conrelid = 'users'::regclass OR confrelid = 'users'::regclass) AND contype <> 'n'
          ORDER BY 1",
    )
}

/// Through swap, revert, swap and finish, the live table has these constraints.
fn round_trip(scene: &Scene, changes: &str, before: &[String], after: &[String]) {
    let (mut owner, mut admin) = (scene.owner(), scene.admin());
    owner.make_ready(changes);
    assert_eq!(constraints(&mut admin), before);
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(constraints(&mut admin), after);
    owner.run("CALL bg_run('users', 'reverted')");
    assert_eq!(constraints(&mut admin), before);
    owner.run("CALL bg_run('users', 'swapped')");
    owner.run("SELECT bg_finish('users')");
    assert_eq!(constraints(&mut admin), after);
}

#[test]
fn trap_83_what_only_newer_servers_have_goes_over_or_is_refused_by_name() {
    let scene = STAGE.users(3);
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE other (id bigint PRIMARY KEY);
         CREATE EXTENSION IF NOT EXISTS btree_gist;
         CREATE TABLE spans (id bigint, at tstzrange)",
    );
    for (ddl, code, name) in [
        ("ALTER TABLE users ADD CONSTRAINT x NOT NULL name NOT VALID", "55000", "x"),
        (
            "ALTER TABLE users ADD COLUMN at tstzrange, ADD CONSTRAINT z UNIQUE (id, at WITHOUT OVERLAPS)",
            "0A000",
            "z",
        ),
    ] {
        if !has_18(&scene) {
            assert_eq!(admin.refused(ddl).code, "42601", "{ddl}");
            continue;
        }
        admin.run(ddl);
        scene.owner().refused("SELECT bg_prepare('users')").assert_is(code, &["users", name]);
        admin.run(&format!("ALTER TABLE users DROP CONSTRAINT {name}"));
    }
}

#[test]
fn a_foreign_key_that_is_not_enforced_stays_so() {
    let scene = STAGE.users(3);
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE other (id bigint PRIMARY KEY);
         CREATE TABLE pets (id int PRIMARY KEY, owner bigint);
         INSERT INTO pets VALUES (1, 1000);
         ALTER TABLE other OWNER TO owner; ALTER TABLE pets OWNER TO owner",
    );
    let own = "ALTER TABLE users ADD CONSTRAINT own FOREIGN KEY (id) REFERENCES other NOT ENFORCED";
    if !has_18(&scene) {
        assert_eq!(admin.refused(own).code, "42601");
        return;
    }
    admin.run(own);
    admin.run(
        "ALTER TABLE pets ADD CONSTRAINT theirs FOREIGN KEY (owner) REFERENCES users NOT ENFORCED;
         ALTER TABLE users ADD CONSTRAINT loose CHECK (id < 0) NOT ENFORCED",
    );
    let before = constraints(&mut admin);
    assert_eq!(before.iter().filter(|c| c.ends_with("NOT ENFORCED")).count(), 3, "{before:?}");
    let added = "ADD COLUMN n bigint DEFAULT 7, ADD CONSTRAINT new FOREIGN KEY (n) REFERENCES other NOT ENFORCED";
    let mut after = before.clone();
    after.push("new FOREIGN KEY (n) REFERENCES other(id) NOT ENFORCED".to_owned());
    after.sort();
    round_trip(&scene, added, &before, &after);
    // A deletion of what they refer to is nobody's business.
    admin.run("DELETE FROM users WHERE id = 1");
}

#[test]
fn keys_over_periods_in_the_changes_are_refused_by_name() {
    let scene = STAGE.users(3);
    let mut admin = scene.admin();
    admin.run(
        "CREATE EXTENSION IF NOT EXISTS btree_gist;
         ALTER TABLE users ADD COLUMN at tstzrange",
    );
    let overlaps = "ADD CONSTRAINT z UNIQUE (id, at WITHOUT OVERLAPS)";
    let period = "ADD CONSTRAINT p FOREIGN KEY (id, PERIOD at) REFERENCES spans";
    let mut owner = scene.owner();
    let call = |changes: &str| format!("SELECT bg_prepare('users', '{changes}')");
    if !has_18(&scene) {
        for changes in [overlaps, period] {
            assert_eq!(owner.refused(&call(changes)).code, "42601", "{changes}");
        }
        return;
    }
    admin.run(
        "CREATE TABLE spans (id bigint, at tstzrange, PRIMARY KEY (id, at WITHOUT OVERLAPS));
         ALTER TABLE spans OWNER TO owner",
    );
    for (changes, name) in [
        (overlaps, "z of "),
        (period, "p of "),
        ("ADD CONSTRAINT x NOT NULL name NOT VALID", "x of "),
    ] {
        let refusal = owner.refused(&call(changes));
        refusal.assert_is("0A000", &[name]);
        assert!(refusal.hint.contains("bg_finish"), "{refusal:?}");
    }
    assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
}

#[test]
fn virtual_columns_go_over() {
    let scene = STAGE.users(40);
    let mut admin = scene.admin();
    let live =
        "ALTER TABLE users ADD COLUMN initial text GENERATED ALWAYS AS (left(name, 1)) VIRTUAL";
    if !has_18(&scene) {
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
