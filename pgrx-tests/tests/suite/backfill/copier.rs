//! The fast copier, INSERT … SELECT through the table access method's multi-insert (src/heap/bulk.rs):
//! it copies the rows that the server's own INSERT would copy, whatever has become of them, and leaves
//! out those that do not fit. What becomes of values is in `copier_values.rs`.

use crate::story::copier::{copy, copy_changes};
use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// Keys of the rows that do not fit, in their order.
fn misfits(scene: &Scene) -> Vec<String> {
    scene.admin().list("SELECT key->>'id' FROM bg_misfits() ORDER BY (key->>'id')::bigint")
}

/// Deploys changes that just the rows with these keys do not fit.
#[track_caller]
fn copy_changes_with_misfits(scene: &Scene, changes: &str, expected: &[&str]) -> Person {
    let owner = copy(scene, &format!("$changes${changes}$changes$"));
    assert_eq!(misfits(scene), expected);
    owner
}

/// Old rows of such a table are shorter than it: they lack the columns added since.
#[test]
fn rows_that_are_older_than_a_column_with_a_default_arrive_with_that_default() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, a text, b int");
    let mut admin = scene.admin();
    admin.run(
        "INSERT INTO users SELECT n, CASE WHEN n % 2 = 0 THEN 'a' || n END, n FROM generate_series(1, 3000) n;
         ALTER TABLE users ADD COLUMN c text DEFAULT repeat('long', 100);
         INSERT INTO users SELECT n, NULL, n, 'c' || n FROM generate_series(3001, 6000) n;
         ALTER TABLE users ADD COLUMN d int NOT NULL DEFAULT 42, ADD COLUMN e numeric(10, 2) DEFAULT 1.50,
             ADD COLUMN f text;
         INSERT INTO users SELECT n, 'a', NULL, NULL, n, NULL, 'f' FROM generate_series(6001, 9000) n;
         UPDATE users SET f = 'changed' WHERE id % 10 = 0",
    );
    for changes in ["", "ADD COLUMN g text DEFAULT 'g'", "DROP COLUMN b, ADD CHECK (d > 0)"] {
        let mut owner = copy_changes(&scene, changes);
        scene.assert_in_step("id, a, c, d, e, f");
        owner.run("SELECT bg_abort('users')");
    }
}

/// A row from before an ADD COLUMN, in a table with a dropped column, has as many columns as the new
/// table: but they are others.
#[test]
fn dropped_columns_do_not_make_short_rows_look_whole() {
    let scene = STAGE.empty();
    scene.table("users", "gone1 int, id bigint PRIMARY KEY, a text, gone2 text, b text");
    scene.admin().run(
        "INSERT INTO users SELECT -n, n, 'a' || n, 'x', 'b' || n FROM generate_series(1, 3000) n;
         ALTER TABLE users DROP COLUMN gone1, DROP COLUMN gone2;
         INSERT INTO users SELECT n, 'a' || n, 'b' || n FROM generate_series(3001, 4000) n;
         ALTER TABLE users ADD COLUMN c text DEFAULT 'c', ADD COLUMN d int DEFAULT 4;
         INSERT INTO users SELECT n, NULL, 'b', 'C', NULL FROM generate_series(4001, 5000) n",
    );
    for changes in ["", "DROP COLUMN a, ADD COLUMN e text DEFAULT 'e'"] {
        let mut owner = copy_changes(&scene, changes);
        scene.assert_in_step("id, b, c, d");
        owner.run("SELECT bg_abort('users')");
    }
    let mut owner = copy_changes(&scene, "DROP COLUMN b, ADD COLUMN e text DEFAULT 'e'");
    scene.assert_in_step("id, a, c, d");
    owner.swap();
    assert_eq!(
        scene.admin().int("SELECT count(*) FROM users WHERE e = 'e' AND c IN ('c', 'C')"),
        5000
    );
}

#[test]
fn rows_that_a_new_domain_does_not_admit_become_misfits() {
    let scene = STAGE.empty();
    scene
        .admin()
        .run("CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN must AS int NOT NULL");
    scene.table("users", "id bigint PRIMARY KEY, n int");
    scene.admin().run(
        "INSERT INTO users SELECT n, CASE n WHEN 77 THEN -1 WHEN 4000 THEN 0 ELSE n END FROM generate_series(1, 5000) n",
    );
    let mut owner = copy(&scene, "'ALTER COLUMN n TYPE public.positive'");
    assert_eq!(misfits(&scene), ["77", "4000"]);
    scene
        .assert_same("SELECT * FROM users WHERE n > 0", "SELECT id, n::int FROM public_blue.users");
    owner.run("SELECT bg_abort('users')");

    // Nothing gives this column a value.
    scene.app().run("DELETE FROM users WHERE id > 3");
    if owner.try_run("SELECT bg_prepare('users', 'ADD COLUMN m public.must')").is_ok() {
        owner.sync();
        assert_eq!(misfits(&scene), ["1", "2", "3"]);
        assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 0);
    }
}

