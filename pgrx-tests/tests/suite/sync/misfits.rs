//! Rows that do not fit the new table, beside rows that do.

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

const ALL: &str = "SELECT id, name, email FROM users";
const BLUE: &str = "SELECT id, name::text, email FROM public_blue.users";

/// Users with names that have to be short; those of `long` were changed to names that are not.
fn with_long_names(long: &[u32]) -> (Scene, Person) {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY, name text, email text UNIQUE");
    scene
        .admin()
        .run("INSERT INTO users SELECT n, 'n' || n, 'e' || n FROM generate_series(1, 2000) n");
    let mut owner = scene.owner();
    owner.make_ready("ALTER COLUMN name TYPE varchar(10)");
    let mut app = scene.app();
    for id in long {
        app.run(&format!("UPDATE users SET name = 'much too long a name' WHERE id = {id}"));
    }
    owner.sync();
    assert_eq!(scene.status("misfits"), long.len().to_string());
    (scene, owner)
}

/// Two rows exchange their unique values.
fn exchange(app: &mut Person, a: u32, b: u32) {
    app.run(&format!(
        "BEGIN;
         UPDATE users SET email = 'passing' WHERE id = {a};
         UPDATE users SET email = 'e{a}' WHERE id = {b};
         UPDATE users SET email = 'e{b}' WHERE id = {a};
         COMMIT"
    ));
}

#[test]
fn a_misfit_and_a_row_that_fits_exchange_a_unique_value() {
    let (scene, mut owner) = with_long_names(&[2, 1000]);
    let mut app = scene.app();
    exchange(&mut app, 1, 2);
    exchange(&mut app, 1999, 1000);
    app.run("UPDATE users SET name = 'fits' WHERE id BETWEEN 500 AND 600");
    owner.sync();

    // What blue has of a misfit is what it was before, with the values that it had.
    assert_eq!(scene.status("misfits"), "4");
    let others = "WHERE id NOT IN (1, 2, 1000, 1999)";
    scene.assert_same(&format!("{ALL} {others}"), &format!("{BLUE} {others}"));

    // Corrected, they are what green has.
    app.run("UPDATE users SET name = 'short' WHERE id IN (2, 1000)");
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    scene.assert_same(ALL, BLUE);
}

#[test]
fn a_misfit_that_is_corrected_while_it_exchanges_a_value_is_none_any_more() {
    let (scene, mut owner) = with_long_names(&[2, 3]);
    let mut app = scene.app();
    app.run("UPDATE users SET name = 'short' WHERE id = 2");
    exchange(&mut app, 1, 2);
    exchange(&mut app, 3, 2000);
    owner.sync();

    // The two others wait for each other.
    assert_eq!(scene.status("misfits"), "2");
    let others = "WHERE id NOT IN (3, 2000)";
    scene.assert_same(&format!("{ALL} {others}"), &format!("{BLUE} {others}"));
}

#[test]
fn a_misfit_fits_when_the_row_goes_that_was_in_its_way() {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY, name text, email text");
    scene.admin().run(
        "INSERT INTO users SELECT n, 'n' || n, 'e' || n % 1000 FROM generate_series(1, 1010) n",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD UNIQUE (email)')");
    // The first rows of blue are those of the copy: the constraint finds the others.
    let refusal = owner.refused("CALL bg_run('users')");
    refusal.assert_is("23505", &["users"]);
    scene.app().run("UPDATE users SET email = email || 'x' WHERE id > 1000");
    owner.sync();
    let mut app = scene.app();
    // Eleven rows whose values others have.
    app.run("UPDATE users SET email = 'e' || id - 1000 WHERE id > 1000");
    owner.sync();
    assert_eq!(scene.status("misfits"), "10");

    // Nobody touches the misfits themselves.
    app.run("DELETE FROM users WHERE id BETWEEN 1 AND 5");
    owner.sync();
    assert_eq!(scene.status("misfits"), "5");
    app.run("UPDATE users SET email = 'other' || id WHERE id BETWEEN 6 AND 10");
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    scene.assert_same(ALL, BLUE);
    owner.swap();
}

#[test]
fn rows_that_fit_are_not_held_up_by_many_that_do_not() {
    let long: Vec<u32> = (1..=200).collect();
    let (scene, mut owner) = with_long_names(&long);
    let mut app = scene.app();
    for round in 0..3 {
        app.run(&format!("UPDATE users SET name = 'much too long ' || {round} WHERE id <= 200"));
        app.run(&format!("UPDATE users SET name = 'r{round}' WHERE id > 200"));
        owner.sync();
        assert_eq!(scene.status("misfits"), "200");
        scene.assert_same(&format!("{ALL} WHERE id > 200"), &format!("{BLUE} WHERE id > 200"));
    }
    app.run("UPDATE users SET name = 'short' WHERE id <= 200");
    owner.swap();
    assert_eq!(scene.admin().int("SELECT count(*) FROM users WHERE name = 'short'"), 200);
}

/// The row that blue gets then is newer than every event of the log.
#[test]
fn trap_38_the_swap_waits_for_snapshots_older_than_a_misfit_that_fits_now() {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY, name text");
    scene.admin().run(
        "INSERT INTO users SELECT n, 'n' || n FROM generate_series(1, 100) n;
         CREATE TABLE code (name text, code int); INSERT INTO code SELECT 'n' || n, n FROM generate_series(1, 99) n;
         GRANT SELECT ON code TO owner;
         CREATE FUNCTION code_of(what text) RETURNS int LANGUAGE plpgsql STABLE AS $$
         DECLARE found int;
         BEGIN SELECT code INTO STRICT found FROM public.code WHERE name = what; RETURN found; END $$",
    );
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN code int', forward => '{"code": "public.code_of(name)"}')"#,
    );
    owner.sync();
    assert_eq!(scene.status("misfits"), "1");

    scene.admin().run("INSERT INTO code VALUES ('n100', 100)");
    let mut old = scene.app();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '500 ms')");
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    assert_eq!(old.int("SELECT count(*) FROM users"), 100);
    old.run("COMMIT");
    owner.swap();
    assert_eq!(scene.admin().int("SELECT count(*) FROM users WHERE code = id"), 100);
}

