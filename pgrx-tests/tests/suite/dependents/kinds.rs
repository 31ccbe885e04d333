//! What breaks the other things that hang on a table when it is swapped (docs/hazards.md, 17, 19, 23, 52,
//! 58, 62, 63, 74, 83). Each is a test named after it; `carried.rs` compares whole schemas,
//! `foreign_keys.rs` and `views.rs` have the rest.

use bluegreen_tests::cluster::{Cluster, Options};

use crate::story::{Major, Person, Scene, Stage, major, new_cluster, stage};

static STAGE: Stage = stage!();

#[test]
fn trap_17_a_check_that_is_not_valid_stays_so() {
    let scene = STAGE.users(50);
    let mut owner = scene.owner();
    owner.run(
        "ALTER TABLE users ADD CONSTRAINT grown CHECK (id > 10) NOT VALID;
         COMMENT ON CONSTRAINT grown ON users IS 'old rows break it'",
    );
    owner.make_ready("RENAME COLUMN id TO number");
    owner.swap();
    assert_eq!(scene.app().int("SELECT count(*) FROM users"), 50);
    assert_eq!(
        scene.admin().text(
            "SELECT convalidated || ' ' || obj_description(oid, 'pg_constraint') FROM pg_constraint
              WHERE conname = 'grown' AND conrelid = 'users'::regclass"
        ),
        "false old rows break it"
    );
    assert_eq!(
        scene.app().refused("INSERT INTO users (number, email) VALUES (3, 'z')").code,
        "23514"
    );
}

#[test]
fn trap_19_triggers_and_rules_fire_once_for_each_write_and_keep_their_state() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE seen (what text); GRANT INSERT, SELECT ON seen TO app, owner;
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO seen VALUES (TG_NAME); RETURN NULL; END $$;
         CREATE TRIGGER t AFTER INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION see();
         CREATE TRIGGER off AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION see();
         ALTER TABLE users DISABLE TRIGGER off;
         CREATE TRIGGER always AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION see();
         ALTER TABLE users ENABLE ALWAYS TRIGGER always;
         CREATE RULE r AS ON UPDATE TO users DO ALSO INSERT INTO seen VALUES ('rule')",
    );
    let states = "SELECT tgname::text || tgenabled::text FROM pg_trigger WHERE tgrelid = 'users'::regclass
                     AND NOT tgisinternal AND tgname NOT LIKE 'bluegreen%'
                  UNION ALL SELECT rulename::text || ev_enabled::text FROM pg_rewrite WHERE ev_class = 'users'::regclass
                  ORDER BY 1";
    let before = admin.list(states);
    assert_eq!(before, ["alwaysA", "offD", "rO", "tO"]);
    let mut owner = scene.owner();
    let mut app = scene.app();
    let mut write = |admin: &mut Person, owner: &mut Person, n: i32, when: &str| {
        admin.run("TRUNCATE seen");
        app.run(&format!("INSERT INTO users (id, email) VALUES ({n}, 'n{n}')"));
        app.run(&format!("UPDATE users SET name = 'x' WHERE id = {n}"));
        owner.run(&format!(
            "CALL bg_run('users', '{}')",
            if when == "swapped" { when } else { "ready" }
        ));
        let seen = admin.list("SELECT what FROM seen ORDER BY 1");
        assert_eq!(seen, ["always", "rule", "t", "t"], "{when}");
    };
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    write(&mut admin, &mut owner, 100, "prepared");
    write(&mut admin, &mut owner, 101, "ready");
    owner.swap();
    assert_eq!(admin.list(states), before);
    write(&mut admin, &mut owner, 102, "swapped");
    owner.revert();
    assert_eq!(admin.list(states), before);
    write(&mut admin, &mut owner, 103, "reverted");
    owner.run("SELECT bg_abort('users')");
    assert_eq!(admin.list(states), before);
}

#[test]
fn trap_23_a_publication_of_everything_is_refused_and_one_of_the_schema_follows() {
    let scene = STAGE.users(5);
    let mut admin = scene.admin();
    admin.run("CREATE PUBLICATION everything FOR ALL TABLES");
    scene
        .owner()
        .refused("SELECT bg_prepare('users')")
        .assert_is("0A000", &["users", "everything"]);
    admin.run(
        "DROP PUBLICATION everything; CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA public",
    );
    let published =
        "SELECT string_agg(schemaname || '.' || tablename, ' ') FROM pg_publication_tables";
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    assert_eq!(admin.text(published), "public.users");
    owner.swap();
    assert_eq!(admin.text(published), "public.users");
}

