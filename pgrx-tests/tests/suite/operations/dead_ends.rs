//! Whatever happened to a deployment's tables, there is a way on, and it leaves nothing behind.

use crate::story::{Stage, stage};

static STAGE: Stage = stage!();

#[test]
fn a_new_table_that_was_changed_after_the_swap_can_be_kept() {
    for ddl in [
        "CREATE INDEX late ON users (phone)",
        "GRANT SELECT ON users TO mallory",
        "COMMENT ON TABLE users IS 'late'",
        "ALTER TABLE users ADD COLUMN late int",
        "ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE users ENABLE TRIGGER ALL",
        "CREATE VIEW late AS SELECT phone FROM users",
        "CREATE TABLE late (r bigint REFERENCES users)",
    ] {
        let scene = STAGE.users(10);
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        owner.swap();
        scene.admin().run(ddl);

        assert_eq!(owner.text("SELECT bg_finish('users')"), "finished", "{ddl}");

        let inventory = scene.inventory();
        assert!(inventory.with("_blue").is_empty(), "{ddl}: {:?}", inventory.with("_blue"));
        assert!(inventory.with("trigger CREATE").is_empty(), "{ddl}");
        assert_eq!(scene.app().int("SELECT count(*) FROM users"), 10, "{ddl}");
    }
}

#[test]
fn an_old_table_that_was_dropped_after_the_swap_is_not_missed() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    scene.admin().run("DROP TABLE public_blue.users CASCADE");

    scene.app().run("UPDATE users SET phone = 'x'");
    owner.refused("SELECT bg_revert('users')").assert_helps();
    assert_eq!(owner.text("SELECT bg_finish('users')"), "finished");
    assert!(scene.inventory().with("_blue").is_empty());
    owner.make_ready("ADD COLUMN fax text");
}

#[test]
fn what_hung_on_a_new_table_that_was_dropped_comes_back_with_the_old_one() {
    let scene = STAGE.users(20);
    scene.table("posts", "id bigint PRIMARY KEY, author bigint REFERENCES users");
    scene.admin().run(
        "CREATE VIEW names AS SELECT id, name FROM users; ALTER VIEW names OWNER TO owner;
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION nothing()",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    scene.app().run(
        "INSERT INTO users (id, email) VALUES (500, 'young'); INSERT INTO posts VALUES (1, 500)",
    );
    owner.run("DROP TABLE users CASCADE");
    let mut admin = scene.admin();
    let id = admin.text("SELECT max(id) FROM bluegreen.deployment");
    owner.run(&format!("SELECT bg_abort({id})"));
    let told = owner.notices();
    assert!(told.iter().any(|n| n.message.contains("posts_author_fkey")), "{told:?}");
    assert_eq!(admin.int("SELECT count(*) FROM names"), 20);
    assert_eq!(
        admin.text(
            "SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 't'"
        ),
        "O"
    );
    assert_eq!(admin.refused("INSERT INTO posts VALUES (2, 999)").code, "23503");
}

#[test]
fn a_new_table_that_was_dropped_after_the_swap_does_not_take_the_old_one_along() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    let id = scene.status("id");
    scene.admin().run("DROP TABLE users CASCADE");

    // The only copy of the rows is in blue now: no hint may lead to its loss.
    let refusal = owner.refused("CALL bg_run(to_regclass('public_blue.users'), 'swapped')");
    refusal.assert_helps();
    let _ = owner.try_run(&format!("SELECT bg_finish({id})"));
    let kept = scene
        .admin()
        .text("SELECT coalesce(to_regclass('public.users'), to_regclass('public_blue.users'))");
    assert_ne!(kept, "", "all rows are gone");
    assert_eq!(scene.admin().int(&format!("SELECT count(*) FROM {kept}")), 10);
}

#[test]
fn an_abort_cleans_up_although_a_trigger_of_ours_was_dropped() {
    for (trigger, table) in [
        ("bluegreen_capture", "users"),
        ("bluegreen_truncate", "users"),
        ("bluegreen_guard", "public_blue.users"),
        ("bluegreen_capture", "public_blue.users"),
    ] {
        let scene = STAGE.users(10);
        let before = scene.inventory();
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        scene.admin().run(&format!("DROP TRIGGER IF EXISTS {trigger} ON {table}"));

        assert_eq!(owner.text("SELECT bg_abort('users')"), "aborted");

        before.assert_same(&scene.inventory());
        owner.make_ready("ADD COLUMN phone text");
    }
}

