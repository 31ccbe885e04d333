//! What breaks the things that hang on a table when it is swapped (traps.md, 17 to 24 and 48 to 63).
//! Each is a test named after it; `carried.rs` compares whole schemas.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use bluegreen_tests::cluster::{Cluster, Options};
use story::{Person, Scene, new_cluster};

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
fn trap_17_a_check_that_is_not_valid_stays_so() {
    let scene = Scene::users(50);
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
    let scene = Scene::users(20);
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
    let scene = Scene::users(5);
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
fn trap_48_foreign_keys_are_not_valid_in_the_swap_and_validated_after_it() {
    let scene = Scene::users(100);
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
    let scene = Scene::users(100);
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
        let scene = Scene::users(100);
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
fn trap_50_views_read_and_write_the_table_that_is_live() {
    let scene = Scene::users(10);
    let mut admin = scene.admin();
    admin.run(
        "CREATE VIEW low AS SELECT id, name, email FROM users WHERE id < 1000;
         ALTER VIEW low OWNER TO owner; GRANT SELECT, INSERT, UPDATE ON low TO app;
         CREATE VIEW lower AS SELECT id, name FROM low; ALTER VIEW lower OWNER TO owner;
         GRANT SELECT, UPDATE ON lower TO app;
         CREATE FUNCTION how_many() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM users; END;
         CREATE TABLE notes (id bigint); GRANT SELECT, INSERT ON notes TO app;
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY known ON notes USING (id IN (SELECT u.id FROM users u));
         CREATE POLICY any_row ON notes FOR INSERT WITH CHECK (EXISTS (SELECT FROM users u WHERE u.id = notes.id))",
    );
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text, ALTER COLUMN name TYPE varchar(100)");
    // A prepared statement on a view survives, because its columns stay what they are.
    let mut app = scene.app();
    app.run("PREPARE q AS SELECT count(*) FROM low");
    let mut n = 100;
    let mut check = |app: &mut Person, when: &str| {
        n += 1;
        app.run(&format!("INSERT INTO low VALUES ({n}, 'by view', 'v{n}')"));
        app.run(&format!("UPDATE lower SET name = 'by view of view' WHERE id = {n}"));
        let of = format!("SELECT name FROM users WHERE id = {n}");
        assert_eq!(app.text(&of), "by view of view", "{when}");
        assert_eq!(app.text("EXECUTE q"), app.text("SELECT count(*) FROM users"), "{when}");
        assert_eq!(app.text("SELECT how_many()"), app.text("SELECT count(*) FROM users"), "{when}");
        app.run(&format!("INSERT INTO notes VALUES ({n})"));
        assert_eq!(app.refused("INSERT INTO notes VALUES (-1)").code, "42501", "{when}");
        assert_eq!(app.int(&format!("SELECT count(*) FROM notes WHERE id = {n}")), 1, "{when}");
    };
    check(&mut app, "ready");
    owner.swap();
    check(&mut app, "swapped");
    owner.revert();
    check(&mut app, "reverted");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    check(&mut app, "finished");
}

#[test]
fn trap_50_the_blue_environment_has_the_views() {
    let scene = Scene::users(10);
    let mut admin = scene.admin();
    admin.run(
        "CREATE VIEW names AS SELECT id, name FROM users; ALTER VIEW names OWNER TO owner;
         GRANT SELECT, UPDATE ON names TO app",
    );
    let mut owner = scene.owner();
    owner.run(
        "SELECT bg_prepare('users', 'ADD COLUMN phone text',
             forward => '{\"name\": \"upper(name)\"}', reverse => '{\"name\": \"lower(name)\"}')",
    );
    owner.run("CALL bg_run('users')");
    let mut app = scene.app();
    app.run("SET search_path = public_blue, public");
    assert_eq!(app.text("SELECT name FROM names WHERE id = 1"), "FIRST LAST1");
    // Nothing can be written through them.
    assert!(app.try_run("UPDATE names SET name = 'x' WHERE id = 1").is_err());
    owner.run("SET search_path = public_blue, public");
    assert!(owner.try_run("UPDATE names SET name = 'x' WHERE id = 1").is_err());
}

#[test]
fn trap_51_a_view_whose_columns_change_their_type_is_made_anew() {
    let scene = Scene::users(10);
    scene.admin().run(
        "CREATE VIEW ids WITH (security_barrier) AS SELECT id, name FROM users;
         COMMENT ON VIEW ids IS 'numbers'; ALTER VIEW ids OWNER TO owner; GRANT SELECT ON ids TO app;
         CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n, max(id) AS last FROM users;
         CREATE UNIQUE INDEX counted_n ON counted (n); ALTER MATERIALIZED VIEW counted OWNER TO owner",
    );
    let mut owner = scene.owner();
    owner.make_ready("ALTER COLUMN name TYPE varchar(50)");
    owner.swap();
    let mut admin = scene.admin();
    assert_eq!(
        admin.text(
            "SELECT string_agg(format_type(atttypid, -1), ' ') FROM pg_attribute
              WHERE attrelid = 'ids'::regclass AND attnum > 0"
        ),
        "bigint character varying"
    );
    assert_eq!(admin.text("SELECT obj_description('ids'::regclass, 'pg_class')"), "numbers");
    assert_eq!(admin.text("SELECT n || ' ' || last FROM counted"), "10 10");
    admin.run("REFRESH MATERIALIZED VIEW CONCURRENTLY counted");
    assert_eq!(scene.app().int("SELECT count(*) FROM ids"), 10);
}

#[test]
fn trap_52_what_the_changes_break_is_named_or_dropped_with_cascade_and_comes_back() {
    let scene = Scene::users(10);
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

#[test]
fn trap_52_a_dropped_key_takes_its_foreign_keys_along_with_cascade() {
    let scene = Scene::users(10);
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
    let scene = Scene::users(10);
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
fn trap_54_functions_of_the_row_type_follow_it() {
    let scene = Scene::users(10);
    let mut admin = scene.admin();
    admin.run(
        "CREATE FUNCTION label(u users) RETURNS text LANGUAGE sql AS $$ SELECT u.name || u.id $$;
         CREATE FUNCTION everybody() RETURNS SETOF users LANGUAGE sql AS $$ SELECT * FROM users $$;
         CREATE FUNCTION somebody(n bigint) RETURNS users LANGUAGE plpgsql AS
             $$ DECLARE u users%ROWTYPE; BEGIN SELECT * INTO u FROM users WHERE id = n; RETURN u; END $$;
         CREATE FUNCTION name_of(n bigint) RETURNS text LANGUAGE plpgsql AS
             $$ DECLARE u users; BEGIN SELECT * INTO u FROM users WHERE id = n; RETURN u.name; END $$;
         CREATE VIEW labels AS SELECT u.id, u.label AS label FROM users u",
    );
    let mut owner = scene.owner();
    // Sessions that have used them before.
    let mut app = scene.app();
    let use_them = |app: &mut Person, when: &str| {
        let label = app.text("SELECT label(u) FROM users u WHERE id = 1");
        assert_eq!(label, "First Last11", "{when}");
        assert_eq!(app.int("SELECT count(*) FROM everybody()"), 10, "{when}");
        assert_eq!(app.text("SELECT (somebody(2)).name"), "First Last2", "{when}");
        assert_eq!(app.text("SELECT name_of(3)"), "First Last3", "{when}");
        assert_eq!(app.text("SELECT label FROM labels WHERE id = 1"), "First Last11", "{when}");
    };
    admin.run("GRANT SELECT ON labels TO app");
    use_them(&mut app, "before");
    owner.make_ready("DROP COLUMN created_at, ADD COLUMN phone text DEFAULT 'none'");
    owner.swap();
    use_them(&mut app, "swapped");
    assert_eq!(app.text("SELECT phone FROM everybody() LIMIT 1"), "none");
    assert_eq!(app.text("SELECT (somebody(2)).phone"), "none");
    owner.revert();
    use_them(&mut app, "reverted");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    use_them(&mut app, "finished");
    use_them(&mut scene.app(), "finished, in a new session");
}

/// A cluster that can decode.
fn logical() -> &'static Cluster {
    static CLUSTER: std::sync::OnceLock<Cluster> = std::sync::OnceLock::new();
    CLUSTER.get_or_init(|| new_cluster(&Options::default().set("wal_level", "logical")))
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
fn trap_61_what_slips_onto_a_view_is_not_lost() {
    let scene = Scene::users(10);
    scene
        .admin()
        .run("CREATE VIEW names AS SELECT id, name FROM users; ALTER VIEW names OWNER TO owner");
    let mut owner = scene.owner();
    for ddl in [
        "GRANT SELECT ON names TO mallory",
        "CREATE OR REPLACE VIEW names AS SELECT id, name, email FROM users",
        "COMMENT ON VIEW names IS 'new'",
        "CREATE VIEW more AS SELECT id FROM users",
    ] {
        owner.make_ready("ADD COLUMN phone text");
        scene.admin().run(ddl);
        owner.refused("SELECT bg_swap('users')").assert_is("55000", &["view"]);
        owner.run("SELECT bg_abort('users')");
    }
}

#[test]
fn trap_62_prepare_again_brings_blue_up_to_date() {
    let scene = Scene::users(100);
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
            " SELECT users.id,\n    users.full_name AS name\n   FROM users;",
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
    let scene = Scene::users(100);
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
    let scene = Scene::users(10);
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
    let scene = Scene::users(10);
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
        let scene = Scene::users(5);
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
fn trap_50_what_the_table_itself_uses_of_its_functions_is_refused_by_name() {
    for ddl in [
        "CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM users; END;
         ALTER TABLE users ALTER COLUMN id DROP IDENTITY, ALTER COLUMN id SET DEFAULT f()",
        "CREATE FUNCTION f(bigint) RETURNS bigint IMMUTABLE BEGIN ATOMIC SELECT (SELECT count(*) FROM users); END;
         ALTER TABLE users ADD CHECK (f(id) >= 0)",
        "CREATE FUNCTION f(bigint) RETURNS bigint IMMUTABLE BEGIN ATOMIC SELECT (SELECT count(*) FROM users); END;
         ALTER TABLE users ADD COLUMN g bigint GENERATED ALWAYS AS (f(id)) STORED",
        "CREATE FUNCTION f(bigint) RETURNS bigint IMMUTABLE BEGIN ATOMIC SELECT (SELECT count(*) FROM users); END;
         CREATE STATISTICS st ON (f(id)), name FROM users",
    ] {
        let scene = Scene::users(5);
        scene.admin().run(ddl);
        scene.owner().refused("SELECT bg_prepare('users')").assert_is("0A000", &["users", "depends"]);
    }
}

#[test]
fn trap_48_an_abort_after_a_revert_leaves_foreign_keys_validated() {
    let scene = Scene::users(20);
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
fn trap_52_marks_that_a_table_made_by_hand_cannot_take_are_named_at_prepare() {
    let scene = Scene::users(5);
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
fn trap_49_two_deployments_do_not_carry_one_object() {
    let scene = Scene::users(5);
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
fn trap_52_a_column_of_the_same_name_is_another_column() {
    let scene = Scene::users(5);
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
fn trap_62_nothing_that_was_said_of_a_dependent_is_lost() {
    let scene = Scene::users(20);
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
fn trap_51_a_materialized_view_that_cannot_be_filled_is_named() {
    let scene = Scene::users(5);
    scene.admin().run(
        "CREATE MATERIALIZED VIEW m AS SELECT 1 / id AS x FROM users; INSERT INTO users (id, email) VALUES (0, 'zero')",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users')");
    owner.refused("CALL bg_run('users')").assert_is("22012", &["public.m", "division"]);
    scene.admin().run("DELETE FROM users WHERE id = 0");
    owner.run("CALL bg_run('users', 'finished')");
}

#[test]
fn trap_48_a_foreign_key_to_a_partitioned_table_is_carried() {
    let scene = Scene::users(20);
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
fn trap_61_a_function_that_is_replaced_while_the_swap_waits_is_noticed() {
    let scene = Scene::users(5);
    scene.admin().run("CREATE FUNCTION f(u users) RETURNS int LANGUAGE sql AS 'SELECT 1'");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut admin = scene.admin();
    admin
        .run("BEGIN; CREATE OR REPLACE FUNCTION f(u users) RETURNS int LANGUAGE sql AS 'SELECT 5'");
    let swap = scene.send("owner", "SELECT bg_swap('users', retry_for => '20 s')");
    std::thread::sleep(std::time::Duration::from_millis(700));
    admin.run("COMMIT");
    let refusal = swap.refused();
    refusal.assert_is("55000", &["function"]);
    assert_eq!(scene.app().int("SELECT f(u) FROM users u LIMIT 1"), 5);
}

#[test]
fn trap_48_foreign_keys_act_in_the_order_in_which_they_were_made() {
    let scene = Scene::users(5);
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
fn trap_50_a_long_chain_of_views_is_followed_to_its_end() {
    let scene = Scene::users(5);
    let mut admin = scene.admin();
    admin.run("CREATE VIEW v0 AS SELECT id FROM users");
    for n in 1..80 {
        admin.run(&format!("CREATE VIEW v{n} AS SELECT id FROM v{}", n - 1));
    }
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    scene.app().run("INSERT INTO users (email) VALUES ('new')");
    assert_eq!(admin.int("SELECT count(*) FROM v79"), 6);
    owner.run("SELECT bg_finish('users')");
}

#[test]
fn trap_50_a_view_of_an_index_and_a_circle_are_refused_by_name() {
    let scene = Scene::users(5);
    let mut admin = scene.admin();
    admin.run("CREATE VIEW size_of AS SELECT pg_relation_size('users_pkey'::regclass)");
    let mut owner = scene.owner();
    owner.refused("SELECT bg_prepare('users')").assert_is("0A000", &["size_of"]);
    admin.run(
        "DROP VIEW size_of; CREATE VIEW v AS SELECT 1::bigint AS n FROM users;
         CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM v; END;
         CREATE OR REPLACE VIEW v AS SELECT f() AS n FROM users",
    );
    owner.refused("SELECT bg_prepare('users')").assert_is("0A000", &["users", "on itself"]);
}

#[test]
fn trap_47_two_swaps_at_once_of_tables_joined_both_ways_both_succeed() {
    let scene = Scene::users(5);
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
fn trap_66_who_holds_a_child_is_named() {
    let scene = Scene::users(5);
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
    let scene = Scene::users(20);
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
fn trap_52_tablespaces_are_kept() {
    let scene = Scene::users(10);
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

#[test]
fn trap_83_what_only_newer_servers_have_is_refused_by_name() {
    let scene = Scene::users(3);
    let mut admin = scene.admin();
    let newer = [
        ("ALTER TABLE users ADD CONSTRAINT x NOT NULL name NOT VALID", "x"),
        (
            "CREATE TABLE other (id bigint PRIMARY KEY);
             ALTER TABLE users ADD CONSTRAINT y FOREIGN KEY (id) REFERENCES other NOT ENFORCED",
            "y",
        ),
    ];
    let version = admin.int("SELECT current_setting('server_version_num')");
    for (ddl, name) in newer {
        if version < 180_000 {
            // There is nothing to carry.
            assert_eq!(admin.refused(ddl).code, "42601", "{ddl}");
            continue;
        }
        admin.run(ddl);
        scene.owner().refused("SELECT bg_prepare('users')").assert_is("0A000", &["users", name]);
        admin.run(&format!("ALTER TABLE users DROP CONSTRAINT {name}"));
    }
}
