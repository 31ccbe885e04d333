//! What breaks when keys change (docs/hazards.md, 12 to 14). Each is a test named after it.

use crate::story::{Stage, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

/// Blue has a random value for each row that only it knows: it must stay with the row.
#[test]
fn trap_12_a_row_keeps_what_only_blue_knows_when_its_key_changes() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN token uuid DEFAULT gen_random_uuid()");
    let mut admin = scene.admin();
    let mut token_of =
        |id: i64| admin.text(&format!("SELECT token FROM public_blue.users WHERE id = {id}"));
    let before: Vec<String> =
        (0..=10).map(|id| if id == 0 { String::new() } else { token_of(id) }).collect();

    scene.app().run(
        "UPDATE users SET id = 1001 WHERE id = 1;
         BEGIN; UPDATE users SET id = 1002 WHERE id = 2; UPDATE users SET id = 2 WHERE id = 3; COMMIT;
         BEGIN; UPDATE users SET id = -1 WHERE id = 4; UPDATE users SET id = 4 WHERE id = 5;
                UPDATE users SET id = 5 WHERE id = -1; COMMIT;
         UPDATE users SET id = 1006 WHERE id = 6; UPDATE users SET id = 6 WHERE id = 1006;
         UPDATE users SET id = 1007 WHERE id = 7; UPDATE users SET id = 2007 WHERE id = 1007;
         UPDATE users SET id = 1008, name = 'moved' WHERE id = 8;
         UPDATE users SET name = 'stayed' WHERE id = 9",
    );
    owner.sync();

    scene.assert_in_step(COLUMNS);
    for (old, new) in [
        (1, 1001),
        (2, 1002),
        (3, 2),
        (4, 5),
        (5, 4),
        (6, 6),
        (7, 2007),
        (8, 1008),
        (9, 9),
        (10, 10),
    ] {
        assert_eq!(token_of(new), before[old], "row {old}, which is {new} now");
    }
    // Also across two syncs.
    scene.app().run("UPDATE users SET id = 3001 WHERE id = 1001");
    owner.sync();
    assert_eq!(token_of(3001), before[1]);
}

#[test]
fn trap_12_a_row_keeps_what_only_the_old_table_knows_when_its_key_changes_after_the_swap() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, name text, note text");
    scene
        .admin()
        .run("INSERT INTO users SELECT n, 'n', 'note ' || n FROM generate_series(1, 20) n");
    let mut owner = scene.owner();
    owner.make_ready("DROP COLUMN note");
    owner.swap();

    scene.app().run(
        "UPDATE users SET id = 105 WHERE id = 5;
         BEGIN; UPDATE users SET id = -1 WHERE id = 6; UPDATE users SET id = 6 WHERE id = 7;
                UPDATE users SET id = 7 WHERE id = -1; COMMIT;
         BEGIN; DELETE FROM users WHERE id = 8; INSERT INTO users VALUES (8, 'new'); COMMIT;
         BEGIN; DELETE FROM users WHERE id = 9; UPDATE users SET id = 9 WHERE id = 10; COMMIT;
         BEGIN; UPDATE users SET id = 111 WHERE id = 11; INSERT INTO users VALUES (11, 'new'); COMMIT",
    );
    owner.revert();

    let notes = "SELECT string_agg(id || ':' || coalesce(note, '-'), ' ' ORDER BY id) FROM users
        WHERE id BETWEEN 5 AND 11 OR id > 100";
    assert_eq!(
        scene.app().text(notes),
        "6:note 7 7:note 6 8:- 9:note 10 11:- 105:note 5 111:note 11"
    );
}

#[test]
fn trap_13_a_new_row_does_not_inherit_from_the_deleted_one_of_its_key() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN token uuid DEFAULT gen_random_uuid()");
    let mut admin = scene.admin();
    let tokens = "SELECT id, token FROM public_blue.users WHERE id <= 8 ORDER BY id";
    let before = admin.rows(tokens);

    scene.app().run(
        "BEGIN; DELETE FROM users WHERE id = 1; INSERT INTO users (id, email) VALUES (1, 'a'); COMMIT;
         DELETE FROM users WHERE id = 2; INSERT INTO users (id, email) VALUES (2, 'b');
         BEGIN; UPDATE users SET id = 1003 WHERE id = 3; INSERT INTO users (id, email) VALUES (3, 'c'); COMMIT;
         BEGIN; DELETE FROM users WHERE id = 4; INSERT INTO users (id, email) VALUES (4, 'd');
                UPDATE users SET name = 'again' WHERE id = 4; COMMIT;
         BEGIN; INSERT INTO users (id, email) VALUES (500, 'e'); DELETE FROM users WHERE id = 5;
                UPDATE users SET id = 5 WHERE id = 500; COMMIT;
         BEGIN; SAVEPOINT s; DELETE FROM users WHERE id = 6; INSERT INTO users (id, email) VALUES (6, 'f');
                ROLLBACK TO s; UPDATE users SET name = 'kept' WHERE id = 6; COMMIT",
    );
    owner.sync();

    scene.assert_in_step(COLUMNS);
    let after = admin.rows(tokens);
    for id in [1, 2, 3, 4, 5] {
        assert_ne!(after[id - 1], before[id - 1], "row {id} is a new one");
    }
    for id in [6, 7, 8] {
        assert_eq!(after[id - 1], before[id - 1], "row {id} is the old one");
    }
    // With a sync between the two, too.
    let before = admin.rows(tokens);
    scene.app().run("DELETE FROM users WHERE id = 7");
    owner.sync();
    scene.app().run("INSERT INTO users (id, email) VALUES (7, 'g')");
    owner.sync();
    assert_ne!(admin.rows(tokens)[6], before[6]);
}

