//! Foreign keys from the table, to it and to itself, when it is swapped (docs/hazards.md, 47 to 49, 52,
//! 62, 66).

use std::time::Duration;

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// Children with a foreign key to `users`, which has one to `teams`.
fn with_family(scene: &Scene) {
    scene.table("teams", "id integer PRIMARY KEY");
    scene.table("posts", "id bigint PRIMARY KEY, author bigint REFERENCES users ON DELETE CASCADE");
    scene.admin().run(
        "INSERT INTO teams VALUES (1), (2);
         ALTER TABLE users ADD COLUMN team integer DEFAULT 1 CONSTRAINT users_team REFERENCES teams;
         INSERT INTO posts SELECT n, n FROM generate_series(1, 10) n",
    );
}

/// The foreign keys of the family hold, in both directions, and nothing else refuses.
fn family_holds(scene: &Scene, when: &str) {
    let mut app = scene.app();
    let refused = |app: &mut Person, sql: &str| {
        assert_eq!(app.refused(sql).code, "23503", "{when}: {sql}");
    };
    refused(&mut app, "INSERT INTO posts VALUES (1000, 999999)");
    refused(&mut app, "INSERT INTO users (email, team) VALUES ('x', 77)");
    refused(&mut app, "DELETE FROM teams WHERE id = 1");
    app.run(
        "BEGIN; INSERT INTO users (id, email, team) VALUES (5000, 'y', 2);
         INSERT INTO posts VALUES (5000, 5000); DELETE FROM users WHERE id = 5000",
    );
    assert_eq!(app.int("SELECT count(*) FROM posts WHERE id = 5000"), 0, "{when}: no cascade");
    app.run("ROLLBACK");
}

#[test]
fn trap_48_foreign_keys_are_not_valid_in_the_swap_and_validated_after_it() {
    let scene = STAGE.users(100);
    with_family(&scene);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.run("SELECT bg_swap('users')");
    assert_eq!(scene.status("not_valid"), "2");
    // They hold for new rows at once.
    family_holds(&scene, "swapped");
    owner.run("CALL bg_run('users')");
    assert_eq!(scene.status("not_valid"), "0");
    let valid = "SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'f'";
    assert_eq!(scene.admin().text(valid), "t");
    owner.run("SELECT bg_revert('users')");
    assert_eq!(scene.status("not_valid"), "2");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(scene.status("not_valid"), "0");
    owner.run("SELECT bg_revert('users'); SELECT bg_swap('users'); SELECT bg_finish('users')");
    assert_eq!(scene.admin().text(valid), "t");
}

#[test]
fn trap_49_foreign_keys_follow_in_both_directions_and_back() {
    let scene = STAGE.users(100);
    with_family(&scene);
    let before = scene.inventory();
    let mut owner = scene.owner();
    owner.make_ready("ALTER COLUMN team TYPE bigint");
    family_holds(&scene, "ready");
    owner.swap();
    family_holds(&scene, "swapped");
    owner.revert();
    family_holds(&scene, "reverted");
    owner.run("CALL bg_run('users'); ");
    owner.run("SELECT bg_abort('users')");
    family_holds(&scene, "aborted");
    before.assert_same(&scene.inventory());
}

#[test]
fn trap_49_two_deployments_joined_by_a_foreign_key_do_not_break_each_other() {
    for first_swapped in ["users", "posts"] {
        let scene = STAGE.users(100);
        with_family(&scene);
        let mut owner = scene.owner();
        for table in ["users", "posts"] {
            owner.run(&format!("SELECT bg_prepare('{table}', 'ADD COLUMN phone text')"));
        }
        for table in ["users", "posts"] {
            owner.run(&format!("CALL bg_run('{table}')"));
        }
        let second = if first_swapped == "users" { "posts" } else { "users" };
        for table in [first_swapped, second] {
            owner.run(&format!("CALL bg_run('{table}', 'swapped')"));
            family_holds(&scene, table);
        }
        owner.run(&format!("SELECT bg_revert('{first_swapped}')"));
        family_holds(&scene, "reverted");
        for table in ["users", "posts"] {
            owner.run(&format!("CALL bg_run('{table}', 'finished')"));
            family_holds(&scene, "finished");
        }
        assert_eq!(
            scene
                .admin()
                .int("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated"),
            2
        );
    }
}