/// json takes more texts than jsonb, and a cast of a user's may take nothing.
#[test]
fn the_key_of_a_misfit_is_known_whatever_jsonb_can_hold() {
    let scene = STAGE.empty();
    scene.admin().run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE FUNCTION no_json(mood) RETURNS json LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''no json''; END';
         CREATE CAST (mood AS json) WITH FUNCTION no_json(mood)",
    );
    let mut owner = scene.owner();
    for (table, columns, rows, expected) in [
        (
            "readings",
            "id int PRIMARY KEY, raw json, unit text",
            r#"(1, '{"a": "\u0000"}', NULL), (2, '{}', NULL)"#,
            vec![
                r#"{"id": 1} (1,"{""a"": ""\\u0000""}",)"#,
                r#"{"id": 2} {"id": 2, "raw": {}, "unit": null}"#,
            ],
        ),
        (
            "moods",
            "mood mood PRIMARY KEY, unit text",
            "('sad', NULL), ('ok', 'fits')",
            vec![r#"{"mood": "sad"} (sad,)"#],
        ),
    ] {
        scene.table(table, columns);
        scene.app().run(&format!("INSERT INTO {table} VALUES {rows}"));
        owner.run(&format!("SELECT bg_prepare('{table}', 'ALTER COLUMN unit SET NOT NULL')"));
        owner.run(&format!("CALL bg_run('{table}')"));
        let found = owner.list(&format!(
            r#"SELECT concat_ws(' ', key, "row" #>> '{{}}') FROM bg_misfits()
               WHERE source = 'public.{table}' ORDER BY 1"#
        ));
        assert_eq!(found, expected);
        let refusal = owner.refused(&format!("SELECT bg_swap('{table}')"));
        let first = expected[0].split_once('}').unwrap().0;
        assert!(
            refusal.detail.contains(&format!("{first}}}: null value in column")),
            "{refusal:?}"
        );
    }
}

/// A row that leads to something that is not there under our search_path is set apart; others go on.
#[test]
fn a_row_for_which_something_is_missing_is_a_misfit() {
    let scene = STAGE.empty();
    scene.admin().run(
        "CREATE FUNCTION fold(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(t)';
         CREATE FUNCTION nice(t text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN RETURN fold(t) <> ''; END $$",
    );
    scene.table("users", "id int PRIMARY KEY, name text CHECK (id < 500 OR nice(name))");
    scene.admin().run("INSERT INTO users VALUES (1, 'a')");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    scene.app().run("INSERT INTO users VALUES (600, 'b'), (2, 'c'); UPDATE users SET name = 'd'");
    owner.sync();
    assert_eq!(owner.list("SELECT key->>'id' FROM bg_misfits()"), ["600"]);
    let rows = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM public_blue.users";
    assert_eq!(scene.admin().text(rows), "1d 2d");
    scene.admin().run("ALTER FUNCTION nice(text) SET search_path = public");
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    assert_eq!(scene.admin().text(rows), "1d 2d 600d");
}

/// Where it is missing for every row, the rows are not at fault: the sync says what is missing.
#[test]
fn what_is_missing_for_every_row_stops_the_sync() {
    let scene = STAGE.empty();
    scene.admin().run(
        "CREATE TABLE limits (most int); INSERT INTO limits VALUES (1000000);
         GRANT SELECT ON limits TO owner, app;
         CREATE FUNCTION nice(n int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE SET search_path = public AS
             $$ BEGIN RETURN n < (SELECT most FROM limits); END $$",
    );
    scene.table("users", "id int PRIMARY KEY, n int CHECK (nice(n))");
    scene.admin().run("INSERT INTO users SELECT n, n FROM generate_series(1, 2000) n");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    scene.app().run("UPDATE users SET n = n + 1");
    scene.admin().run("ALTER TABLE limits RENAME TO hidden");
    let refusal = owner.refused("CALL bg_run('users')");
    refusal.assert_is("42P01", &["limits"]);
    assert!(refusal.hint.contains("search_path"), "{refusal:?}");
    assert_eq!(scene.status("misfits"), "0");
    assert!(scene.status("last_error").contains("limits"));
    scene.admin().run("ALTER TABLE hidden RENAME TO limits");
    owner.sync();
    scene.assert_in_step("id, n");
}
