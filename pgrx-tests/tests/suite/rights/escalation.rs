//! What an owner of a table could try to become more than that (docs/hazards.md, 76, 79, 141, 142). Each
//! is a test named after it.

use crate::story::{Errand, Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// `lair`, where owner has all rights and waits for a superuser: `lair.up()` uses the occasion.
fn with_lair(scene: &Scene) {
    scene.admin().run("CREATE SCHEMA lair AUTHORIZATION owner");
    scene.owner().run(
        "CREATE FUNCTION lair.up() RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
             IF current_user <> 'owner' AND current_user <> 'app' THEN
                 EXECUTE 'ALTER ROLE owner SUPERUSER';
             END IF;
         END $$;
         CREATE FUNCTION lair.trigger() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM lair.up(); RETURN NULL; END $$;
         CREATE FUNCTION lair.predicate() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN PERFORM lair.up(); RETURN true; END $$;
         CREATE FUNCTION lair.value(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN PERFORM lair.up(); RETURN t; END $$",
    );
}

#[track_caller]
fn assert_still_an_owner(scene: &Scene, after: &str) {
    let mut admin = scene.admin();
    let is_super = admin.text("SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'");
    if is_super == "t" {
        admin.run("ALTER ROLE owner NOSUPERUSER");
        panic!("{after}: the owner became superuser");
    }
}

#[test]
fn trap_79_triggers_on_blue_do_not_fire_as_the_extension() {
    let scene = STAGE.empty();
    with_lair(&scene);
    let mut owner = scene.owner();
    owner.run(
        "CREATE TABLE lair.users (id int PRIMARY KEY, v text);
         INSERT INTO lair.users SELECT n, 'v' FROM generate_series(1, 100) n;
         CREATE TABLE lair.users_new (id int PRIMARY KEY, v text, w text)",
    );
    let trap =
        "CREATE TRIGGER t BEFORE TRUNCATE ON lair_blue.users EXECUTE FUNCTION lair.trigger()";
    let row_trap = "CREATE TRIGGER r AFTER INSERT OR UPDATE OR DELETE ON lair_blue.users
        FOR EACH ROW EXECUTE FUNCTION lair.trigger()";

    owner.run("SELECT bg_prepare('lair.users', target => 'lair.users_new')");
    // Whether it may make one at all is another matter.
    let _ = owner.try_run(trap);
    let _ = owner.try_run(row_trap);
    let _ = owner.try_run("SELECT bg_backfill('lair.users')");
    assert_still_an_owner(&scene, "bg_backfill");
    let _ = owner.try_run("SELECT bg_abort('lair.users')");
    assert_still_an_owner(&scene, "bg_abort of a target");
    let _ = owner.try_run("DROP TRIGGER t ON lair.users_new; DROP TRIGGER r ON lair.users_new");
    let _ = owner.try_run("SELECT bg_abort('lair.users')");

    // In the middle of a sync that follows a TRUNCATE, and has to wait for its lock.
    owner.run("SELECT bg_prepare('lair.users', 'ADD COLUMN w text'); ");
    owner.run("CALL bg_run('lair.users')");
    owner.run("TRUNCATE lair.users");
    let mut ambush = scene.owner();
    if ambush.try_run(&format!("BEGIN; {trap}")).is_ok() {
        let run = scene.send("owner", "CALL bg_run('lair.users')");
        std::thread::sleep(std::time::Duration::from_millis(500));
        ambush.run("COMMIT");
        let _ = run.result();
    }
    assert_still_an_owner(&scene, "following a TRUNCATE");
}

#[test]
fn trap_79_index_predicates_and_expressions_are_not_evaluated_as_the_extension() {
    let scene = STAGE.empty();
    with_lair(&scene);
    let mut owner = scene.owner();
    owner.run(
        "CREATE TABLE lair.users (id int PRIMARY KEY, v text DEFAULT lair.value('d'), CHECK (lair.predicate()));
         CREATE INDEX ON lair.users (v) WHERE lair.predicate();
         CREATE INDEX ON lair.users (lair.value(v));
         CREATE STATISTICS lair.s ON lair.value(v), id FROM lair.users;
         CREATE TABLE lair.users_new (LIKE lair.users INCLUDING ALL);
         INSERT INTO lair.users SELECT n, 'v' FROM generate_series(1, 100) n;
         INSERT INTO lair.users_new VALUES (1, 'x'); DELETE FROM lair.users_new",
    );
    assert_still_an_owner(&scene, "nothing yet");
    for arguments in [
        "'lair.users'",
        "'lair.users', 'ADD COLUMN w text DEFAULT lair.value(''w''), ADD CHECK (lair.predicate())'",
        "'lair.users', target => 'lair.users_new'",
    ] {
        let mut caller: Person = owner;
        let _ = caller.try_run(&format!("SELECT * FROM bg_check({arguments})"));
        assert_still_an_owner(&scene, "bg_check");
        caller.run(&format!("SELECT bg_prepare({arguments})"));
        assert_still_an_owner(&scene, "bg_prepare");
        for call in [
            "CALL bg_run('lair.users')",
            "UPDATE lair.users SET v = 'changed' WHERE id < 50",
            "CALL bg_run('lair.users', 'swapped')",
            "SELECT * FROM bg_status('lair.users')",
            "UPDATE lair.users SET v = 'again' WHERE id < 50",
            "CALL bg_run('lair.users', 'swapped')",
            "SELECT bg_revert('lair.users')",
            "SELECT bg_abort('lair.users')",
        ] {
            caller.run(call);
            assert_still_an_owner(&scene, call);
        }
        owner = caller;
    }
    // One transaction, on an empty table: other questions are asked there.
    owner.run(
        "TRUNCATE lair.users; BEGIN; SELECT bg_prepare('lair.users'); SELECT bg_backfill('lair.users');
         SELECT bg_swap('lair.users'); SELECT bg_finish('lair.users'); COMMIT",
    );
    assert_still_an_owner(&scene, "all in one transaction");
}

#[test]
fn trap_76_a_key_column_of_another_type_does_not_bring_the_server_down() {
    let scene = STAGE.empty();
    scene.table("users", "id text PRIMARY KEY, name text");
    scene.app().run("INSERT INTO users VALUES ('1', 'a'), ('140737488355327', 'b')");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");

    let altered = owner.try_run("ALTER TABLE users ALTER COLUMN id TYPE bigint USING id::bigint");

    let mut app = scene.app();
    let written = app.try_run("UPDATE users SET name = 'c'");
    // An error, or a broken capture that is found: but the server stands, and nothing is read.
    if let Err(refusal) = &written {
        assert!(!refusal.code.is_empty() && refusal.code != "57P02", "{refusal:?}");
    }
    if altered.is_ok() {
        let mut owner = scene.owner();
        owner.refused("CALL bg_run('users', 'swapped')");
        owner.run("SELECT bg_abort('users')");
        app.run("UPDATE users SET name = 'd'");
    }
}

#[test]
fn bg_blockers_does_not_show_what_others_say() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut admin = scene.admin();
    admin.run("BEGIN; SELECT FROM users");
    let said = Errand::start(admin, "SELECT pg_sleep(1), 'password hunter2'");
    scene.until("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%hunter2%' AND state = 'active' AND pid <> pg_backend_pid())");

    let blockers = owner.list("SELECT b::text FROM bg_blockers('users') b");
    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '200 ms')");

    assert!(!blockers.is_empty());
    assert!(!blockers.concat().contains("hunter2"), "{blockers:?}");
    assert!(!refusal.everything().contains("hunter2"), "{refusal:?}");
    said.done();
}

