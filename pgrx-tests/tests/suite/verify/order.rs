//! bg_verify reads both tables side by side: whatever their columns, whatever the order of their rows.

use crate::story::verification::{assert_verified, behind_our_back, problems};
use crate::story::{Scene, Stage, stage};

static STAGE: Stage = stage!();

/// What is done to the table: blue's rows begin as green's, lack columns in the middle, have other
/// types, another order of columns.
const CHANGES: &[&str] = &[
    "ADD COLUMN phone text",
    "ADD COLUMN phone text NOT NULL DEFAULT 'none', ADD COLUMN n int",
    "DROP COLUMN c10",
    "DROP COLUMN c5",
    "DROP COLUMN c2, ADD COLUMN phone text",
    "ALTER COLUMN c9 TYPE bigint",
    "RENAME COLUMN c3 TO name, SET (fillfactor = 80)",
];

/// Ten columns, so that the bits of the NULLs need two bytes; a NULL in each column of some rows.
fn table(scene: &Scene, rows: u32) {
    scene.table(
        "users",
        "id int PRIMARY KEY, c2 int, c3 text, c4 int2, c5 text, c6 numeric, c7 bool, c8 timestamptz, c9 int, c10 text",
    );
    scene.admin().run(&format!(
        "INSERT INTO users SELECT n, nullif(n % 3, 0), nullif(repeat('x', n % 5), ''), nullif(n % 7, 0), 'five' || n,
             nullif(n % 11, 0), nullif(n % 2, 0)::bool, now(), nullif(n % 13, 0), nullif('ten' || n % 4, 'ten0')
           FROM generate_series(1, {rows}) n;
         ANALYZE users"
    ));
}

/// Changes that are none of `c5` and `c10`, which some of the tables lack.
const PLANTED: &str = "
    UPDATE users SET c4 = NULL WHERE id = 8;
    UPDATE users SET c4 = 1 WHERE id = 14;
    UPDATE users SET c9 = NULL WHERE id = 15;
    UPDATE users SET c9 = 1 WHERE id = 26;
    UPDATE users SET c9 = c9 + 1 WHERE id = 2999;
    UPDATE users SET c6 = 3.0 WHERE id = 3;
    UPDATE users SET c7 = NOT c7 WHERE id = 1001;
    DELETE FROM users WHERE id IN (1, 1500, 3000);
    INSERT INTO users (id) VALUES (4000)";
const FOUND: &[&str] = &[
    "1 extra",
    "3 different",
    "8 different",
    "14 different",
    "15 different",
    "26 different",
    "1001 different",
    "1500 extra",
    "2999 different",
    "3000 extra",
    "4000 missing",
];

fn found(scene: &Scene) -> Vec<String> {
    problems(&mut scene.owner(), "bg_verify('users')")
        .into_iter()
        .map(|line| line.replace("{\"id\": ", "").replace('}', ""))
        .collect()
}

#[test]
fn differences_are_found_whatever_becomes_of_the_columns() {
    for changes in CHANGES {
        let scene = STAGE.empty();
        table(&scene, 3000);
        let mut owner = scene.owner();
        owner.make_ready(changes);
        assert_verified(&mut owner);
        let planted = PLANTED.to_owned();
        behind_our_back(&scene, &planted);
        assert_eq!(found(&scene), FOUND, "{changes}");
        owner.run("SELECT * FROM bg_verify('users', true)");
        assert_verified(&mut owner);

        owner.swap();
        assert_verified(&mut owner);
        behind_our_back(
            &scene,
            "UPDATE users SET c9 = 7 WHERE id = 2600; UPDATE users SET c7 = NULL WHERE id = 2701; DELETE FROM users WHERE id = 4000",
        );
        assert_eq!(found(&scene), ["2600 different", "2701 different", "4000 extra"], "{changes}");
        owner.run("SELECT * FROM bg_verify('users', true)");
        owner.revert();
        assert_verified(&mut owner);
        owner.run("SELECT bg_abort('users')");
    }
}

#[test]
fn rows_that_lie_in_another_order_meet() {
    let scene = STAGE.empty();
    table(&scene, 30_000);
    let mut owner = scene.owner();
    scene
        .admin()
        .run("CREATE INDEX by_hash ON users (md5(id::text)); ALTER TABLE users CLUSTER ON by_hash");
    owner.make_ready("ADD COLUMN phone text");
    // Green's rows move, blue's stay; blue's move, green's stay; gaps of thousands of rows are filled.
    scene.admin().run("UPDATE users SET c2 = c2 + 1 WHERE id % 10 = 0; DELETE FROM users WHERE id BETWEEN 2000 AND 9000");
    owner.sync();
    assert_verified(&mut owner);
    scene.admin().run("VACUUM users");
    scene
        .admin()
        .run("INSERT INTO users (id, c5) SELECT n, 'again' FROM generate_series(2000, 9000) n");
    owner.sync();
    assert_verified(&mut owner);
    // Whole stretches in reverse order.
    scene.admin().run("CREATE TEMP TABLE t AS SELECT * FROM users WHERE id BETWEEN 12000 AND 15000; DELETE FROM users WHERE id BETWEEN 12000 AND 15000;
         INSERT INTO users SELECT * FROM t ORDER BY id DESC");
    owner.sync();
    assert_verified(&mut owner);
    behind_our_back(
        &scene,
        "UPDATE users SET c9 = 99 WHERE id IN (1, 2500, 13000, 20010, 29999); DELETE FROM users WHERE id IN (5000, 14000)",
    );
    assert_eq!(
        found(&scene),
        [
            "1 different",
            "2500 different",
            "5000 extra",
            "13000 different",
            "14000 extra",
            "20010 different",
            "29999 different"
        ]
    );
    // The live table in the order of nothing, which is a rewrite too.
    scene.admin().run("CLUSTER users");
    assert_eq!(found(&scene).len(), 7);
    owner.run("SELECT * FROM bg_verify('users', true)");
    assert_verified(&mut owner);
}

#[test]
fn rows_of_one_table_that_the_other_lacks_altogether_are_found() {
    let scene = STAGE.empty();
    table(&scene, 5000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    behind_our_back(&scene, "DELETE FROM users");
    assert_eq!(found(&scene).len(), 5000);
    owner.run("SELECT * FROM bg_verify('users', true)");
    assert_verified(&mut owner);
    behind_our_back(&scene, "INSERT INTO users (id) SELECT generate_series(1, 3000)");
    let found = found(&scene);
    assert_eq!(found.len(), 3000);
    assert!(found.iter().all(|line| line.ends_with("missing")));
}