#[test]
fn trap_14_keys_that_are_equal_and_not_the_same_are_followed() {
    let scene = STAGE.empty();
    scene.table("users", "id numeric PRIMARY KEY, name text");
    scene.app().run("INSERT INTO users VALUES (1.0, 'a'), (2.0, 'b'), (3.0, 'c')");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");

    scene.app().run(
        "UPDATE users SET id = 1.00 WHERE id = 1;
         BEGIN; DELETE FROM users WHERE id = 2; INSERT INTO users VALUES (2.000, 'B'); COMMIT",
    );
    owner.sync();

    scene.assert_same(
        "SELECT id::text, name FROM users",
        "SELECT id::text, name FROM public_blue.users",
    );
    assert_eq!(scene.admin().text("SELECT id FROM public_blue.users WHERE id = 1"), "1.00");
    owner.swap();
    scene.app().run("UPDATE users SET id = 3.000 WHERE id = 3");
    owner.revert();
    assert_eq!(scene.app().text("SELECT id FROM users WHERE id = 3"), "3.000");
}

#[test]
fn trap_12_keys_of_a_deferrable_key_that_change_places_in_one_statement_take_their_rows_along() {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY DEFERRABLE, name text");
    scene.admin().run("INSERT INTO users SELECT n, 'n' || n FROM generate_series(1, 20) n");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    scene.app().run("UPDATE users SET phone = 'of ' || name");
    owner.revert();

    // All at once; and a ring of some of them.
    scene.app().run("UPDATE users SET id = 21 - id");
    scene.app().run("UPDATE users SET id = id % 7 + 1 WHERE id <= 7");
    owner.sync();

    assert_eq!(scene.status("misfits"), "0");
    scene.assert_in_step("id, name");
    let lost = "SELECT count(*) FROM public_blue.users WHERE phone IS DISTINCT FROM 'of ' || name";
    assert_eq!(scene.admin().int(lost), 0);
}

#[test]
fn trap_12_a_misfit_beside_them_costs_moved_rows_nothing() {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY, n text");
    scene.admin().run("INSERT INTO users SELECT g, g::text FROM generate_series(1, 10) g");
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ALTER COLUMN n TYPE int USING n::int, ADD COLUMN x text',
            reverse => '{"n": "n::text"}')"#,
    );
    owner.sync();
    owner.swap();
    scene.app().run("UPDATE users SET x = 'mine ' || id");
    owner.revert();

    scene.app().run("UPDATE users SET id = 70 WHERE id = 8");
    scene.app().run("UPDATE users SET n = 'bad' WHERE id = 1");
    scene.app().run(
        "BEGIN; UPDATE users SET id = -2 WHERE id = 2; UPDATE users SET id = 2 WHERE id = 3;
         UPDATE users SET id = 3 WHERE id = -2; COMMIT",
    );
    owner.sync();

    assert_eq!(scene.status("misfits"), "1");
    let values = "SELECT string_agg(id || ' ' || coalesce(x, '-'), ', ' ORDER BY id)
        FROM public_blue.users WHERE id IN (2, 3, 70)";
    assert_eq!(scene.admin().text(values), "2 mine 3, 3 mine 2, 70 mine 8");
}

#[test]
fn trap_14_a_row_whose_key_becomes_an_equal_one_stays_the_same_row() {
    let scene = STAGE.empty();
    scene.table("users", "id numeric PRIMARY KEY, u int UNIQUE");
    scene.admin().run("INSERT INTO users SELECT g, g FROM generate_series(1, 100) g");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN x text");
    owner.swap();
    scene.app().run("UPDATE users SET x = 'mine ' || u");
    owner.revert();

    // With an exchange, so that the batch is not written in one go.
    scene.app().run(
        "BEGIN; UPDATE users SET u = -1 WHERE id = 1; UPDATE users SET u = 1 WHERE id = 2;
         UPDATE users SET u = 2 WHERE id = 1; UPDATE users SET id = 35.00 WHERE id = 35; COMMIT",
    );
    scene.app().run("UPDATE users SET id = 36.0 WHERE id = 36");
    owner.sync();

    assert_eq!(scene.status("misfits"), "0");
    scene.assert_same("SELECT id::text, u FROM users", "SELECT id::text, u FROM public_blue.users");
    let values = "SELECT string_agg(id || ' ' || coalesce(x, '-'), ', ' ORDER BY id)
        FROM public_blue.users WHERE id IN (35, 36)";
    assert_eq!(scene.admin().text(values), "35.00 mine 35, 36.0 mine 36");
}

#[test]
fn names_that_begin_alike_are_told_apart() {
    let scene = STAGE.empty();
    let long = "abcdefghijklmnopqrstuvwxyz".repeat(2);
    scene.table("users", &format!("id int PRIMARY KEY, {long}_1 int, {long}_2 int"));
    scene.admin().run("INSERT INTO users SELECT g, g, -g FROM generate_series(1, 5) g");
    let mut owner = scene.owner();
    owner.make_ready(&format!("ADD COLUMN {long}_3 text, ADD COLUMN {long}_4 text"));
    owner.swap();
    scene.app().run(&format!("UPDATE users SET {long}_3 = 'three', {long}_4 = 'four'"));
    owner.revert();

    scene.app().run("UPDATE users SET id = id + 100");
    owner.swap();

    let alike = format!(
        "SELECT count(*) FROM users WHERE {long}_1 = id - 100 AND {long}_2 = 100 - id
             AND {long}_3 = 'three' AND {long}_4 = 'four'"
    );
    assert_eq!(scene.app().int(&alike), 5);
}