#[test]
fn a_target_that_is_a_strangers_is_refused_before_it_is_locked() {
    let scene = STAGE.users(10);
    scene.admin().run("CREATE TABLE secret (id bigint PRIMARY KEY)");
    let mut reader = scene.admin();
    reader.run("BEGIN; SELECT FROM secret; SELECT FROM pg_authid");
    let mut owner = scene.owner();
    owner.run("SET bluegreen.retry_for = '20s'");

    for target in ["secret", "pg_authid"] {
        for verb in ["SELECT bg_prepare", "SELECT FROM bg_check"] {
            let start = std::time::Instant::now();
            let said = owner.try_run(&format!("{verb}('users', target => '{target}')"));
            if verb == "SELECT bg_prepare" {
                let refusal = said.unwrap_err();
                assert!(["42501", "42809"].contains(&refusal.code.as_str()), "{refusal:?}");
                refusal.assert_helps();
            }
            let took = start.elapsed();
            assert!(took < std::time::Duration::from_secs(5), "{verb} {target}: {took:?}");
        }
    }
}

/// A view of a superuser's over the owner's table, which calls a function by its name.
fn superusers_view(scene: &Scene) {
    scene.admin().run(
        "CREATE SCHEMA mon; CREATE SCHEMA a; GRANT ALL ON SCHEMA a TO owner;
         CREATE FUNCTION mon.f(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
         CREATE TABLE mon.sec (id bigint); ALTER TABLE users SET SCHEMA a;
         GRANT SELECT ON a.users TO app;
         CREATE MATERIALIZED VIEW mon.v AS
             SELECT u.id, mon.f(u.name) AS f, lower(u.name) AS l FROM a.users u LEFT JOIN mon.sec USING (id);
         CREATE VIEW mon.w AS SELECT u.id, mon.f(u.name) AS f FROM a.users u;
         CREATE TABLE mon.orders (id bigint, who text); ALTER TABLE mon.orders ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON mon.orders USING (mon.f(who) = 'x' AND id IN (SELECT u.id FROM a.users u))",
    );
}

/// The owner's function that makes them a superuser, if a superuser runs it.
fn trojan(name: &str, argument: &str) -> String {
    format!(
        "CREATE FUNCTION {name}({argument}) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
         $$ BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; RETURN 'x';
            EXCEPTION WHEN OTHERS THEN RETURN sqlerrm; END $$"
    )
}

fn nobody_rose(scene: &Scene) {
    let sql =
        "SELECT count(*) FROM pg_roles WHERE rolname IN ('owner', 'mallory', 'app') AND rolsuper";
    assert_eq!(scene.admin().int(sql), 0, "somebody has become a superuser");
}

#[test]
fn trap_79_names_in_others_views_are_not_found_in_the_owners_schema() {
    // Put there between prepare and run.
    for plant in [trojan("a.f", "text"), "CREATE TABLE a.sec (id bigint)".to_owned()] {
        let scene = STAGE.users(10);
        superusers_view(&scene);
        let mut owner = scene.owner();
        owner.run("SELECT bg_prepare('a.users')");
        owner.run(&plant);
        scene.admin().refused("CALL bg_run('a.users')").assert_is("0A000", &["mon.", "a."]);
        nobody_rose(&scene);
        owner.run("SELECT bg_abort('a.users')");
    }
    // A better match after a change of type.
    let scene = STAGE.users(10);
    superusers_view(&scene);
    let mut owner = scene.owner();
    owner.run(&trojan("a.lower", "varchar"));
    let refusal = owner.refused("SELECT bg_prepare('a.users', 'ALTER COLUMN name TYPE varchar')");
    refusal.assert_is("0A000", &["mon.v", "a.lower"]);
    nobody_rose(&scene);

    // In the swap: the policy of another role's table.
    let scene = STAGE.users(10);
    superusers_view(&scene);
    let mut admin = scene.admin();
    admin.run("DROP MATERIALIZED VIEW mon.v; DROP VIEW mon.w");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('a.users', 'ADD COLUMN phone text')");
    owner.run("CALL bg_run('a.users')");
    owner.run(&trojan("a.f", "text"));
    owner.run("CREATE TABLE a.orders (id bigint, who text)");
    admin.run("SELECT bg_swap('a.users')");
    let policy = "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = 'p'";
    admin.run("SET search_path = pg_catalog");
    let said = admin.text(policy);
    assert!(said.contains("mon.f(") && said.contains("a.users"), "{said}");
    nobody_rose(&scene);
}

#[test]
fn trap_79_nothing_stays_in_the_deployments_own_schema() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run("CREATE SCHEMA a; GRANT ALL ON SCHEMA a TO owner; ALTER TABLE users SET SCHEMA a");
    let mut owner = scene.owner();
    owner.run(
        "CREATE FUNCTION a.plant() RETURNS int LANGUAGE plpgsql AS $$
         DECLARE place text;
         BEGIN
             SELECT max(nspname) INTO place FROM pg_catalog.pg_namespace WHERE nspname ~ '^bluegreen_[0-9]+$';
             IF place IS NOT NULL THEN
                 EXECUTE 'CREATE FUNCTION ' || place || '.f(text) RETURNS text LANGUAGE sql AS ''SELECT $1''';
             END IF;
             RETURN 1;
         END $$;
         CREATE FUNCTION a.st() RETURNS int LANGUAGE sql STABLE AS 'SELECT a.plant()'",
    );
    let before = scene.inventory();
    owner
        .refused("SELECT bg_prepare('a.users', 'ADD COLUMN c int DEFAULT a.st()')")
        .assert_is("0A000", &["function", "own schema"]);
    let left = "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                 WHERE n.nspname LIKE 'bluegreen\\_%' AND p.proname = 'f'";
    assert_eq!(admin.int(left), 0);
    before.assert_same(&scene.inventory());
}

