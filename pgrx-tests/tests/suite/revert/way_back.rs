//! What breaks a way back (docs/hazards.md, 71 to 74): each is a test named after it.

use std::time::Duration;

use crate::story::{Errand, Stage, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

#[test]
fn trap_71_what_sync_writes_is_not_captured_again() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    let mut admin = scene.admin();
    // Everything that is in the logs, or was: an empty log that has never been written has no page.
    let logged = "SELECT coalesce(sum(pg_relation_size(oid)), 0) FROM pg_class
        WHERE relnamespace = 'bluegreen'::regnamespace AND relkind = 'r' AND relname LIKE ";
    owner.make_ready("ADD COLUMN phone text");
    scene.app().run("UPDATE users SET name = 'forward'");
    owner.sync();
    assert_eq!(admin.int(&format!("{logged} 'reverse%'")), 0);
    assert_ne!(admin.int(&format!("{logged} 'forward%'")), 0);
    let captures = "SELECT string_agg(tgrelid::regclass || ' ' || tgenabled::text, ', ' ORDER BY 1)
        FROM pg_trigger WHERE tgfoid = 'bluegreen.capture'::regproc AND tgenabled <> 'D'";
    assert!(!admin.text(captures).contains("public_blue"), "{}", admin.text(captures));

    owner.swap();
    assert!(!admin.text(captures).contains("public_blue"), "{}", admin.text(captures));
    scene.app().run("UPDATE users SET name = 'reverse'");
    for _ in 0..3 {
        owner.run("CALL bg_run('users', 'swapped')");
    }
    assert_eq!(scene.status("pending_changes"), "0");
    assert_eq!(admin.int("SELECT count(*) FROM public_blue.users WHERE name = 'reverse'"), 100);
    owner.revert();
    for _ in 0..3 {
        owner.sync();
    }
    assert_eq!(scene.status("pending_changes"), "0");
    scene.assert_in_step(COLUMNS);
}

/// A row is corrected, gets another key, or is deleted; not where one is left as it was.
#[test]
fn a_swap_and_a_revert_look_again_at_rows_that_were_corrected() {
    for (verb, changes, unfit) in [
        ("bg_swap", "ADD CONSTRAINT positive CHECK (age > 0)", "-1"),
        ("bg_revert", "ALTER COLUMN age TYPE bigint", "3000000000"),
    ] {
        let scene = STAGE.empty();
        scene.table("users", "id int, part text, age int, PRIMARY KEY (id, part)");
        let mut app = scene.app();
        app.run("INSERT INTO users SELECT n, 'a', 7 FROM generate_series(1, 20) n");
        let mut owner = scene.owner();
        owner.make_ready(changes);
        if verb == "bg_revert" {
            owner.swap();
        }
        let sync = format!("CALL bg_run('users', '{}')", scene.status("phase"));
        let call = format!("SELECT {verb}('users')");

        app.run(&format!("UPDATE users SET age = {unfit} WHERE id IN (1, 2, 3)"));
        owner.run(&sync);
        owner.refused(&call).assert_is("55000", &["3 rows of public.users"]);
        app.run(
            "UPDATE users SET age = 8 WHERE id = 1; UPDATE users SET id = 200, age = 9 WHERE id = 2",
        );
        owner.refused(&call).assert_is("55000", &["3 rows of public.users"]);
        owner.run(&sync);
        owner.refused(&call).assert_is("55000", &["1 row of public.users"]);

        app.run(&format!("UPDATE users SET age = {unfit} WHERE id IN (4, 5)"));
        owner.run(&sync);
        app.run(
            "DELETE FROM users WHERE id = 3; UPDATE users SET id = 400, age = 9 WHERE id = 4;
             UPDATE users SET age = 10 WHERE id = 5",
        );
        owner.run(&call);
        assert_eq!(scene.status("misfits"), "0");
        let sound = "SELECT concat_ws(' ', count(*), min(age), max(age), sum(id)) FROM users";
        assert_eq!(owner.text(sound), "19 7 10 801");
        owner.run(&format!("CALL bg_run('users', '{}')", scene.status("phase")));
        scene.assert_in_step("id, part, age");
    }
}

