//! Views, materialized views and functions of the table when it is swapped (docs/hazards.md, 50, 51, 54,
//! 61).

use crate::story::{Person, Stage, stage};

static STAGE: Stage = stage!();

#[test]
fn trap_50_views_read_and_write_the_table_that_is_live() {
    let scene = STAGE.users(10);
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
    let scene = STAGE.users(10);
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
    let scene = STAGE.users(10);
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
fn trap_54_functions_of_the_row_type_follow_it() {
    let scene = STAGE.users(10);
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

#[test]
fn trap_61_what_slips_onto_a_view_is_not_lost() {
    let scene = STAGE.users(10);
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
        let scene = STAGE.users(5);
        scene.admin().run(ddl);
        scene.owner().refused("SELECT bg_prepare('users')").assert_is("0A000", &["users", "depends"]);
    }
}

#[test]
fn trap_51_a_materialized_view_that_cannot_be_filled_is_named() {
    let scene = STAGE.users(5);
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
fn trap_61_a_function_that_is_replaced_while_the_swap_waits_is_noticed() {
    let scene = STAGE.users(5);
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
fn trap_50_a_long_chain_of_views_is_followed_to_its_end() {
    let scene = STAGE.users(5);
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
    let scene = STAGE.users(5);
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

/// What is refreshed while a deployment is open: its copy does not bring back what it showed before.
#[test]
fn trap_51_a_materialized_view_that_was_refreshed_since_is_filled_again_or_told() {
    let scene = STAGE.empty();
    scene.table("votes", "id int PRIMARY KEY, p int");
    scene.admin().run(
        "INSERT INTO votes VALUES (1, 1);
         CREATE MATERIALIZED VIEW tally AS SELECT sum(p) AS s FROM votes;
         CREATE UNIQUE INDEX ON tally (s); ALTER MATERIALIZED VIEW tally OWNER TO owner",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('votes', 'ADD COLUMN note text')");
    owner.run("CALL bg_run('votes')");
    let vote = |owner: &mut Person, id: i32, p: i32, how: &str| {
        owner.run(&format!("INSERT INTO votes VALUES ({id}, {p})"));
        owner.run(&format!("REFRESH MATERIALIZED VIEW {how} tally"));
        owner.run("SELECT pg_stat_force_next_flush()");
        owner.notices();
    };
    let told = |owner: &mut Person| -> Vec<String> {
        let told: Vec<_> = owner.notices().into_iter().map(|notice| notice.message).collect();
        let lines = told.iter().flat_map(|message| message.lines());
        lines.filter(|line| line.contains("tally")).map(str::to_owned).collect()
    };
    let again = "filled public_blue.tally again: the live one has been refreshed";
    let sum = "SELECT s FROM tally";

    vote(&mut owner, 2, 10, "");
    owner.run("CALL bg_run('votes', 'swapped')");
    assert_eq!(told(&mut owner), [again]);
    assert_eq!(owner.int(sum), 11);
    // A revert is not put off for it; this one is a refresh beside readers.
    let named = "the live materialized view public.tally has been refreshed since its copy was filled: refresh it again after the swap";
    vote(&mut owner, 3, 100, "CONCURRENTLY");
    owner.run("CALL bg_run('votes', 'reverted')");
    assert_eq!(told(&mut owner), [named]);
    assert_eq!(owner.int(sum), 11);
    owner.run("REFRESH MATERIALIZED VIEW tally");
    owner.run("SELECT pg_stat_force_next_flush()");
    assert_eq!(owner.int(sum), 111);

    vote(&mut owner, 4, 1000, "");
    owner.run("CALL bg_run('votes')");
    owner.run("SELECT bg_swap('votes')");
    assert_eq!(told(&mut owner), [named]);
    assert_eq!(owner.int(sum), 111);
    owner.run("REFRESH MATERIALIZED VIEW tally");
    assert_eq!(owner.int(sum), 1111);
}
