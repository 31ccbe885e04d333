//! Properties that a table and what hangs on it have besides their definitions: stored generated values.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use story::verification::behind_our_back;
use story::{Person, Scene};

/// `users (id, title, other, url)`: `url` is computed by a function that was replaced since the rows
/// 1 to 100 were written.
fn posts(scene: &Scene) {
    scene.admin().run(
        "CREATE FUNCTION link(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(t) $$",
    );
    scene.table(
        "users",
        "dropped int, id int PRIMARY KEY, title text, other int,
         \"Url \"\"é\" text GENERATED ALWAYS AS (link(title)) STORED,
         twice int GENERATED ALWAYS AS (other * 2) STORED",
    );
    scene.admin().run(
        "ALTER TABLE users DROP COLUMN dropped; CREATE INDEX ON users (\"Url \"\"é\");
         INSERT INTO users (id, title, other) SELECT n, 'Hi' || n, n FROM generate_series(1, 100) n;
         CREATE OR REPLACE FUNCTION link(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT upper(t) $$",
    );
}

/// Keys, stored values, and what is computed of others.
const ROWS: &str =
    "SELECT string_agg(concat_ws(' ', id, \"Url \"\"é\", twice), ',' ORDER BY id) FROM";

fn rows(admin: &mut Person, table: &str) -> String {
    admin.text(&format!("{ROWS} {table} WHERE id IN (1, 2, 3, 4, 5, 100, 101)"))
}

#[test]
fn a_stored_generated_value_stays_what_it_is_through_copy_sync_swap_and_revert() {
    let scene = Scene::empty();
    posts(&scene);
    let (mut admin, mut owner, mut app) = (scene.admin(), scene.owner(), scene.app());

    owner.make_ready("ADD COLUMN phone text, ALTER COLUMN id TYPE bigint");
    assert_eq!(
        rows(&mut admin, "public_blue.users"),
        "1 hi1 2,2 hi2 4,3 hi3 6,4 hi4 8,5 hi5 10,100 hi100 200"
    );
    // Not computed anew by PostgreSQL: the column that it hangs on was not set.
    app.run("UPDATE users SET other = 0 WHERE id = 1");
    app.run("UPDATE users SET title = 'Ho' WHERE id = 2");
    app.run("UPDATE users SET id = 101 WHERE id = 100");
    app.run(
        "DELETE FROM users WHERE id = 3; INSERT INTO users (id, title, other) VALUES (3, 'New', 1)",
    );
    let expected = "1 hi1 0,2 HO 4,3 NEW 2,4 hi4 8,5 hi5 10,101 hi100 200";
    assert_eq!(rows(&mut admin, "users"), expected);
    owner.sync();
    assert_eq!(rows(&mut admin, "public_blue.users"), expected);

    // The last drain.
    app.run("UPDATE users SET other = 9 WHERE id = 4");
    assert_eq!(owner.text("SELECT bg_swap('users')"), "swapped");
    let expected = expected.replace("4 hi4 8", "4 hi4 18");
    assert_eq!(rows(&mut admin, "users"), expected);
    app.run("UPDATE users SET phone = 'p', other = 7 WHERE id = 5");
    owner.revert();
    let expected = expected.replace("5 hi5 10", "5 hi5 14");
    assert_eq!(rows(&mut admin, "users"), expected);
    assert_eq!(admin.rows("SELECT * FROM bg_verify('users')").len(), 0);
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    assert_eq!(rows(&mut admin, "users"), expected);
    assert_eq!(
        admin.text("SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attgenerated = 's'"),
        "Url \"é,twice"
    );
    // From here on the function of today.
    app.run("UPDATE users SET title = 'Last' WHERE id = 1");
    assert_eq!(app.text("SELECT \"Url \"\"é\" FROM users WHERE id = 1"), "LAST");
    admin.run("CREATE EXTENSION IF NOT EXISTS amcheck; SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = 'users'::regclass");
}

#[test]
fn rows_that_exchange_a_unique_value_keep_their_stored_ones() {
    let scene = Scene::empty();
    posts(&scene);
    let (mut admin, mut owner, mut app) = (scene.admin(), scene.owner(), scene.app());
    admin.run("ALTER TABLE users ADD CONSTRAINT other_key UNIQUE (other) DEFERRABLE");
    // A column that only blue has: rows are taken out and put back.
    owner.make_ready(
        "ADD COLUMN phone text DEFAULT 'none', ADD COLUMN line bigint GENERATED ALWAYS AS IDENTITY",
    );

    app.run("BEGIN; SET CONSTRAINTS other_key DEFERRED; UPDATE users SET other = 3 - other WHERE id IN (1, 2); COMMIT");
    app.run("UPDATE users SET id = CASE id WHEN 4 THEN 104 ELSE id END WHERE id = 4");
    owner.sync();

    scene.assert_in_step("id, title, other, \"Url \"\"é\", twice");
    assert_eq!(
        admin.text("SELECT string_agg(\"Url \"\"é\", ',' ORDER BY id) FROM public_blue.users WHERE id IN (1, 2, 104)"),
        "hi1,hi2,hi4"
    );
}

#[test]
fn a_value_is_computed_anew_where_the_expression_or_what_it_uses_is_another() {
    for (changes, forward) in [
        (
            "ALTER COLUMN \"Url \"\"é\" DROP EXPRESSION, ADD COLUMN again text GENERATED ALWAYS AS (link(title)) STORED",
            "{}",
        ),
        (
            "DROP COLUMN \"Url \"\"é\", ADD COLUMN again text GENERATED ALWAYS AS (link(title)) STORED",
            "{}",
        ),
    ] {
        let scene = Scene::empty();
        posts(&scene);
        let (mut admin, mut owner) = (scene.admin(), scene.owner());
        owner.run(&format!("SELECT bg_prepare('users', $c${changes}$c$, forward => '{forward}')"));
        owner.run("CALL bg_run('users', 'swapped')");
        assert_eq!(admin.text("SELECT again FROM users WHERE id = 1"), "HI1", "{changes}");
        assert_eq!(admin.rows("SELECT * FROM bg_verify('users')").len(), 0, "{changes}");
    }
    // The value that it is computed of is another one.
    let scene = Scene::empty();
    posts(&scene);
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    owner.run(
        "SELECT bg_prepare('users', forward => '{\"title\": \"title || ''!''\"}', reverse => '{\"title\": \"left(title, -1)\"}')",
    );
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(
        admin.text("SELECT concat_ws(' ', title, \"Url \"\"é\", twice) FROM users WHERE id = 1"),
        "Hi1! HI1! 2"
    );
    assert_eq!(admin.rows("SELECT * FROM bg_verify('users')").len(), 0);
}

#[test]
fn verification_compares_stored_generated_values() {
    let scene = Scene::empty();
    posts(&scene);
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    owner.make_ready("");
    // The live table gets what its function gives now.
    behind_our_back(&scene, "UPDATE users SET title = title WHERE id = 7");

    let found = admin.rows("SELECT key, problem FROM bg_verify('users')");

    assert_eq!(found, [[Some("{\"id\": 7}".to_owned()), Some("different".to_owned())]]);
    assert_eq!(admin.text("SELECT \"Url \"\"é\" FROM users WHERE id = 7"), "HI7");
}

#[test]
fn an_invalidation_while_rows_are_written_computes_nothing_anew() {
    let scene = Scene::empty();
    posts(&scene);
    scene.with_gate();
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    admin.run("ALTER TABLE users ADD CHECK (gate(id, 50))");
    owner.make_ready("ADD COLUMN phone text");
    scene.app().run("UPDATE users SET other = other + 1");
    let gate = scene.close_gate();

    let running = scene.send("owner", "CALL bg_run('users')");
    scene.until_at_gate();
    // Takes a lock that ours does not conflict with, and invalidates blue's descriptor.
    admin.run("ALTER TABLE public_blue.users ALTER COLUMN title SET STATISTICS 17");
    admin.run("ALTER TABLE public_blue.users ALTER COLUMN title SET STATISTICS -1");
    drop(gate);
    running.done();

    scene.assert_in_step("id, title, other, \"Url \"\"é\", twice");
    assert_eq!(
        admin.int("SELECT count(*) FROM public_blue.users WHERE \"Url \"\"é\" LIKE 'hi%'"),
        100
    );
}