#[test]
fn trap_72_rows_that_do_not_fit_the_old_table_are_foretold_and_stop_only_the_revert() {
    let scene = STAGE.empty();
    scene.table(
        "users",
        "id integer PRIMARY KEY, name varchar(10) NOT NULL, email text UNIQUE,
         age int CHECK (age > 0), code text NOT NULL",
    );
    scene.admin().run(
        "INSERT INTO users SELECT n, 'n' || n, 'e' || n, n, 'c' || n FROM generate_series(1, 50) n",
    );
    let changes = "ALTER COLUMN id TYPE bigint, ALTER COLUMN name TYPE text,
        ALTER COLUMN name DROP NOT NULL, DROP CONSTRAINT users_email_key,
        DROP CONSTRAINT users_age_check, DROP COLUMN code";
    let mut owner = scene.owner();
    let foretold = owner.list(&format!(
        "SELECT object || ': ' || message FROM bg_check('users', '{changes}') WHERE code LIKE 'revert%'"
    ));
    for object in ["id", "name", "users_email_key", "users_age_check", "code"] {
        assert!(
            foretold.iter().any(|line| line.starts_with(object)),
            "{object} is not foretold: {foretold:#?}"
        );
    }
    let foretold = foretold.iter().filter(|line| line.starts_with("name")).count();
    assert_eq!(foretold, 2, "narrower and NOT NULL");
    owner.make_ready(changes);
    owner.swap();

    let mut app = scene.app();
    app.run(
        "UPDATE users SET id = 3000000000 WHERE id = 1;
         UPDATE users SET name = 'longer than ten' WHERE id = 2;
         UPDATE users SET name = NULL WHERE id = 3; UPDATE users SET email = 'e5' WHERE id = 4;
         UPDATE users SET age = -1 WHERE id = 6; INSERT INTO users VALUES (100, 'new', 'new', 1);
         UPDATE users SET name = 'fits' WHERE id = 7",
    );
    owner.run("CALL bg_run('users', 'swapped')");
    let misfits = scene.admin().list("SELECT key::text || ' ' || error FROM bluegreen.misfit");
    assert_eq!(scene.status("phase || ' ' || misfits"), "swapped 6", "{misfits:#?}");
    // Each still writes, and what fits is in step.
    assert_eq!(scene.admin().text("SELECT name FROM public_blue.users WHERE id = 7"), "fits");
    let refusal = owner.refused("SELECT bg_revert('users')");
    refusal.assert_is("55000", &["users", "6"]);
    assert!(refusal.hint.contains("set_aside"), "{refusal:?}");
    assert_eq!(scene.status("phase"), "swapped");

    // Three are mended; three are left behind.
    app.run(
        "UPDATE users SET name = 'short' WHERE id = 2; UPDATE users SET name = 'some' WHERE id = 3;
         UPDATE users SET email = 'e4' WHERE id = 4",
    );
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(scene.status("misfits"), "3");
    assert_eq!(owner.text("SELECT bg_revert('users', misfits => 'set_aside')"), "ready");

    assert_eq!(app.int("SELECT count(*) FROM users WHERE id = 100"), 0);
    assert_eq!(app.int("SELECT count(*) FROM users WHERE id BETWEEN 2 AND 50"), 49);
    assert_eq!(
        app.text(
            "SELECT string_agg(name || email, ' ' ORDER BY id) FROM users WHERE id IN (2, 3, 4)"
        ),
        "shorte2 somee3 n4e4"
    );
    // What was left behind is there to be read, with its values.
    assert_eq!(
        scene.admin().list(
            r#"SELECT "row"->>'id' || ' ' || ("row"->>'age') FROM bluegreen.misfit WHERE set_aside ORDER BY 1"#
        ),
        ["100 1", "3000000000 1", "6 -1"]
    );
    owner.sync();
    owner.run("SELECT bg_swap('users')");
}

#[test]
fn trap_73_values_of_columns_that_only_one_side_has_come_back() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, name text, note text");
    scene
        .admin()
        .run("INSERT INTO users SELECT n, 'n', 'note ' || n FROM generate_series(1, 20) n");
    let mut owner = scene.owner();
    owner.make_ready("DROP COLUMN note, ADD COLUMN phone text DEFAULT 'none'");
    owner.swap();

    let mut app = scene.app();
    app.run(
        "UPDATE users SET phone = 'phone ' || id WHERE id <= 10; UPDATE users SET name = 'changed' WHERE id <= 5;
         INSERT INTO users VALUES (21, 'new', 'phone 21'); DELETE FROM users WHERE id = 20",
    );
    owner.revert();
    let notes = "SELECT count(*) FROM users WHERE note = 'note ' || id";
    assert_eq!(app.int(notes), 19, "the old column's values, whatever else of the rows changed");
    assert_eq!(app.text("SELECT coalesce(note, '-') FROM users WHERE id = 21"), "-");

    app.run("UPDATE users SET name = 'again', note = 'other' WHERE id = 1; UPDATE users SET note = 'x' WHERE id = 2");
    owner.swap();
    assert_eq!(app.int("SELECT count(*) FROM users WHERE phone = 'phone ' || id"), 11);
    assert_eq!(app.text("SELECT name || phone FROM users WHERE id = 1"), "againphone 1");
    owner.revert();
    assert_eq!(
        app.text("SELECT string_agg(note, ' ' ORDER BY id) FROM users WHERE id <= 3"),
        "other x note 3"
    );
}