#[test]
fn rows_that_a_new_check_or_not_null_does_not_admit_become_misfits() {
    let scene = STAGE.users(20_000);
    let mut app = scene.app();
    // In the first row, alone in a block, several in one block, in the last row.
    app.run(
        "UPDATE users SET name = 'bad' WHERE id IN (1, 700, 10000, 10001, 10002);
         UPDATE users SET name = NULL WHERE id IN (500, 20000)",
    );
    // Put to disk in order, so that the blocks are mixed again.
    scene.admin().run("VACUUM FULL users");

    let mut owner = copy_changes_with_misfits(
        &scene,
        "ADD CONSTRAINT good CHECK (name <> 'bad'), ALTER COLUMN name SET NOT NULL,
         ADD COLUMN length int GENERATED ALWAYS AS (length(name)) STORED",
        &["1", "500", "700", "10000", "10001", "10002", "20000"],
    );
    let errors = scene.admin().list("SELECT DISTINCT sqlstate FROM bg_misfits() ORDER BY 1");
    assert_eq!(errors, ["23502", "23514"]);
    scene.assert_same(
        "SELECT id, name, email, created_at, length(name) FROM users WHERE name <> 'bad'",
        "SELECT id, name, email, created_at, length FROM public_blue.users",
    );

    app.run("UPDATE users SET name = 'good' WHERE name = 'bad' OR name IS NULL");
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    scene.assert_in_step("id, name, email, created_at");
    owner.swap();
}

#[test]
fn a_row_on_which_a_generated_column_or_a_cast_fails_becomes_a_misfit_alone() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, divisor int NOT NULL, name text NOT NULL");
    scene.admin().run(
        "INSERT INTO users SELECT n, n % 1000 - 500, CASE n WHEN 44 THEN repeat('w', 21) ELSE 'name' || n END
         FROM generate_series(1, 2400) n",
    );
    copy_changes_with_misfits(
        &scene,
        "ADD COLUMN share int NOT NULL GENERATED ALWAYS AS (1000 / divisor) STORED,
         ALTER COLUMN name TYPE varchar(20)",
        &["44", "500", "1500"],
    );
    let errors = scene.admin().list("SELECT DISTINCT sqlstate FROM bg_misfits() ORDER BY 1");
    assert_eq!(errors, ["22001", "22012"]);
    scene.assert_same(
        "SELECT id, divisor, name, 1000 / divisor FROM users WHERE id <> 44 AND divisor <> 0",
        "SELECT id, divisor, name::text, share FROM public_blue.users",
    );
}

/// PLAIN storage keeps a value within its page.
#[test]
fn rows_that_are_too_big_for_a_page_become_misfits() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, t text");
    scene.admin().run(
        "INSERT INTO users SELECT n, CASE WHEN n % 500 = 0
             THEN (SELECT string_agg(md5((n + m)::text), '') FROM generate_series(1, 400) m) ELSE 't' || n END
         FROM generate_series(1, 2000) n",
    );
    copy_changes_with_misfits(
        &scene,
        "ALTER COLUMN t SET STORAGE PLAIN",
        &["500", "1000", "1500", "2000"],
    );
    scene.assert_same("SELECT * FROM users WHERE id % 500 > 0", "SELECT * FROM public_blue.users");
}

/// A row carries its table's OID: a copied one must carry the new table's.
#[test]
fn a_generated_column_of_tableoid_has_that_of_the_new_table() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, name text");
    scene.admin().run("INSERT INTO users SELECT n, 'n' || n FROM generate_series(1, 3000) n");

    copy_changes(&scene, "ADD COLUMN home oid GENERATED ALWAYS AS (tableoid) STORED");

    scene.assert_same(
        "SELECT DISTINCT home FROM public_blue.users",
        "SELECT 'public_blue.users'::regclass::oid",
    );
}

/// Where rows are taken over as they are, and where they are taken apart.
#[test]
fn a_check_on_tableoid_sees_the_new_table_and_does_not_send_the_blocks_one_by_one() {
    for changes in ["", "ADD COLUMN phone text DEFAULT 'p', "] {
        let scene = STAGE.users(40_000);
        copy_changes(
            &scene,
            &format!("{changes}ADD CHECK (tableoid <> 'public.users'::regclass AND tableoid <> 0)"),
        );
        scene.assert_in_step("id, name, email, created_at");
    }
}

