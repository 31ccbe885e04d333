//! What breaks the things that belong to a table when it is swapped, and definitions that change
//! meanwhile (docs/hazards.md, 53, 59 to 62, 64, 65). Each is a test named after it.

use std::time::Duration;

use crate::story::{Person, Stage, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

#[test]
fn trap_53_extended_statistics_come_along() {
    let scene = STAGE.users(1000);
    scene.admin().run(
        "CREATE STATISTICS users_name_email (dependencies, ndistinct) ON name, email FROM users;
         ALTER STATISTICS users_name_email OWNER TO owner;
         ANALYZE users",
    );
    let of =
        "SELECT stxrelid::regclass || ' ' || stxnamespace::regnamespace || ' ' || stxname || ' '
            || coalesce(stxstattarget, -1) || ' ' || pg_get_userbyid(stxowner) || ' ' || (d.stxoid IS NOT NULL)
        FROM pg_statistic_ext s LEFT JOIN pg_statistic_ext_data d ON d.stxoid = s.oid
        WHERE stxrelid = 'users'::regclass";
    let mut admin = scene.admin();
    let before = admin.list(of);
    assert_eq!(before, ["users public users_name_email -1 owner true"]);
    let mut owner = scene.owner();

    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    assert_eq!(admin.list(of), before);
    owner.revert();
    assert_eq!(admin.list(of), before);
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    assert_eq!(admin.list(of), before);
}

#[test]
fn trap_59_names_that_do_not_fit_are_refused_and_deployments_do_not_meet_on_their_way() {
    let scene = STAGE.empty();
    let long = "s".repeat(63);
    let mut admin = scene.admin();
    admin.run(&format!("CREATE SCHEMA {long}; GRANT USAGE ON SCHEMA {long} TO owner, app"));
    scene.table(&format!("{long}.users"), "id bigint PRIMARY KEY");
    let before = scene.inventory();
    let refusal = scene.owner().refused(&format!("SELECT bg_prepare('{long}.users')"));
    assert!(["42622", "0A000"].contains(&refusal.code.as_str()), "{refusal:?}");
    refusal.assert_names(&[&long]);
    refusal.assert_helps();
    before.assert_same(&scene.inventory());

    // Tables of one name, with indexes and sequences of one name, swapped in one transaction.
    let mut owner = scene.owner();
    for schema in ["one", "two"] {
        admin.run(&format!("CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO owner, app"));
        scene.table(&format!("{schema}.users"), "id bigserial PRIMARY KEY, name text UNIQUE");
        scene.app().run(&format!("INSERT INTO {schema}.users VALUES (1, '{schema}')"));
        owner.run(&format!("SELECT bg_prepare('{schema}.users', 'ADD COLUMN phone text')"));
        owner.run(&format!("CALL bg_run('{schema}.users')"));
    }
    owner.run("BEGIN; SELECT bg_swap('one.users'); SELECT bg_swap('two.users'); COMMIT");
    owner.run("SELECT bg_finish('one.users'); SELECT bg_finish('two.users')");
    for schema in ["one", "two"] {
        let sql = format!("SELECT name FROM {schema}.users WHERE phone IS NULL");
        assert_eq!(scene.app().text(&sql), schema);
        admin.run(&format!(
            "SELECT '{schema}.users_pkey'::regclass, '{schema}.users_id_seq'::regclass"
        ));
    }
}

#[test]
fn trap_60_the_planner_knows_the_new_table_before_it_is_live() {
    let scene = STAGE.users(3000);
    scene.admin().run("CREATE STATISTICS s (mcv) ON name, email FROM users");
    scene.owner().make_ready("ADD COLUMN phone text");
    let mut admin = scene.admin();

    assert_eq!(
        admin.int("SELECT reltuples FROM pg_class WHERE oid = 'public_blue.users'::regclass"),
        3000
    );
    assert_eq!(
        admin.int(
            "SELECT count(*) FROM pg_statistic WHERE starelid = 'public_blue.users'::regclass"
        ),
        5
    );
    assert_eq!(
        admin.int(
            "SELECT count(*) FROM pg_statistic_ext JOIN pg_statistic_ext_data ON stxoid = oid
             WHERE stxrelid = 'public_blue.users'::regclass"
        ),
        1
    );
    scene.owner().swap();
    let plan =
        scene.app().list("EXPLAIN SELECT * FROM users WHERE name = 'First Last7'").join("\n");
    assert!(plan.contains("Index") && plan.contains("rows=1 "), "{plan}");
}

#[test]
fn trap_61_a_grant_that_slips_in_is_not_left_on_the_old_table() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut reader = scene.app();
    reader.run("BEGIN; SELECT count(*) FROM users");

    let swap = scene.send("owner", "SELECT bg_swap('users')");
    scene.until_queued(1);
    // A grant on a column takes no lock and touches no row that the swap changes.
    scene.owner().run("GRANT SELECT (email) ON users TO mallory");
    reader.run("COMMIT");
    let (_, result) = swap.result();

    match result {
        Ok(_) => {
            scene.mallory().run("SELECT email FROM users LIMIT 1");
        }
        Err(refusal) => {
            refusal.assert_is("55000", &["users"]);
            let told = refusal.everything().to_lowercase();
            assert!(
                ["privilege", "grant", "email"].iter().any(|word| told.contains(word)),
                "{refusal:?}"
            );
            owner.run("REVOKE SELECT (email) ON users FROM mallory");
            begin_again_or_go_on(&mut owner);
            owner.swap();
        }
    }
    // A whole one in between is noticed, too.
    owner.revert();
    owner.run("GRANT SELECT ON users TO mallory");
    match owner.try_run("SELECT bg_swap('users')") {
        Ok(()) => scene.mallory().run("SELECT phone FROM users LIMIT 1"),
        Err(refusal) => refusal.assert_is("55000", &["users"]),
    }
}

