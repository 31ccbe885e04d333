//! Rows that do not fit the new table, beside rows that do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use story::{Person, Scene};

const ALL: &str = "SELECT id, name, email FROM users";
const BLUE: &str = "SELECT id, name::text, email FROM public_blue.users";

/// Users with names that have to be short; those of `long` were changed to names that are not.
fn with_long_names(long: &[u32]) -> (Scene, Person) {
    let scene = Scene::empty();
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
    let scene = Scene::empty();
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
    let scene = Scene::empty();
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