#[test]
fn trap_52_a_dropped_key_takes_its_foreign_keys_along_with_cascade() {
    let scene = STAGE.users(10);
    scene.table(
        "posts",
        "id bigint PRIMARY KEY, mail text CONSTRAINT by_mail REFERENCES users (email)",
    );
    let mut owner = scene.owner();
    owner
        .refused("SELECT bg_prepare('users', 'DROP CONSTRAINT users_email_key')")
        .assert_is("2BP01", &["by_mail", "posts"]);
    owner.make_ready("DROP CONSTRAINT users_email_key CASCADE");
    owner.swap();
    let mut app = scene.app();
    app.run("INSERT INTO posts VALUES (1, 'nobody')");
    app.run("DELETE FROM posts");
    owner.revert();
    assert_eq!(app.refused("INSERT INTO posts VALUES (1, 'nobody')").code, "23503");
}

#[test]
fn trap_52_the_tables_own_foreign_key_can_be_dropped_and_renamed() {
    let scene = STAGE.users(10);
    with_family(&scene);
    let mut owner = scene.owner();
    owner.make_ready("DROP CONSTRAINT users_team");
    owner.swap();
    scene.app().run("INSERT INTO users (email, team) VALUES ('no team', 9)");
    scene.app().run("DELETE FROM users WHERE team = 9");
    owner.run("SELECT bg_finish('users')");
    owner.run("ALTER TABLE users ADD CONSTRAINT users_team FOREIGN KEY (team) REFERENCES teams");
    owner.make_ready("RENAME CONSTRAINT users_team TO team_of_user");
    owner.swap();
    let mut admin = scene.admin();
    let keys = "SELECT string_agg(conname, ' ') FROM pg_constraint WHERE contype = 'f' AND conrelid = 'users'::regclass";
    assert_eq!(admin.text(keys), "team_of_user");
    owner.revert();
    assert_eq!(admin.text(keys), "users_team");
}

#[test]
fn trap_48_an_abort_after_a_revert_leaves_foreign_keys_validated() {
    let scene = STAGE.users(20);
    with_family(&scene);
    let before = scene.inventory();
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.run("SELECT bg_swap('users')");
    owner.run("SELECT bg_revert('users')");
    owner.run("SELECT bg_abort('users')");
    before.assert_same(&scene.inventory());
    assert_eq!(
        scene
            .admin()
            .int("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated"),
        0
    );
}

#[test]
fn trap_49_two_deployments_do_not_carry_one_object() {
    let scene = STAGE.users(5);
    scene.table("posts", "id bigint PRIMARY KEY, author bigint");
    scene.admin().run(
        "CREATE POLICY on_users ON users USING (id IN (SELECT author FROM posts) OR true);
         CREATE VIEW both_of AS SELECT u.id FROM users u JOIN posts p ON p.author = u.id",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users')");
    owner.refused("SELECT bg_prepare('posts')").assert_is("55000", &["users", "open deployment"]);
    owner.run("SELECT bg_abort('users')");
    owner.run("SELECT bg_prepare('posts')");
    owner.refused("SELECT bg_prepare('users')").assert_is("55000", &["posts", "open deployment"]);
}

#[test]
fn trap_48_a_foreign_key_to_a_partitioned_table_is_carried() {
    let scene = STAGE.users(20);
    scene.admin().run(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
         CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
         INSERT INTO parts SELECT generate_series(1, 19);
         ALTER TABLE users ADD COLUMN part int DEFAULT 3 REFERENCES parts",
    );
    let before = scene.inventory();
    let mut owner = scene.owner();
    owner.make_ready("");
    owner.swap();
    owner.run("CALL bg_run('users', 'swapped')");
    let mut app = scene.app();
    assert_eq!(app.refused("INSERT INTO users (email, part) VALUES ('x', 99)").code, "23503");
    assert_eq!(scene.admin().refused("DELETE FROM parts WHERE id = 3").code, "23503");
    owner.revert();
    assert_eq!(scene.admin().refused("DELETE FROM parts WHERE id = 3").code, "23503");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    // VALIDATE leaves the keys that the server makes for each partition as they are (nothing shows it).
    let inner = ["users_part_fkey1", "users_part_fkey2"];
    before.without(&inner).assert_same(&scene.inventory().without(&inner));
    scene.admin().run("DELETE FROM parts WHERE id = 15");
}