/// A change of a column may count although it was undone: the column may have been rewritten.
fn begin_again_or_go_on(owner: &mut Person) {
    if let Err(refusal) = owner.try_run("CALL bg_run('users')") {
        assert_eq!(refusal.code, "55000", "{refusal:?}");
        assert!(refusal.hint.contains("bg_abort"), "{refusal:?}");
        owner.run("SELECT bg_abort('users')");
        owner.make_ready("ADD COLUMN phone text");
    }
}

#[test]
fn trap_62_a_definition_that_changed_since_prepare_is_named() {
    for (ddl, word, undo) in [
        ("CREATE INDEX late ON users (created_at)", "late", "DROP INDEX late"),
        ("CREATE UNIQUE INDEX late ON users (lower(email))", "late", "DROP INDEX late"),
        ("DROP INDEX users_name", "users_name", "CREATE INDEX users_name ON users (name)"),
        ("ALTER TABLE users ADD COLUMN late int", "late", ""),
        ("ALTER TABLE users DROP COLUMN created_at", "created_at", ""),
        (
            "ALTER TABLE users RENAME COLUMN name TO late",
            "late",
            "ALTER TABLE users RENAME COLUMN late TO name",
        ),
        ("ALTER TABLE users ALTER COLUMN name TYPE varchar", "name", ""),
        (
            "ALTER TABLE users ALTER COLUMN name SET NOT NULL",
            "name",
            "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
        ),
        (
            "ALTER TABLE users ALTER COLUMN name SET DEFAULT 'x'",
            "name",
            "ALTER TABLE users ALTER COLUMN name DROP DEFAULT",
        ),
        (
            "ALTER TABLE users ADD CONSTRAINT late CHECK (id > 0)",
            "late",
            "ALTER TABLE users DROP CONSTRAINT late",
        ),
        (
            "ALTER TABLE users ADD CONSTRAINT late FOREIGN KEY (id) REFERENCES other",
            "late",
            "ALTER TABLE users DROP CONSTRAINT late",
        ),
        (
            "CREATE TRIGGER late AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION nothing()",
            "late",
            "DROP TRIGGER late ON users",
        ),
        (
            "CREATE RULE late AS ON DELETE TO users DO ALSO SELECT 1",
            "late",
            "DROP RULE late ON users",
        ),
        ("CREATE POLICY late ON users USING (true)", "late", "DROP POLICY late ON users"),
        ("CREATE VIEW late AS SELECT * FROM users", "late", "DROP VIEW late"),
        ("CREATE VIEW late AS SELECT * FROM public_blue.users", "late", "DROP VIEW late"),
        (
            "CREATE FUNCTION late(users) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "late",
            "DROP FUNCTION late",
        ),
        (
            "CREATE FUNCTION late(public_blue.users) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "late",
            "DROP FUNCTION late",
        ),
        ("CREATE TABLE late (r bigint REFERENCES users)", "late", "DROP TABLE late"),
        ("CREATE TABLE late (r bigint REFERENCES public_blue.users)", "late", "DROP TABLE late"),
        ("CREATE TABLE late () INHERITS (users)", "late", "DROP TABLE late"),
        ("CREATE STATISTICS late ON name, email FROM users", "late", "DROP STATISTICS late"),
        ("ALTER TABLE users OWNER TO other_owner", "owner", "ALTER TABLE users OWNER TO owner"),
        (
            "ALTER TABLE users SET (fillfactor = 50)",
            "storage parameter",
            "ALTER TABLE users RESET (fillfactor)",
        ),
        (
            "ALTER TABLE users REPLICA IDENTITY FULL",
            "replica identity",
            "ALTER TABLE users REPLICA IDENTITY DEFAULT",
        ),
        ("ALTER TABLE public_blue.users DROP COLUMN phone", "phone", ""),
        ("CREATE INDEX late ON public_blue.users (phone)", "late", "DROP INDEX public_blue.late"),
        ("CREATE PUBLICATION late FOR TABLE users", "late", "DROP PUBLICATION late"),
        ("CREATE PUBLICATION late FOR ALL TABLES", "publi", "DROP PUBLICATION late"),
    ] {
        let scene = STAGE.users(20);
        let mut admin = scene.admin();
        admin.run(
            "CREATE TABLE other (id bigint PRIMARY KEY); INSERT INTO other SELECT generate_series(1, 20);
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        );
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        // By whom does not matter, so by the one who may everything.
        if let Err(refusal) = admin.try_run(ddl) {
            // Refused for blue is an answer as well.
            assert!(ddl.contains("public_blue"), "{ddl}: {refusal:?}");
            continue;
        }
        let mut operator = if ddl.contains("OWNER TO") { scene.admin() } else { scene.owner() };

        let swap = operator.try_run("SELECT bg_swap('users')");
        let Err(refusal) = swap else { panic!("swapped in spite of {ddl}") };
        assert_eq!(refusal.code, "55000", "{ddl}: {refusal:?}");
        refusal.assert_helps();
        assert!(
            refusal.everything().to_lowercase().contains(word),
            "\"{word}\" is not named after {ddl}: {refusal:?}"
        );
        assert_eq!(scene.status("phase"), "ready", "{ddl}");
        // Nothing is dropped along with blue that hangs on it.
        if ddl.contains("late") && ddl.contains("public_blue") && !ddl.contains("INDEX") {
            let refusal = operator.refused("SELECT bg_abort('users')");
            assert!(refusal.everything().contains("late"), "{ddl}: {refusal:?}");
        }
        if undo.is_empty() {
            operator.run("SELECT bg_abort('users')");
            let left = scene.inventory();
            assert_eq!(left.with("_blue"), [""; 0], "{ddl}");
        } else {
            admin.run(undo);
            if ddl.contains("COLUMN") {
                begin_again_or_go_on(&mut owner);
            }
            if let Err(refusal) = owner.try_run("CALL bg_run('users', 'swapped')") {
                panic!("undone, but still refused after {ddl}: {refusal:?}");
            }
        }
    }
}

