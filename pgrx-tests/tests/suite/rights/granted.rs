//! What breaks rights, and what is granted on blue (docs/hazards.md, 24, 30, 75 to 80, 82): each is a
//! test named after it.

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

#[test]
fn trap_24_default_privileges_do_not_leak_onto_what_we_make() {
    let scene = STAGE.empty();
    let mut admin = scene.admin();
    for whose in ["", "FOR ROLE owner "] {
        for object in ["TABLES", "SEQUENCES", "FUNCTIONS", "SCHEMAS"] {
            admin.run(&format!(
                "ALTER DEFAULT PRIVILEGES {whose}GRANT ALL ON {object} TO mallory, PUBLIC"
            ));
        }
        admin.run(&format!(
            "ALTER DEFAULT PRIVILEGES {whose}IN SCHEMA public GRANT ALL ON TABLES TO mallory"
        ));
    }
    scene.table("users", "id bigserial PRIMARY KEY, name text, email text");
    admin.run(
        "REVOKE ALL ON users FROM mallory, PUBLIC; REVOKE ALL ON SEQUENCE users_id_seq FROM mallory, PUBLIC;
         GRANT UPDATE (name), SELECT (email) ON users TO other_owner;
         GRANT SELECT ON users TO app WITH GRANT OPTION; GRANT USAGE ON SEQUENCE users_id_seq TO app",
    );
    let grants =
        "SELECT array_to_string(ARRAY(SELECT a::text FROM unnest(relacl) a ORDER BY 1), ' ')
            || ' / ' || coalesce((SELECT string_agg(attname || attacl::text, ' ' ORDER BY attname)
                FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL), '')
        FROM pg_class c WHERE oid = ";
    let table = format!("{grants} 'users'::regclass");
    let sequence = format!("{grants} 'users_id_seq'::regclass");
    let before = (admin.text(&table), admin.text(&sequence));
    assert!(!before.0.contains("mallory"), "{before:?}");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");

    let open = admin.list(
        "SELECT c.oid::regclass || ' to ' || r.rolname || ' ' || p FROM pg_class c,
             pg_roles r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) p
         WHERE r.rolname = 'mallory' AND c.relkind IN ('r', 'p', 'v')
             AND c.relnamespace IN ('bluegreen'::regnamespace, 'public_blue'::regnamespace)
             AND has_table_privilege(r.oid, c.oid, p)
             -- What bg_history and its like read, which has the caller's own deployments only.
             AND NOT (c.relkind = 'v' AND c.relname LIKE 'own\\_%' AND p = 'SELECT')",
    );
    assert!(open.is_empty(), "{open:#?}");
    assert_eq!(admin.text("SELECT has_schema_privilege('mallory', 'public_blue', 'CREATE')"), "f");
    assert_eq!(
        admin.text(
            "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'bluegreen%'
        AND has_schema_privilege('mallory', oid, 'CREATE')"
        ),
        "0"
    );
    let blue = admin.text(&format!("{grants} 'public_blue.users'::regclass"));
    assert!(!blue.contains("mallory"), "{blue}");
    owner.swap();
    assert_eq!((admin.text(&table), admin.text(&sequence)), before);
    owner.revert();
    assert_eq!((admin.text(&table), admin.text(&sequence)), before);
}

#[test]
fn trap_30_a_private_option_of_the_server_is_not_copied() {
    let scene = STAGE.users(10);
    scene.admin().run(
        "UPDATE pg_attribute SET attoptions = '{pg_attver=1}'
         WHERE attrelid = 'users'::regclass AND attname = 'name'",
    );
    let mut owner = scene.owner();

    owner.make_ready("ADD COLUMN phone text");
    owner.swap();

    // The server itself may have put one there.
    let options = scene.admin().text(
        "SELECT coalesce(attoptions::text, '') FROM pg_attribute
         WHERE attrelid = 'users'::regclass AND attname = 'name'",
    );
    assert_ne!(options, "{pg_attver=1}");
}