#[test]
fn a_row_that_an_index_cannot_take_is_a_misfit_and_stops_nothing_else() {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY, u text");
    scene.app().run("INSERT INTO users VALUES (1, 'a')");
    let mut owner = scene.owner();
    owner.make_ready("ADD UNIQUE (u)");
    scene.app().run(
        "INSERT INTO users SELECT 2, string_agg(md5(g::text || random()), '') FROM generate_series(1, 300) g",
    );
    scene.app().run("INSERT INTO users VALUES (3, 'c')");
    owner.sync();

    assert_eq!(scene.status("phase || misfits"), "ready1");
    assert_eq!(scene.admin().list("SELECT id FROM public_blue.users ORDER BY id"), ["1", "3"]);
    scene.app().run("UPDATE users SET u = 'short' WHERE id = 2");
    owner.swap();
}

#[test]
fn a_mapping_that_raises_an_error_of_its_own_makes_misfits() {
    let scene = STAGE.users(100);
    scene.admin().run(
        "CREATE FUNCTION public.picky(id bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF id = 7 THEN RAISE EXCEPTION 'seven' USING ERRCODE = 'XY123'; END IF;
             IF id = 8 THEN RAISE EXCEPTION 'eight'; END IF;
             IF id = 9 THEN RAISE EXCEPTION 'nine' USING ERRCODE = '55000'; END IF;
             RETURN id::text;
         END $$",
    );
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN p text', forward => '{"p": "public.picky(id)"}')"#,
    );
    owner.sync();

    assert_eq!(scene.status("phase || misfits"), "ready3");
    assert_eq!(
        scene.admin().list("SELECT sqlstate || ' ' || error FROM bluegreen.misfit ORDER BY 1"),
        ["55000 nine", "P0001 eight", "XX000 seven"]
    );
    scene.app().run("DELETE FROM users WHERE id IN (7, 8, 9)");
    owner.swap();
}

#[test]
fn what_is_set_aside_is_the_newest() {
    let scene = STAGE.empty();
    scene.table("users", "id char(5) PRIMARY KEY, v int NOT NULL, w text");
    scene.app().run("INSERT INTO users VALUES ('abc', 1, 'one')");
    let mut owner = scene.owner();
    owner.make_ready("ALTER COLUMN v DROP NOT NULL");
    owner.swap();
    scene.app().run("INSERT INTO users VALUES ('def', NULL, 'first')");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.app().run("UPDATE users SET w = 'newest' WHERE id = 'def'");

    owner.run("CALL bg_run('users', 'swapped')");
    owner.run("SELECT bg_revert('users', misfits => 'set_aside')");

    assert_eq!(scene.app().int("SELECT count(*) FROM users"), 1);
    let aside = r#"SELECT "row"->>'w' FROM bluegreen.misfit WHERE set_aside"#;
    assert_eq!(scene.admin().text(aside), "newest");
}

#[test]
fn a_table_that_was_dropped_and_made_again_is_told_of_the_old_deployment() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let id = scene.status("id");
    owner.run("DROP TABLE users");
    scene.add_users(5);

    let told = owner.text("SELECT message || ' ' || hint FROM bg_check('users')");

    assert!(told.contains("public.users") && told.contains(&format!("bg_abort({id})")), "{told}");
    owner.run(&format!("SELECT bg_abort({id})"));
    owner.make_ready("ADD COLUMN phone text");
    scene.assert_in_step("id, email");
}

#[test]
fn a_live_table_that_was_renamed_after_the_swap_can_be_finished() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    scene.admin().run("ALTER TABLE users RENAME TO people; CREATE TABLE users (id int)");

    match owner.try_run("SELECT bg_finish('people')") {
        Ok(()) => {
            let inventory = scene.inventory();
            assert!(inventory.with("_blue").is_empty(), "{:?}", inventory.with("_blue"));
            assert!(inventory.with("trigger CREATE").is_empty());
        }
        Err(refusal) => {
            refusal.assert_helps();
            scene.admin().run("DROP TABLE users; ALTER TABLE people RENAME TO users");
            owner.run("SELECT bg_finish('users')");
        }
    }
    assert!(scene.inventory().with("trigger CREATE").is_empty());
}