#[test]
fn trap_64_constraints_are_added_although_somebody_holds_blue_for_a_while() {
    let scene = STAGE.users(1000);
    scene.with_gate();
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN passed boolean',
            forward => '{"passed": "public.gate(id, 500)"}')"#,
    );
    let gate = scene.close_gate();
    let run = scene.send("owner", "CALL bg_run('users')");
    scene.until_at_gate();
    // From here on: it lets rows and plain indexes in, but not the constraints.
    let mut holder = scene.admin();
    holder.run("BEGIN; LOCK TABLE public_blue.users IN ACCESS SHARE MODE");
    drop(gate);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!run.is_done(), "it went by a lock");
    assert_eq!(scene.admin().int("SELECT count(*) FROM users WHERE name IS NOT NULL"), 1000);
    holder.run("COMMIT");
    run.done();

    assert_eq!(scene.status("phase"), "ready");
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_65_deferred_constraints_are_copied_synced_and_stay_deferred() {
    for key in ["PRIMARY KEY", "PRIMARY KEY DEFERRABLE INITIALLY DEFERRED"] {
        let scene = STAGE.empty();
        scene.table(
            "users",
            &format!(
                "id bigint {key}, name text,
                 email text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED, n int NOT NULL UNIQUE"
            ),
        );
        let mut app = scene.app();
        app.run("INSERT INTO users SELECT n, 'n', 'user' || n, n FROM generate_series(1, 100) n");
        let constraints = "SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid = 'users'::regclass ORDER BY 1";
        let before = scene.admin().list(constraints);
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");

        app.run(
            "UPDATE users SET email = 'user' || (CASE id WHEN 1 THEN 2 ELSE 1 END) WHERE id <= 2",
        );
        app.run("UPDATE users SET email = 'user' || (id % 100 + 1) WHERE id > 50;
                 BEGIN; UPDATE users SET email = 'user200' WHERE id = 50; UPDATE users SET email = 'user51' WHERE id = 49;
                 UPDATE users SET email = 'user49' WHERE id = 100; COMMIT");
        app.run("UPDATE users SET id = -id; UPDATE users SET id = -id WHERE id < -1; DELETE FROM users WHERE id = 7;
                 INSERT INTO users VALUES (7, 'new', 'user7', 7)");
        owner.sync();
        assert_eq!(scene.status("misfits"), "0");
        scene.assert_in_step("id, name, email, n");
        owner.swap();

        assert_eq!(scene.admin().list(constraints), before);
        // Legal in one transaction as before.
        app.run("BEGIN; UPDATE users SET email = 'user9' WHERE id = 8; UPDATE users SET email = 'user8' WHERE id = 9; COMMIT");
        assert_eq!(app.refused("UPDATE users SET email = 'user9' WHERE id = 10").code, "23505");
        owner.revert();
        assert_eq!(app.text("SELECT email FROM users WHERE id = 8"), "user9");
        assert_eq!(scene.admin().list(constraints), before);
    }
}

#[test]
fn trap_62_a_rewrite_that_changes_values_is_noticed() {
    for ddl in [
        "ALTER TABLE users ALTER COLUMN n TYPE int USING n + 1000",
        "ALTER TABLE users ALTER COLUMN email TYPE text USING upper(email)",
    ] {
        let scene = STAGE.empty();
        scene.table("users", "id bigint PRIMARY KEY, n int, email text");
        scene.admin().run("INSERT INTO users VALUES (1, 1, 'a')");
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");

        owner.run(ddl);

        owner.refused("CALL bg_run('users', 'swapped')").assert_is("55000", &["users"]);
        owner.run("SELECT bg_abort('users')");
    }
}

#[test]
fn the_callers_settings_do_not_leak_into_the_new_table() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    admin.run("SET allow_in_place_tablespaces = on");
    admin.run(&format!("CREATE TABLESPACE space_{} LOCATION ''", scene.database));
    admin.run(&format!("GRANT CREATE ON TABLESPACE space_{} TO owner", scene.database));
    let mut owner = scene.owner();
    owner.run(&format!(
        "SET default_tablespace = space_{}; SET default_toast_compression = 'pglz'",
        scene.database
    ));
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();

    let elsewhere = "SELECT string_agg(relname, ', ') FROM pg_class WHERE reltablespace <> 0
        AND relnamespace = 'public'::regnamespace";
    assert_eq!(admin.text(elsewhere), "");
    owner.run("SELECT bg_finish('users')");
    admin.run(&format!("DROP TABLESPACE space_{}", scene.database));
}

#[test]
fn comments_and_statistics_targets_of_parts_come_along() {
    let scene = STAGE.users(20);
    scene.admin().run(
        "COMMENT ON TABLE users IS 'the table'; COMMENT ON COLUMN users.name IS 'the column';
         COMMENT ON CONSTRAINT users_pkey ON users IS 'the key';
         COMMENT ON CONSTRAINT users_email_key ON users IS 'the constraint';
         COMMENT ON INDEX users_name IS 'the index';
         CREATE INDEX users_lower ON users (lower(name));
         ALTER INDEX users_lower ALTER COLUMN 1 SET STATISTICS 77",
    );
    let all = "SELECT string_agg(coalesce(objoid::regclass::text, '') || ' ' || description, ', ' ORDER BY description)
            || (SELECT attstattarget FROM pg_attribute WHERE attrelid = 'users_lower'::regclass)
        FROM pg_description WHERE description LIKE 'the %' AND classoid IN ('pg_class'::regclass)";
    let constraints = "SELECT string_agg(conname || ' ' || obj_description(oid, 'pg_constraint'), ', ' ORDER BY conname)
        FROM pg_constraint WHERE conrelid = 'users'::regclass";
    let mut admin = scene.admin();
    let before = (admin.text(constraints), admin.text(all));
    let mut owner = scene.owner();

    match owner.try_run("SELECT bg_prepare('users', 'ADD COLUMN phone text')") {
        // What is not carried yet is named.
        Err(refusal) => refusal.assert_is("0A000", &["users"]),
        Ok(()) => {
            owner.sync();
            owner.swap();
            owner.run("SELECT bg_finish('users')");
            assert_eq!((admin.text(constraints), admin.text(all)), before);
        }
    }
}