#[test]
fn trap_48_who_holds_a_partition_of_a_referenced_table_is_named() {
    let scene = STAGE.users(20);
    scene.admin().run(
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
         CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (id);
         CREATE TABLE parts3 PARTITION OF parts2 FOR VALUES FROM (20) TO (30);
         INSERT INTO parts VALUES (3), (25);
         GRANT SELECT ON parts1, parts2, parts3 TO app, owner;
         ALTER TABLE users ADD COLUMN part int DEFAULT 3 REFERENCES parts",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    // Those of a partition that is partitioned itself, too.
    for partition in ["parts1", "parts3"] {
        let mut reader = scene.app();
        reader.run(&format!("BEGIN; SELECT count(*) FROM {partition}"));
        let pid = reader.pid().to_string();
        owner
            .refused("SELECT bg_swap('users', retry_for => '300 ms')")
            .assert_is("55P03", &["users", &pid, partition]);
        assert_eq!(owner.text("SELECT pid FROM bg_blockers('users')"), pid, "{partition}");
        reader.run("COMMIT");
    }
    // The caller's own use of one.
    owner.run("BEGIN; DECLARE c CURSOR FOR SELECT id FROM parts3");
    owner.refused("SELECT bg_swap('users')").assert_is("55006", &["parts3"]);
    owner.run("ROLLBACK");

    owner.swap();
    let mut reader = scene.app();
    reader.run("BEGIN; SELECT count(*) FROM parts3");
    let pid = reader.pid().to_string();
    owner
        .refused("SELECT bg_revert('users', retry_for => '300 ms')")
        .assert_is("55P03", &["users", &pid]);
    reader.run("COMMIT");
    owner.revert();

    assert_eq!(scene.admin().refused("DELETE FROM parts WHERE id = 3").code, "23503");
}

#[test]
fn trap_48_foreign_keys_act_in_the_order_in_which_they_were_made() {
    let scene = STAGE.users(5);
    scene.table("posts", "id bigint PRIMARY KEY, author bigint, mail text");
    scene.admin().run(
        "ALTER TABLE posts ADD CONSTRAINT z_first FOREIGN KEY (author) REFERENCES users ON DELETE SET NULL;
         ALTER TABLE users ADD UNIQUE (id, email);
         ALTER TABLE posts ADD CONSTRAINT a_second FOREIGN KEY (author, mail) REFERENCES users (id, email) ON DELETE CASCADE;
         INSERT INTO posts SELECT 1, 1, email FROM users WHERE id = 1",
    );
    let mut app = scene.app();
    let mut left = |when: &str| {
        app.run("BEGIN; DELETE FROM users WHERE id = 1");
        assert_eq!(app.int("SELECT count(*) FROM posts"), 1, "{when}");
        app.run("ROLLBACK");
    };
    left("before");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    left("swapped");
    owner.revert();
    left("reverted");
}

#[test]
fn trap_47_two_swaps_at_once_of_tables_joined_both_ways_both_succeed() {
    let scene = STAGE.users(5);
    scene.table("posts", "id bigint PRIMARY KEY, author bigint REFERENCES users");
    scene.admin().run("ALTER TABLE users ADD COLUMN best bigint REFERENCES posts");
    let mut owner = scene.owner();
    for table in ["users", "posts"] {
        owner.run(&format!("SELECT bg_prepare('{table}', 'ADD COLUMN phone text')"));
        owner.run(&format!("CALL bg_run('{table}')"));
    }
    for verb in ["bg_swap", "bg_revert", "bg_swap", "bg_revert"] {
        let both: Vec<_> = ["users", "posts"]
            .iter()
            .map(|table| scene.send("owner", &format!("SELECT {verb}('{table}')")))
            .collect();
        for errand in both {
            errand.done();
        }
        for table in ["users", "posts"] {
            owner.run(&format!("CALL bg_run('{table}')"));
        }
    }
}

#[test]
fn trap_47_two_swaps_at_once_do_not_wait_for_each_others_snapshots() {
    let scene = STAGE.users(5);
    scene.table("posts", "id bigint PRIMARY KEY");
    // As long as it writes, every snapshot of the server is older than what is copied now.
    let elsewhere = STAGE.users(1);
    let mut writer = elsewhere.app();
    writer.run("BEGIN; UPDATE users SET name = 'later'");
    let mut reader = scene.app();
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let mut owner = scene.owner();
    for table in ["users", "posts"] {
        owner.run(&format!("SELECT bg_prepare('{table}', 'ADD COLUMN phone text')"));
        owner.run(&format!("CALL bg_run('{table}')"));
    }
    // Each is there when the other looks who is there.
    let mut guard = scene.owner();
    guard.run("BEGIN; SELECT bg_backfill('posts')");
    let second = scene.send("owner", "SELECT bg_swap('posts', retry_for => '20 s')");
    std::thread::sleep(Duration::from_millis(200));
    let first = scene.send("owner", "SELECT bg_swap('users', retry_for => '20 s')");
    std::thread::sleep(Duration::from_millis(200));
    guard.run("ROLLBACK");
    std::thread::sleep(Duration::from_millis(200));
    let who = "SELECT pid FROM bg_blockers('users')";
    assert_eq!(guard.list(who), [reader.pid().to_string()]);
    reader.run("COMMIT");
    second.done();
    first.done();
    // One that is part of a larger statement may read the other table with its snapshot afterwards.
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    owner.run("SELECT bg_finish('users'); SELECT bg_prepare('users', 'ADD COLUMN city text')");
    owner.run("CALL bg_run('users')");
    let larger = "SELECT bg_revert('posts', retry_for => '3 s'), (SELECT 1)";
    let larger = scene.send("owner", larger);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(guard.list(who).len(), 2);
    reader.run("COMMIT");
    larger.done();
    writer.run("ROLLBACK");
}

#[test]
fn trap_66_who_holds_a_child_is_named() {
    let scene = STAGE.users(5);
    scene.table(
        "posts",
        "id bigint PRIMARY KEY, author bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut app = scene.app();
    app.run("BEGIN; SELECT count(*) FROM posts");
    let pid = app.pid().to_string();
    owner
        .refused("SELECT bg_swap('users', retry_for => '300 ms')")
        .assert_is("55P03", &["users", &pid]);
    assert_eq!(owner.text("SELECT pid FROM bg_blockers('users')"), pid);
    app.run("ROLLBACK");
    // The caller's own deferred events on it.
    owner.run("BEGIN; INSERT INTO posts VALUES (1, 1)");
    let refusal = owner.refused("SELECT bg_swap('users')");
    refusal.assert_is("55006", &["posts"]);
    owner.run("ROLLBACK");
    owner.swap();
}

#[test]
fn trap_48_a_new_foreign_key_comes_with_the_swap_and_goes_with_the_revert() {
    let scene = STAGE.users(20);
    scene.table("teams", "id integer PRIMARY KEY");
    scene.admin().run("INSERT INTO teams VALUES (1), (2); GRANT ALL ON teams TO owner");
    let before = scene.inventory();
    let mut owner = scene.owner();
    let changes = "ADD COLUMN team int DEFAULT 1, ADD CONSTRAINT in_team FOREIGN KEY (team) REFERENCES teams ON DELETE SET NULL,
        ADD COLUMN boss bigint, ADD FOREIGN KEY (boss) REFERENCES users (id)";
    // Who writes to the other table is not kept waiting until prepare commits.
    owner.run("BEGIN");
    owner.run(&format!("SELECT bg_prepare('users', '{changes}')"));
    scene.app().run("SET lock_timeout = '1 s'; INSERT INTO teams VALUES (3)");
    owner.run("COMMIT");
    owner.run("CALL bg_run('users')");
    owner.run("SELECT bg_swap('users')");
    assert_eq!(scene.status("not_valid"), "2");
    let mut app = scene.app();
    let refused = |app: &mut Person, sql: &str| assert_eq!(app.refused(sql).code, "23503", "{sql}");
    refused(&mut app, "INSERT INTO users (email, team) VALUES ('x', 77)");
    refused(&mut app, "INSERT INTO users (email, boss) VALUES ('x', 7777)");
    owner.run("CALL bg_run('users')");
    assert_eq!(scene.status("not_valid"), "0");
    owner.run("SELECT bg_revert('users')");
    app.run("DELETE FROM teams WHERE id = 1");
    app.run("INSERT INTO teams VALUES (1)");
    owner.run("CALL bg_run('users', 'swapped')");
    owner.run("SELECT bg_revert('users'); SELECT bg_abort('users')");
    before.assert_same(&scene.inventory());

    // Rows that break it are told, and the revert is open.
    owner.make_ready(
        "ADD COLUMN team int DEFAULT 9, ADD FOREIGN KEY (team) REFERENCES teams NOT VALID",
    );
    owner.swap();
    owner.revert();
    owner.run("SELECT bg_abort('users')");
    owner.make_ready("ADD COLUMN team int DEFAULT 9, ADD FOREIGN KEY (team) REFERENCES teams");
    let refusal = owner.refused("CALL bg_run('users', 'swapped')");
    assert_eq!(refusal.code, "23503", "{refusal:?}");
    assert!(refusal.message.contains("users_team_fkey"), "{refusal:?}");
    assert_eq!(scene.status("phase"), "swapped");
    owner.run("SELECT bg_revert('users')");
    // Not without the right to reference it.
    scene.admin().run("CREATE TABLE secret (id bigint PRIMARY KEY)");
    owner.run("SELECT bg_abort('users')");
    let refusal = owner.refused(
        "SELECT bg_prepare('users', 'ADD COLUMN s bigint, ADD FOREIGN KEY (s) REFERENCES secret')",
    );
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    owner
        .refused("SELECT bg_prepare('users', 'ADD COLUMN s bigint REFERENCES secret')")
        .assert_is("0A000", &["references", "column s"]);
}

#[test]
fn trap_62_nothing_that_was_said_of_a_dependent_is_lost() {
    let scene = STAGE.users(20);
    with_family(&scene);
    scene.admin().run(
        "CREATE MATERIALIZED VIEW m AS SELECT id, name FROM users; CREATE INDEX m_id ON m (id);
         CREATE POLICY p ON users USING (true); CREATE RULE r AS ON DELETE TO users DO ALSO SELECT 1",
    );
    let mut owner = scene.owner();
    for (ddl, undo) in [
        (
            "COMMENT ON CONSTRAINT posts_author_fkey ON posts IS 'x'",
            "COMMENT ON CONSTRAINT posts_author_fkey ON posts IS NULL",
        ),
        ("COMMENT ON POLICY p ON users IS 'x'", "COMMENT ON POLICY p ON users IS NULL"),
        ("COMMENT ON RULE r ON users IS 'x'", "COMMENT ON RULE r ON users IS NULL"),
        (
            "ALTER MATERIALIZED VIEW m CLUSTER ON m_id",
            "ALTER MATERIALIZED VIEW m SET WITHOUT CLUSTER",
        ),
        (
            "ALTER MATERIALIZED VIEW m ALTER COLUMN id SET STATISTICS 7",
            "ALTER MATERIALIZED VIEW m ALTER COLUMN id SET STATISTICS -1",
        ),
        ("COMMENT ON INDEX m_id IS 'x'", "COMMENT ON INDEX m_id IS NULL"),
        ("ALTER TABLE posts DISABLE TRIGGER ALL", "ALTER TABLE posts ENABLE TRIGGER ALL"),
    ] {
        owner.make_ready("ADD COLUMN phone text");
        scene.admin().run(ddl);
        let refusal = owner.refused("SELECT bg_swap('users')");
        assert_eq!(refusal.code, "55000", "{ddl}: {refusal:?}");
        scene.admin().run(undo);
        owner.run("SELECT bg_abort('users')");
    }
}