#[test]
fn trap_52_what_the_changes_break_is_named_or_dropped_with_cascade_and_comes_back() {
    let scene = STAGE.users(10);
    scene.admin().run(
        "CREATE VIEW named AS SELECT id, name FROM users;
         CREATE VIEW named2 AS SELECT name FROM named;
         CREATE VIEW unnamed AS SELECT id FROM users;
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER on_name AFTER UPDATE OF name ON users FOR EACH ROW EXECUTE FUNCTION nothing();
         CREATE POLICY p ON users USING (name <> 'x')",
    );
    let before = scene.inventory();
    let mut owner = scene.owner();
    let refusal = owner.refused("SELECT bg_prepare('users', 'DROP COLUMN name')");
    refusal.assert_is("2BP01", &["named", "name"]);
    assert!(refusal.hint.contains("CASCADE"), "{refusal:?}");
    before.assert_same(&scene.inventory());
    let found = owner
        .text("SELECT message FROM bg_check('users', 'DROP COLUMN name') WHERE severity = 'error'");
    assert!(found.contains("named"), "{found}");

    owner.make_ready("DROP COLUMN name CASCADE");
    owner.swap();
    let mut admin = scene.admin();
    let left = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
                 WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace AND relname LIKE '%named%'";
    assert_eq!(admin.text(left), "unnamed");
    assert_eq!(admin.int("SELECT count(*) FROM pg_policy WHERE polrelid = 'users'::regclass"), 0);
    owner.revert();
    assert_eq!(admin.text(left), "named named2 unnamed");
    assert_eq!(admin.int("SELECT count(*) FROM named2 WHERE name LIKE 'First%'"), 10);
    owner.run("SELECT bg_abort('users')");
    before.assert_same(&scene.inventory());

    owner.make_ready("DROP COLUMN name CASCADE");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    assert_eq!(admin.text(left), "unnamed");
}

/// A cluster that can decode.
fn logical() -> &'static Cluster {
    static LOGICAL: Stage = stage!(new_cluster(&Options::default().set("wal_level", "logical")));
    LOGICAL.cluster()
}

#[test]
fn trap_58_a_subscriber_gets_every_change_once() {
    let scene = Scene::in_cluster(logical());
    scene.add_users(20);
    let mut admin = scene.admin();
    admin.run("CREATE PUBLICATION p FOR TABLE users (id, email) WHERE (id <> 13)");
    admin.run(&format!(
        "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
        scene.database
    ));
    let mut owner = scene.owner();
    let mut app = scene.app();
    app.run("INSERT INTO users (id, email) VALUES (100, 'a')");
    owner.make_ready("ADD COLUMN phone text");
    app.run("INSERT INTO users (id, email) VALUES (101, 'b'), (102, 'c')");
    // Drained inside of the swap, and not published again for it.
    owner.run("SELECT bg_swap('users')");
    app.run("INSERT INTO users (id, email) VALUES (103, 'd')");
    app.run("UPDATE users SET email = 'dd' WHERE id = 103");
    owner.run("SELECT bg_revert('users')");
    app.run("INSERT INTO users (id, email) VALUES (104, 'e'); DELETE FROM users WHERE id = 104");
    owner.run("CALL bg_run('users', 'swapped')");
    owner.run("SELECT bg_finish('users')");
    app.run("INSERT INTO users (id, email) VALUES (105, 'f')");
    let changes = admin.list(&format!(
        "SELECT chr(get_byte(data, 0)) FROM pg_logical_slot_get_binary_changes('{0}', NULL, NULL,
             'proto_version', '1', 'publication_names', 'p')
          WHERE chr(get_byte(data, 0)) IN ('I', 'U', 'D', 'T')",
        scene.database
    ));
    assert_eq!(changes.concat(), "IIIIUIDI");
    assert_eq!(
        admin.text("SELECT attnames::text || rowfilter FROM pg_publication_tables WHERE tablename = 'users'"),
        "{id,email}(id <> 13)"
    );
    admin.run(&format!("SELECT pg_drop_replication_slot('{}')", scene.database));
}