#[test]
fn trap_79_rows_that_refer_to_misfits_are_not_read_as_the_extension() {
    let scene = STAGE.empty();
    with_lair(&scene);
    let mut owner = scene.owner();
    owner.run(
        "CREATE TABLE lair.boxes (id int PRIMARY KEY, size int);
         CREATE TABLE lair.items (id int PRIMARY KEY, box int REFERENCES lair.boxes, v text);
         CREATE INDEX ON lair.items (box) WHERE lair.predicate();
         CREATE INDEX ON lair.items (lair.value(v));
         INSERT INTO lair.boxes VALUES (1, 1); INSERT INTO lair.items VALUES (1, 1, 'v')",
    );
    owner.run("SELECT bg_prepare('lair.boxes', 'ALTER COLUMN size TYPE bigint')");
    owner.run("CALL bg_run('lair.boxes', 'swapped')");
    owner.run(
        "INSERT INTO lair.boxes VALUES (3, 3000000000); INSERT INTO lair.items VALUES (30, 3, 'w')",
    );
    assert_still_an_owner(&scene, "nothing yet");

    owner.refused("SELECT bg_revert('lair.boxes', misfits => 'set_aside')");
    assert_still_an_owner(&scene, "a revert that is refused");
    owner.run("SELECT bg_revert('lair.boxes', misfits => 'set_aside_with_children')");
    assert_still_an_owner(&scene, "a revert that sets children aside");
    assert_eq!(owner.int("SELECT count(*) FROM lair.items"), 1);
}