#[test]
fn trap_74_what_changed_after_the_swap_is_not_forgotten_by_a_revert() {
    for (ddl, word) in [
        ("GRANT SELECT ON users TO mallory", "grant"),
        ("GRANT SELECT (phone) ON users TO mallory", "grant"),
        ("COMMENT ON COLUMN users.name IS 'late'", "comment"),
        ("ALTER TABLE users ALTER COLUMN name SET STATISTICS 50", "statistic"),
        ("CREATE INDEX late ON users (phone)", "late"),
        ("ALTER TABLE users ADD CONSTRAINT late CHECK (id > 0)", "late"),
    ] {
        let scene = STAGE.users(20);
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        owner.swap();
        scene.admin().run(ddl);

        let reverted = owner.try_run("SELECT bg_revert('users')");

        match reverted {
            Err(refusal) => {
                refusal.assert_is("55000", &["users"]);
                let told = refusal.everything().to_lowercase();
                assert!(
                    [word, "privilege", "name", "phone"].iter().any(|word| told.contains(word)),
                    "{ddl}: {refusal:?}"
                );
                assert_eq!(scene.status("phase"), "swapped");
                // The way on is open: the new table stays, as it is now.
                owner.run("SELECT bg_finish('users')");
            }
            // It came along.
            Ok(()) if ddl.starts_with("GRANT SELECT ON") => {
                scene.mallory().run("SELECT id FROM users LIMIT 1");
            }
            Ok(()) => panic!("reverted, and lost: {ddl}"),
        }
    }
}

#[test]
fn a_revert_and_a_swap_can_be_repeated_without_end() {
    let scene = STAGE.users(200);
    let mut owner = scene.owner();
    let mut app = scene.app();
    owner.make_ready("ADD COLUMN phone text, ALTER COLUMN name SET DEFAULT 'nobody'");
    let mut number = 1000;
    for round in 0..4 {
        app.run(&format!(
            "INSERT INTO users (email) VALUES ('green{round}'); UPDATE users SET id = {} WHERE id = {round} + 1;
             DELETE FROM users WHERE id = 100 + {round}", number
        ));
        number += 1;
        owner.swap();
        scene.assert_in_step(COLUMNS);
        app.run(&format!(
            "INSERT INTO users (email) VALUES ('blue{round}'); UPDATE users SET id = {} WHERE id = 50 + {round};
             DELETE FROM users WHERE id = 150 + {round}", number
        ));
        number += 1;
        owner.revert();
        scene.assert_in_step(COLUMNS);
    }
    assert_eq!(app.int("SELECT count(*) FROM users"), 200);
    owner.run("SELECT bg_abort('users')");
    assert!(scene.inventory().with("blue").iter().all(|object| !object.contains("public_blue")));
}

#[test]
fn a_run_reverts_with_the_patience_of_a_swap() {
    let scene = STAGE.users(200);
    let mut owner = scene.owner();
    let mut app = scene.app();
    let revert = "CALL bg_run('users', 'reverted')";
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.refused(revert).assert_is("55000", &["public.users", "prepared", "reverted"]);
    owner.sync();
    owner.notices();
    owner.run(revert);
    let said = owner.notices();
    assert!(said.iter().any(|n| n.message.contains("the old table is live already")), "{said:?}");
    assert_eq!(scene.status("phase"), "ready");

    owner.swap();
    // More than the revert's own transaction may bring in, and a lock that is there for a while.
    app.run("UPDATE users SET name = name || n FROM generate_series(1, 100) n WHERE id <= 200");
    app.run(
        "DO $$ BEGIN FOR n IN 1 .. 300 LOOP UPDATE users SET name = 'w' || n; END LOOP; END $$",
    );
    let mut holder = scene.app();
    holder.run("BEGIN; SELECT count(*) FROM users");
    let running = Errand::start(owner, revert);
    std::thread::sleep(Duration::from_secs(3));
    assert!(!running.is_done());
    app.run("UPDATE users SET name = 'while it waits' WHERE id = 1");
    holder.run("COMMIT");
    let mut owner = running.done();
    assert!(owner.notices().iter().any(|n| n.message.starts_with("revert: ")));
    assert_eq!(scene.status("phase"), "ready");
    assert_eq!(app.text("SELECT name FROM users WHERE id = 1"), "while it waits");
    assert_eq!(app.int("SELECT count(*) FROM users WHERE name = 'w300'"), 199);
    owner.sync();
    scene.assert_in_step(COLUMNS);
}

#[test]
fn after_a_revert_bg_prepare_brings_the_new_table_up_to_date_as_before_the_swap() {
    let scene = STAGE.users(100);
    scene.admin().run("ALTER TABLE users SET (fillfactor = 90)");
    let (mut owner, mut admin) = (scene.owner(), scene.admin());
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    owner.revert();

    owner.run("COMMENT ON TABLE users IS 'new'");
    assert_eq!(
        owner.text("SELECT bg_prepare('users', $changes$ADD COLUMN phone text$changes$)"),
        "indexing"
    );
    owner.sync();
    owner.swap();

    assert_eq!(admin.text("SELECT obj_description('users'::regclass)"), "new");
    let options = "SELECT string_agg(reloptions::text, ' ') FROM pg_class WHERE relname = 'users'";
    assert_eq!(admin.text(options), "{fillfactor=90} {fillfactor=90}");
}