#[test]
fn a_check_over_the_whole_row_is_computed_on_the_new_row() {
    for changes in ["", "ADD COLUMN phone text DEFAULT 'p', "] {
        let scene = STAGE.users(2000);
        scene.app().run("UPDATE users SET name = NULL WHERE id IN (50, 1900)");
        copy_changes_with_misfits(
            &scene,
            &format!("{changes}ADD CONSTRAINT whole CHECK (users IS NOT NULL)"),
            &["50", "1900"],
        );
        scene.assert_same(
            "SELECT id, email FROM users WHERE name IS NOT NULL",
            "SELECT id, email FROM public_blue.users",
        );
    }
}

#[test]
fn what_transactions_have_left_on_rows_is_not_copied() {
    let scene = STAGE.users(3000);
    let mut app = scene.app();
    scene.admin().run("ALTER TABLE users SET (fillfactor = 50)");
    app.run("UPDATE users SET name = name || '!' WHERE id % 3 = 0");
    app.run("UPDATE users SET name = name || '!' WHERE id % 3 = 0");
    app.run(
        "BEGIN; INSERT INTO users (email) SELECT 'x' || n FROM generate_series(1, 500) n; ROLLBACK",
    );
    app.run("BEGIN; DELETE FROM users WHERE id % 7 = 0; ROLLBACK");
    app.run(
        "BEGIN; SAVEPOINT s; UPDATE users SET name = 'no' WHERE id < 100; ROLLBACK TO s; COMMIT",
    );
    // Locked by several while they are copied.
    let mut lockers = [scene.app(), scene.app()];
    for locker in &mut lockers {
        locker.run(
            "BEGIN; SELECT count(*) FROM (SELECT FROM users WHERE id % 2 = 0 FOR KEY SHARE) r",
        );
    }
    copy_changes(&scene, "");

    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users WHERE xmax <> 0"), 0);
    scene.assert_in_step("*");
    drop(lockers);
    let mut owner = scene.owner();
    owner.swap();
    app.run("UPDATE users SET name = 'after' WHERE id % 2 = 0; DELETE FROM users WHERE id % 5 = 0");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.assert_in_step("*");
}

#[test]
fn nothing_but_the_key_may_be_mapped_and_the_order_of_columns_may_be_another() {
    let scene = STAGE.users(3000);
    scene.table("users_new", "own text DEFAULT 'own', n int, id bigint PRIMARY KEY");
    copy(&scene, "target => 'users_new'");
    scene.assert_same(
        "SELECT 'own', NULL::int, id FROM users",
        "SELECT own, n, id FROM public_blue.users",
    );
    scene.owner().run("SELECT bg_abort('users')");

    // As many columns of the same types, in another order.
    scene.table(
        "users_other",
        "id bigint PRIMARY KEY, email text, name text, created_at timestamptz",
    );
    copy(&scene, "target => 'users_other'");
    scene.assert_in_step("id, name, email, created_at");
}

#[test]
fn the_fill_factor_of_the_new_table_is_kept() {
    let scene = STAGE.users(20_000);
    let pages = "SELECT pg_relation_size('public_blue.users')";
    let mut owner = copy_changes(&scene, "");
    let full = scene.admin().int(pages);
    owner.run("SELECT bg_abort('users')");

    copy_changes(&scene, "SET (fillfactor = 40)");

    let loose = scene.admin().int(pages);
    assert!(loose > 2 * full && loose < 3 * full, "{full} became {loose}");
    scene.assert_in_step("*");
}

#[test]
fn unlogged_tables_and_empty_ones_are_copied() {
    let scene = STAGE.users(3000);
    scene.admin().run("ALTER TABLE users SET UNLOGGED");
    let mut owner = copy_changes(&scene, "ADD COLUMN phone text");
    scene.assert_in_step("id, name, email, created_at");
    owner.run("SELECT bg_abort('users')");

    // Blocks without a row, then no block.
    scene.app().run("DELETE FROM users");
    owner.run("SELECT bg_prepare('users')");
    owner.sync();
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 0);
    assert_eq!(scene.status("rows_copied"), "0");
    owner.run("SELECT bg_abort('users')");
    scene.app().run("TRUNCATE users");
    owner.run("SELECT bg_prepare('users')");
    owner.sync();
    owner.swap();
    scene.app().run("INSERT INTO users (email) VALUES ('first@example.org')");
}