/// Everything that a verb can be.
const VERBS: [&str; 8] = [
    "SELECT bg_prepare('users')",
    "SELECT * FROM bg_check('users')",
    "SELECT bg_backfill('users')",
    "CALL bg_run('users')",
    "SELECT bg_swap('users')",
    "SELECT bg_revert('users')",
    "SELECT bg_finish('users')",
    "SELECT bg_abort('users')",
];

#[test]
fn trap_75_every_verb_is_the_owners_and_no_other_right_is_needed() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    let rights = "SELECT concat_ws(' ', has_schema_privilege('owner', 'public', 'CREATE'),
        has_database_privilege('owner', current_database(), 'CREATE'),
        has_schema_privilege('owner', 'bluegreen', 'CREATE'), rolsuper, rolcreaterole)
        FROM pg_roles WHERE rolname = 'owner'";
    assert_eq!(admin.text(rights), "f f f f f");
    for verb in VERBS {
        for stranger in ["mallory", "app"] {
            let refusal = scene.person(stranger).refused(verb);
            assert_eq!(refusal.code, "42501", "{verb}: {refusal:?}");
            refusal.assert_names(&["users"]);
            refusal.assert_helps();
        }
    }
    assert!(scene.inventory().with("_blue").is_empty());

    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    for verb in VERBS {
        let refusal = scene.mallory().refused(verb);
        assert_eq!(refusal.code, "42501", "{verb}: {refusal:?}");
    }
    owner.swap();
    owner.revert();
    owner.swap();
    for verb in &VERBS[2..] {
        assert_eq!(scene.mallory().refused(verb).code, "42501", "{verb}");
    }
    // A member of the owning role is an owner; a superuser may everything.
    admin.run("CREATE ROLE member LOGIN IN ROLE owner");
    assert_eq!(scene.person("member").text("SELECT bg_revert('users')"), "ready");
    owner.run("SELECT bg_abort('users')");
    admin.run("SELECT bg_prepare('users'); SELECT bg_abort('users')");
    assert_eq!(admin.text(rights), "f f f f f");
    admin.run("DROP ROLE member");
}

#[test]
fn trap_76_the_capture_function_is_no_way_into_other_tables() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut admin = scene.admin();
    admin.run("CREATE SCHEMA lair AUTHORIZATION mallory");
    let mut mallory = scene.mallory();
    mallory.run("CREATE TABLE lair.trap (id bigint, a int, b text)");
    let functions = admin.list(
        "SELECT oid::regprocedure FROM pg_proc WHERE prorettype = 'trigger'::regtype
             AND pronamespace = 'bluegreen'::regnamespace",
    );
    assert!(!functions.is_empty());
    for function in &functions {
        let name = function.trim_end_matches("()");
        let call = format!("FOR EACH ROW EXECUTE FUNCTION {name}");
        assert_eq!(
            mallory.refused(&format!("CREATE TRIGGER t AFTER INSERT ON lair.trap {call}()")).code,
            "42501"
        );
        assert_eq!(admin.refused(&format!("SELECT {function}")).code, "0A000");
        // Also where a superuser was tricked into it, with arguments of all sorts.
        let log =
            "SELECT min(oid)::text FROM pg_class WHERE relname LIKE 'forward%' AND relkind = 'r'";
        let log = admin.text(log);
        for (when, arguments) in [
            ("AFTER INSERT", ""),
            ("AFTER INSERT OR UPDATE OR DELETE", "'1'"),
            ("AFTER UPDATE", log.as_str()),
            ("BEFORE INSERT", "'bluegreen.deployment'"),
        ] {
            admin.run(&format!("CREATE TRIGGER t {when} ON lair.trap {call}({arguments})"));
            // Errors are as good as nothing; a crash is not.
            let _ = mallory.try_run("INSERT INTO lair.trap VALUES (1, 2, 'x')");
            let _ = mallory.try_run("UPDATE lair.trap SET id = 7, b = repeat('y', 5000)");
            let _ = mallory.try_run("DELETE FROM lair.trap");
            admin.run("DROP TRIGGER t ON lair.trap");
        }
    }
    // Nothing of it is in anybody's log, and the log is not the table owner's.
    assert_eq!(scene.status("pending_changes"), "0");
    owner.sync();
    scene.assert_in_step("id, name, email");
    let owners = admin.list(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
         WHERE relnamespace = 'bluegreen'::regnamespace",
    );
    assert_eq!(owners, ["postgres"]);
}