#[test]
fn trap_62_prepare_again_brings_blue_up_to_date() {
    let scene = STAGE.users(100);
    let mut admin = scene.admin();
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text, RENAME COLUMN name TO full_name");
    admin.run(
        "CREATE VIEW late AS SELECT id, name FROM users; ALTER VIEW late OWNER TO owner;
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER late AFTER UPDATE OF name ON users FOR EACH ROW EXECUTE FUNCTION nothing();
         CREATE INDEX late_index ON users (lower(name)); DROP INDEX users_name;
         CREATE TABLE posts (author bigint REFERENCES users);
         GRANT SELECT ON users TO mallory; GRANT UPDATE (name) ON users TO mallory;
         COMMENT ON TABLE users IS 'late'; COMMENT ON COLUMN users.name IS 'late too';
         ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY late ON users USING (name <> 'x')",
    );
    let refusal = owner.refused("CALL bg_run('users')");
    refusal.assert_is("55000", &["late"]);
    assert!(refusal.hint.contains("bg_prepare"), "{refusal:?}");

    assert_eq!(
        owner.text(
            "SELECT bg_prepare('users', 'ADD COLUMN phone text, RENAME COLUMN name TO full_name')"
        ),
        "indexing"
    );
    let notices = owner.notices();
    assert!(notices.iter().any(|n| n.message.contains("up to date")), "{notices:?}");
    scene.app().run("INSERT INTO users (email, name) VALUES ('new', 'New')");
    owner.run("CALL bg_run('users', 'swapped')");
    // Since 16 a column of the only table is shown without it.
    let view = if major() >= Major::V16 {
        " SELECT id,\n    full_name AS name\n   FROM users;"
    } else {
        " SELECT users.id,\n    users.full_name AS name\n   FROM users;"
    };
    assert_eq!(
        admin.list(
            "SELECT pg_get_viewdef('late'::regclass)
             UNION ALL SELECT pg_get_indexdef('late_index'::regclass)
             UNION ALL SELECT coalesce(to_regclass('users_name')::text, 'gone')
             UNION ALL SELECT obj_description('users'::regclass, 'pg_class') || col_description('users'::regclass, 2)
             UNION ALL SELECT relrowsecurity::text FROM pg_class WHERE oid = 'users'::regclass
             UNION ALL SELECT has_column_privilege('mallory', 'users', 'full_name', 'UPDATE')::text
             UNION ALL SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'users'::regclass
             UNION ALL SELECT tgenabled::text FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'late'"
        ),
        [
            view,
            "CREATE INDEX late_index ON public.users USING btree (lower(full_name))",
            "gone",
            "latelate too",
            "true",
            "true",
            "(full_name <> 'x'::text)",
            "O"
        ]
    );
    assert_eq!(admin.refused("INSERT INTO posts VALUES (99999)").code, "23503");
    owner.run("SELECT bg_revert('users')");
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(admin.int("SELECT count(*) FROM late"), 101);
}

#[test]
fn trap_62_what_needs_a_new_copy_is_said_to_need_one() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.run("ALTER TABLE users ADD COLUMN extra integer");
    let refusal = owner.refused("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    refusal.assert_is("55000", &["extra"]);
    owner.run("ALTER TABLE users DROP COLUMN extra");
    owner.run("ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0)");
    owner
        .refused("SELECT bg_prepare('users', 'ADD COLUMN phone text')")
        .assert_is("55000", &["users", "constraint"]);
    owner.run("ALTER TABLE users DROP CONSTRAINT c");
    owner.swap();
}

#[test]
fn trap_63_event_triggers_are_foretold_and_their_veto_leaves_nothing_behind() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run(
        "CREATE VIEW names AS SELECT id, name FROM users;
         CREATE FUNCTION veto() RETURNS event_trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'no views today'; END $$;
         CREATE EVENT TRIGGER no_views ON ddl_command_start WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION veto()",
    );
    let before = scene.inventory();
    let mut owner = scene.owner();
    assert!(
        owner.int("SELECT count(*) FROM bg_check('users') WHERE object = 'no_views' OR message LIKE '%no_views%'") > 0
    );
    let refusal = owner.refused("SELECT bg_prepare('users')");
    assert!(refusal.message.contains("no views today"), "{refusal:?}");
    before.assert_same(&scene.inventory());
    admin.run("DROP EVENT TRIGGER no_views");
}

#[test]
fn trap_74_what_was_added_since_the_swap_is_named_by_the_revert() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    scene.admin().run("CREATE VIEW added AS SELECT id, phone FROM users");
    owner.refused("SELECT bg_revert('users')").assert_is("55000", &["added"]);
    let refusal = owner.refused("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    refusal.assert_is("55000", &["added"]);
    scene.admin().run("DROP VIEW added");
    owner.revert();
    owner.swap();

    // Grants, comments and indexes can be given to the old table too.
    scene.admin().run(
        "GRANT UPDATE ON users TO mallory; GRANT SELECT (name) ON users TO mallory;
         COMMENT ON TABLE users IS 'late'; COMMENT ON COLUMN users.name IS 'later';
         CREATE INDEX late_index ON users (lower(name))",
    );
    owner.refused("SELECT bg_revert('users')").assert_is("55000", &["late_index"]);
    assert_eq!(owner.text("SELECT bg_prepare('users', 'ADD COLUMN phone text')"), "swapped");
    owner.run("SELECT bg_revert('users')");
    let mut admin = scene.admin();
    assert_eq!(
        admin.text(
            "SELECT has_table_privilege('mallory', 'users', 'UPDATE') || ' ' || pg_get_indexdef('late_index'::regclass)
                 || ' ' || obj_description('users'::regclass) || ' ' || col_description('users'::regclass, 2)"
        ),
        "true CREATE INDEX late_index ON public.users USING btree (lower(name)) late later"
    );
    owner.run("CALL bg_run('users', 'finished')");
    // One that the old table cannot have is said to be so.
    owner.make_ready("ADD COLUMN city text");
    owner.swap();
    scene.admin().run("CREATE INDEX on_city ON users (city)");
    owner
        .refused("SELECT bg_prepare('users', 'ADD COLUMN city text')")
        .assert_is("55000", &["on_city"]);
    owner.run("SELECT bg_finish('users')");
}