#[test]
fn trap_77_the_blue_schema_is_nobodys_but_the_extensions() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE accounts (id bigint PRIMARY KEY); ALTER TABLE accounts OWNER TO other_owner",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut other = scene.person("other_owner");
    other.run("SELECT bg_prepare('accounts', 'ADD COLUMN note text')");

    assert_eq!(
        admin.text(
            "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public_blue'"
        ),
        "postgres"
    );
    for (who, sql) in [
        (&mut other, "DROP TABLE public_blue.users"),
        (&mut owner, "DROP TABLE public_blue.accounts"),
    ] {
        assert_eq!(who.refused(sql).code, "42501");
        assert_eq!(who.refused("DROP SCHEMA public_blue CASCADE").code, "42501");
        assert_eq!(who.refused("CREATE TABLE public_blue.mine ()").code, "42501");
        assert_eq!(who.refused("ALTER SCHEMA public_blue RENAME TO mine").code, "42501");
    }
    // The schema goes with its last table.
    owner.run("SELECT bg_abort('users')");
    assert_eq!(admin.text("SELECT to_regclass('public_blue.accounts')"), "public_blue.accounts");
    other.run("SELECT bg_abort('accounts')");
    assert_eq!(admin.int("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%blue'"), 0);
}

#[test]
fn trap_78_blue_can_only_be_read_until_the_swap() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run(
        "GRANT ALL ON users TO mallory WITH GRANT OPTION;
         CREATE SCHEMA lair AUTHORIZATION mallory",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut mallory = scene.mallory();
    mallory.run("SELECT * FROM public_blue.users");
    mallory.run(
        "CREATE FUNCTION lair.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    );
    for sql in [
        "CREATE TRIGGER t BEFORE INSERT ON public_blue.users FOR EACH ROW EXECUTE FUNCTION lair.f()",
        "INSERT INTO public_blue.users (id, email) VALUES (99, 'x')",
        "UPDATE public_blue.users SET name = 'x'",
        "DELETE FROM public_blue.users",
        "TRUNCATE public_blue.users",
        "CREATE TABLE lair.t (id bigint REFERENCES public_blue.users)",
    ] {
        assert_eq!(mallory.refused(sql).code, "42501", "{sql}");
    }
    // The owner and a superuser have the privilege; the guard stops their hand.
    for who in [&mut owner, &mut admin] {
        for sql in [
            "INSERT INTO public_blue.users (id, email) VALUES (99, 'x')",
            "UPDATE public_blue.users SET name = 'x'",
            "DELETE FROM public_blue.users",
            "TRUNCATE public_blue.users",
        ] {
            let refusal = who.refused(sql);
            refusal.assert_names(&["users"]);
            refusal.assert_helps();
        }
    }
    owner.swap();
    // Everything that was granted is there again, and on what is blue now nothing of it is.
    mallory.run("INSERT INTO users (id, email) VALUES (99, 'x'); UPDATE users SET phone = 'y' WHERE id = 99");
    assert_eq!(
        admin.text("SELECT has_table_privilege('mallory', 'users', 'TRIGGER WITH GRANT OPTION')"),
        "t"
    );
    let refusal = mallory.refused("UPDATE public_blue.users SET name = 'x'");
    assert!(!refusal.code.is_empty());
    for who in [&mut owner, &mut admin] {
        who.refused("DELETE FROM public_blue.users").assert_helps();
    }
}

/// Functions that remember as whom they were called, and that try to become the caller.
fn with_spies(scene: &Scene) {
    scene.admin().run(
        "CREATE SCHEMA spy; GRANT USAGE ON SCHEMA spy TO PUBLIC;
         CREATE FUNCTION spy.escape() RETURNS void LANGUAGE plpgsql VOLATILE AS $$
         BEGIN
             BEGIN
                 PERFORM pg_catalog.set_config('role', 'postgres', false);
                 EXECUTE 'ALTER ROLE mallory SUPERUSER';
             EXCEPTION WHEN insufficient_privilege THEN NULL;
             END;
             BEGIN
                 PERFORM pg_catalog.set_config('session_authorization', 'postgres', false);
                 EXECUTE 'ALTER ROLE mallory SUPERUSER';
             EXCEPTION WHEN insufficient_privilege THEN NULL;
             END;
         END $$;
         CREATE FUNCTION spy.attempt(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
                 RAISE EXCEPTION 'ran as superuser %', current_user USING ERRCODE = 'ZZ001';
             END IF;
             PERFORM spy.escape();
             RETURN value;
         END $$;
         ALTER FUNCTION spy.escape OWNER TO owner;
         ALTER FUNCTION spy.attempt OWNER TO owner",
    );
}

#[test]
fn trap_79_what_users_wrote_never_runs_as_the_superuser_who_calls() {
    let scene = STAGE.empty();
    with_spies(&scene);
    scene.table(
        "users",
        "id bigint PRIMARY KEY, name text DEFAULT spy.attempt('x') CHECK (spy.attempt(name) IS NOT NULL),
         upper text GENERATED ALWAYS AS (spy.attempt(name)) STORED, note text DEFAULT 'note'",
    );
    scene
        .admin()
        .run("CREATE INDEX users_spied ON users (spy.attempt(name)) WHERE spy.attempt(name) <> ''");
    let mut app = scene.app();
    app.run("INSERT INTO users (id) SELECT generate_series(1, 50)");
    let mut admin = scene.admin();
    let is_clean = |admin: &mut Person| {
        assert_eq!(admin.text("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), "f");
        assert_eq!(admin.text("SELECT current_user || session_user"), "postgrespostgres");
    };

    let changes = "ADD COLUMN token text DEFAULT spy.attempt('t'), ADD COLUMN mapped text,
        ALTER COLUMN note TYPE varchar(20) USING spy.attempt(note),
        ADD CONSTRAINT spied CHECK (spy.attempt(token) <> '')";
    let arguments = format!(
        r#"'users', '{}', forward => '{{"mapped": "spy.attempt(name)"}}', reverse => '{{"name": "spy.attempt(mapped)", "note": "spy.attempt(note)"}}'"#,
        changes.replace('\'', "''")
    );
    admin.run(&format!("SELECT * FROM bg_check({arguments})"));
    is_clean(&mut admin);
    admin.run(&format!("SELECT bg_prepare({arguments})"));
    is_clean(&mut admin);
    admin.run("CALL bg_run('users')");
    assert_eq!(scene.status("phase || misfits"), "ready0");
    is_clean(&mut admin);
    app.run("UPDATE users SET name = 'changed' WHERE id <= 10; DELETE FROM users WHERE id = 11");
    admin.run("CALL bg_run('users')");
    is_clean(&mut admin);
    admin.run("SELECT bg_swap('users')");
    app.run("UPDATE users SET mapped = 'reverse', name = 'reverse' WHERE id = 12");
    admin.run("CALL bg_run('users', 'swapped')");
    is_clean(&mut admin);
    admin.run("SELECT bg_revert('users')");
    assert_eq!(app.text("SELECT name FROM users WHERE id = 12"), "reverse");
    admin.run("SELECT bg_swap('users')");
    admin.run("SELECT bg_finish('users')");
    is_clean(&mut admin);
}

#[test]
fn trap_79_a_mapping_that_needs_the_callers_search_path_is_found_before_the_copy() {
    let scene = STAGE.users(10);
    scene.admin().run(
        "CREATE TABLE public.codes (code text); INSERT INTO codes VALUES ('c'); GRANT SELECT ON codes TO owner;
         CREATE FUNCTION public.sloppy(t text) RETURNS text LANGUAGE plpgsql STABLE
             AS $$ BEGIN RETURN (SELECT code FROM codes); END $$",
    );
    let mut owner = scene.owner();
    let arguments = r#"'users', 'ADD COLUMN code text', forward => '{"code": "sloppy(name)"}'"#;

    let found =
        owner.list(&format!("SELECT severity || ' ' || message FROM bg_check({arguments})"));

    let told = found.iter().any(|line| line.contains("code") && !line.starts_with("note"));
    if !told {
        // Or it works: the settings of prepare are those of the owner's session.
        owner.run(&format!("SELECT bg_prepare({arguments})"));
        owner.sync();
        assert_eq!(scene.status("misfits"), "0", "{found:#?}");
        assert_eq!(
            scene.admin().int("SELECT count(*) FROM public_blue.users WHERE code = 'c'"),
            10
        );
    }
}

#[test]
fn trap_80_a_mapping_is_one_expression_and_nothing_else() {
    let scene = STAGE.users(10);
    let before = scene.inventory();
    let mut owner = scene.owner();
    for bad in [
        "name FROM pg_roles",
        "rolname FROM pg_roles",
        "name WHERE true",
        "name ORDER BY 1",
        "name LIMIT 1",
        "name; DROP TABLE users",
        "name; SELECT 1",
        "name, email",
        "name UNION SELECT rolname FROM pg_roles",
        "name INTO other",
        "name GROUP BY name",
        "name HAVING true",
        "name FOR UPDATE",
        "*",
        "DISTINCT name",
        "name) FROM (SELECT 1",
        "count(*)",
        "max(name)",
        "row_number() OVER ()",
        "generate_series(1, 3)::text",
        "name WINDOW w AS ()",
        "",
        "  ",
        "-- nothing",
        "name -- rest",
        "$1",
        ":name",
    ] {
        let bad_json = serde_json::to_string(bad).unwrap().replace('\'', "''");
        for (argument, changes) in [
            (format!(r#"forward => '{{"phone": {bad_json}}}'"#), "ADD COLUMN phone text"),
            (format!(r#"reverse => '{{"name": {bad_json}}}'"#), "DROP COLUMN name"),
        ] {
            let sql = format!("SELECT bg_prepare('users', '{changes}', {argument})");
            if bad == "name -- rest" {
                // A comment is no clause; it must not swallow what follows it, either.
                if argument.starts_with("forward") && owner.try_run(&sql).is_ok() {
                    owner.sync();
                    owner.run("SELECT bg_abort('users')");
                }
                continue;
            }
            let refusal = owner.refused(&sql);
            assert!(
                ["42601", "0A000", "22023", "42803", "42P20", "42P02", "42703"]
                    .contains(&refusal.code.as_str()),
                "{sql}: {refusal:?}"
            );
            let column = if argument.starts_with("forward") { "phone" } else { "name" };
            let told = refusal.everything();
            assert!(told.contains(column) || told.contains(bad), "{sql}: {refusal:?}");
            before.assert_same(&scene.inventory());
        }
    }
}

#[test]
fn trap_82_the_databases_owner_can_dump_it_at_any_time() {
    let scene = STAGE.users(100);
    let database = &scene.database;
    scene.admin().run(&format!("ALTER DATABASE {database} OWNER TO owner"));
    let dump = |role: &str| {
        let mut command = scene.cluster.command("pg_dump");
        let output = command.args(["-U", role, "-d", database]).output().expect("pg_dump");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let assert_dumps = |when: &str| {
        let (good, said) = dump("owner");
        assert!(good, "{when}: {said}");
        assert!(!dump("mallory").0, "{when}: mallory can read it all");
    };
    let mut owner = scene.owner();
    assert_dumps("installed");
    owner.make_ready("ADD COLUMN phone text");
    scene.app().run("UPDATE users SET name = 'x' WHERE id < 10");
    assert_dumps("ready");
    owner.swap();
    scene.app().run("UPDATE users SET name = 'y' WHERE id < 10");
    assert_dumps("swapped");
    owner.run("SELECT bg_finish('users')");
    assert_dumps("finished");
    assert_eq!(scene.mallory().refused("SELECT * FROM bluegreen.misfit").code, "42501");
}