#[test]
fn trap_62_a_policy_or_trigger_that_uses_the_tables_own_view_does_not_keep_it() {
    for part in [
        "CREATE POLICY p ON users USING (id IN (SELECT id FROM v))",
        "CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW WHEN (f(NEW)) EXECUTE FUNCTION nothing()",
    ] {
        let scene = STAGE.users(5);
        scene.admin().run(
            "CREATE VIEW v AS SELECT id FROM users;
             CREATE FUNCTION f(u users) RETURNS boolean LANGUAGE sql AS 'SELECT $1.id > 0';
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        );
        scene.admin().run(part);
        let before = scene.inventory();
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        owner.run("SELECT bg_abort('users')");
        before.assert_same(&scene.inventory());
        owner.make_ready("");
        owner.swap();
        owner.run("SELECT bg_finish('users')");
        before.assert_same(&scene.inventory());
    }
}

#[test]
fn trap_52_marks_that_a_table_made_by_hand_cannot_take_are_named_at_prepare() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    owner.run("ALTER TABLE users REPLICA IDENTITY USING INDEX users_email_key");
    scene.table(
        "users_new",
        "id bigint PRIMARY KEY, name text, email text NOT NULL UNIQUE, created_at timestamptz",
    );
    owner
        .refused("SELECT bg_prepare('users', target => 'users_new')")
        .assert_is("2BP01", &["replica identity"]);
    owner.run("ALTER TABLE users REPLICA IDENTITY DEFAULT; ALTER TABLE users_new ENABLE ROW LEVEL SECURITY");
    owner
        .refused("SELECT bg_prepare('users', target => 'users_new')")
        .assert_is("42809", &["users_new", "row level security"]);
}

#[test]
fn trap_52_a_column_of_the_same_name_is_another_column() {
    let scene = STAGE.users(5);
    scene.admin().run("CREATE VIEW v AS SELECT id, name FROM users");
    let mut owner = scene.owner();
    owner
        .refused("SELECT bg_prepare('users', 'DROP COLUMN name, ADD COLUMN name int DEFAULT 7')")
        .assert_is("2BP01", &["view", "name"]);
    // CASCADE is for the column that it is written behind.
    owner
        .refused("SELECT bg_prepare('users', 'DROP COLUMN created_at CASCADE, DROP COLUMN name')")
        .assert_is("2BP01", &["view", "name"]);
    owner.make_ready("DROP COLUMN name CASCADE, ADD COLUMN name int DEFAULT 7");
    owner.swap();
    assert_eq!(scene.admin().text("SELECT coalesce(to_regclass('v')::text, 'gone')"), "gone");
}

#[test]
fn trap_23_a_publication_of_everything_that_comes_late_does_not_keep_a_deployment_open() {
    let scene = Scene::in_cluster(logical());
    scene.add_users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    scene.admin().run("CREATE PUBLICATION everything FOR ALL TABLES");
    owner.refused("SELECT bg_swap('users')").assert_is("55000", &["everything"]);
    owner.run("SELECT bg_abort('users')");
}

#[test]
fn trap_52_tablespaces_are_kept() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run("SET allow_in_place_tablespaces = on");
    let _ = admin.try_run("CREATE TABLESPACE aside LOCATION ''");
    admin.run(
        "ALTER TABLE users SET TABLESPACE aside; CREATE INDEX in_aside ON users (id, name) TABLESPACE aside;
         ALTER INDEX users_email_key SET TABLESPACE aside;
         CREATE MATERIALIZED VIEW m TABLESPACE aside AS SELECT id FROM users;
         CREATE INDEX m_id ON m (id); ALTER INDEX m_id SET TABLESPACE aside",
    );
    let places = "SELECT relname || ' ' || coalesce(t.spcname, '-') FROM pg_class c
        LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i', 'm') ORDER BY 1";
    let before = admin.list(places);
    assert_eq!(before.iter().filter(|place| place.ends_with("aside")).count(), 5, "{before:?}");
    let mut owner = scene.owner();
    // The owner must be allowed to make indexes there, as for CREATE INDEX.
    owner.refused("SELECT bg_prepare('users')").assert_is("42501", &["tablespace aside"]);
    admin.run("GRANT CREATE ON TABLESPACE aside TO owner");
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    assert_eq!(admin.list(places), before);
    owner.revert();
    assert_eq!(admin.list(places), before);
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    assert_eq!(admin.list(places), before);
}
