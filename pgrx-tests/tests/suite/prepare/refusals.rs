//! Bad input: the fitting SQLSTATE, a message that states the fact and is enough by itself, a hint
//! that says what to do, and nothing left behind.

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// Says each line, expects its refusal, and that nothing is left behind.
#[track_caller]
fn each_is_refused(scene: &Scene, who: &mut Person, lines: &[(&str, &str, &[&str])]) {
    let before = scene.inventory();
    for (sql, code, words) in lines {
        let refusal = who.refused(sql);
        assert_eq!(refusal.code, *code, "{sql}: {refusal:?}");
        refusal.assert_names(words);
        refusal.assert_helps();
        let _ = who.try_run("ROLLBACK");
        before.assert_same(&scene.inventory());
    }
}

#[test]
fn only_ordinary_tables_can_be_deployed() {
    let scene = STAGE.users(1);
    let mut admin = scene.admin();
    admin.run(
        "CREATE VIEW a_view AS SELECT 1 AS id;
         CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS id;
         CREATE SEQUENCE a_sequence;
         CREATE INDEX an_index ON users (name);
         CREATE TYPE a_type AS (id bigint);
         CREATE TABLE typed OF a_type (PRIMARY KEY (id));
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER there FOREIGN DATA WRAPPER nowhere;
         CREATE FOREIGN TABLE a_foreign (id bigint) SERVER there;
         CREATE TABLE parted (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE a_part PARTITION OF parted FOR VALUES FROM (1) TO (10);
         CREATE TABLE parent (id bigint PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
         CREATE TEMP TABLE passing (id bigint PRIMARY KEY)",
    );
    each_is_refused(
        &scene,
        &mut admin,
        &[
            ("SELECT bg_prepare('a_view')", "42809", &["a_view", "view"]),
            ("SELECT bg_prepare('a_matview')", "42809", &["a_matview", "materialized view"]),
            ("SELECT bg_prepare('a_sequence')", "42809", &["a_sequence", "sequence"]),
            ("SELECT bg_prepare('an_index')", "42809", &["an_index", "index"]),
            ("SELECT bg_prepare('a_type')", "42809", &["a_type"]),
            ("SELECT bg_prepare('a_foreign')", "42809", &["a_foreign", "foreign"]),
            ("SELECT bg_prepare('passing')", "42809", &["passing", "temporary"]),
            ("SELECT bg_prepare('pg_class')", "42501", &["pg_class", "system"]),
            (
                "SELECT bg_prepare('pg_catalog.pg_largeobject')",
                "42501",
                &["pg_largeobject", "system"],
            ),
            ("SELECT bg_prepare('bluegreen.deployment')", "42501", &["deployment", "system"]),
            ("SELECT bg_prepare('parted')", "0A000", &["parted", "partition"]),
            ("SELECT bg_prepare('a_part')", "0A000", &["a_part", "partition"]),
            ("SELECT bg_prepare('typed')", "0A000", &["typed", "type"]),
            ("SELECT bg_prepare('child')", "0A000", &["child", "parent"]),
            ("SELECT bg_prepare('parent')", "0A000", &["parent", "child"]),
        ],
    );
    let refusal = admin.refused("SELECT bg_prepare(NULL)");
    refusal.assert_helps();
    let refusal = admin.refused("SELECT bg_prepare(999999)");
    assert_eq!(refusal.code, "42P01", "{refusal:?}");
    assert_eq!(admin.refused("SELECT bg_prepare('nowhere')").code, "42P01");
}

#[test]
fn what_hangs_on_the_table_and_cannot_be_carried_is_named() {
    for (ddl, word) in [
        ("CREATE PUBLICATION hanging FOR ALL TABLES", "hanging"),
        ("CREATE TABLE hanging () INHERITS (users)", "hanging"),
        ("CREATE TABLE hanging (u users)", "hanging"),
        ("CREATE TABLE hanging (u users[])", "hanging"),
        ("CREATE DOMAIN hanging AS users", "hanging"),
        ("CREATE TABLE hanging (r bigint REFERENCES users) PARTITION BY RANGE (r)", "hanging"),
        (
            "CREATE TABLE hanging (r bigint CONSTRAINT k REFERENCES users);
             ALTER TABLE hanging DISABLE TRIGGER ALL",
            "hanging",
        ),
        ("CREATE TEMPORARY VIEW hanging AS SELECT id FROM users", "hanging"),
        (
            "CREATE FUNCTION hang(users) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.name';
             CREATE CAST (users AS text) WITH FUNCTION hang(users)",
            "cast",
        ),
        (
            "CREATE FUNCTION hang(bigint, users) RETURNS bigint LANGUAGE sql AS 'SELECT $1';
             CREATE AGGREGATE hanging(users) (SFUNC = hang, STYPE = bigint)",
            "hanging",
        ),
        (
            "CREATE VIEW v AS SELECT id FROM users;
             CREATE FUNCTION of_view() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM v; END;
             CREATE TABLE hanging (n bigint DEFAULT of_view())",
            "hanging",
        ),
    ] {
        let scene = STAGE.users(3);
        let mut admin = scene.admin();
        admin.run(
            "CREATE TABLE other (id bigint PRIMARY KEY); INSERT INTO other VALUES (1), (2), (3);
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        );
        admin.run(ddl);
        let before = scene.inventory();
        let mut owner = scene.owner();

        let refusal = owner.refused("SELECT bg_prepare('users', 'ADD COLUMN phone text')");

        assert!(["0A000", "55000"].contains(&refusal.code.as_str()), "{ddl}: {refusal:?}");
        assert!(refusal.everything().contains(word), "{ddl}: {refusal:?}");
        refusal.assert_names(&["users"]);
        refusal.assert_helps();
        before.assert_same(&scene.inventory());
        // The preflight says the same.
        assert!(
            owner.int("SELECT count(*) FROM bg_check('users') WHERE severity = 'error'") > 0,
            "{ddl}"
        );
    }
}

#[test]
fn a_table_without_a_usable_key_is_told_which_index_would_do() {
    for columns in
        ["id bigint, name text", "id bigint UNIQUE, name text", "id bigint NOT NULL, name text"]
    {
        let scene = STAGE.empty();
        scene.table("users", columns);
        scene.admin().run(
            "CREATE UNIQUE INDEX partial ON users (id) WHERE id > 0;
                           CREATE UNIQUE INDEX expression ON users ((id + 1))",
        );
        let before = scene.inventory();

        let refusal = scene.owner().refused("SELECT bg_prepare('users')");

        refusal.assert_names(&["users", "key"]);
        refusal.assert_helps();
        assert_eq!(refusal.code, "55000", "{refusal:?}");
        let hint = refusal.hint.to_lowercase();
        assert!(hint.contains("unique") && hint.contains("not null"), "{refusal:?}");
        before.assert_same(&scene.inventory());
    }
    // These do.
    for columns in ["id bigint NOT NULL UNIQUE, name text", "a int, b text, PRIMARY KEY (b, a)"] {
        let scene = STAGE.empty();
        scene.table("users", columns);
        scene.owner().make_ready("ADD COLUMN phone text");
    }
    let scene = STAGE.users(3);
    let mut owner = scene.owner();
    each_is_refused(
        &scene,
        &mut owner,
        &[
            ("SELECT bg_prepare('users', key => ARRAY['name'])", "55000", &["users", "name"]),
            ("SELECT bg_prepare('users', key => ARRAY['nothing'])", "55000", &["nothing"]),
        ],
    );
    owner.run("SELECT bg_prepare('users', key => ARRAY['email'])");
    owner.sync();
    scene.app().run(
        "UPDATE users SET email = 'other' WHERE id = 1; UPDATE users SET id = 100 WHERE id = 2",
    );
    owner.swap();
    scene.assert_in_step("id, email");
}

#[test]
fn changes_are_the_actions_of_one_alter_table() {
    let scene = STAGE.users(3);
    let mut owner = scene.owner();
    scene
        .admin()
        .run("CREATE TABLE other (id bigint PRIMARY KEY); ALTER TABLE other OWNER TO owner");
    let before = scene.inventory();
    for (changes, word) in [
        ("ADD COLUMN a int; DROP TABLE other", "statement"),
        ("; DROP TABLE other", "statement"),
        ("ADD COLUMN a int; ALTER TABLE other ADD COLUMN b int", "statement"),
        ("RENAME TO people", "RENAME TO"),
        ("SET SCHEMA pg_temp", "SET SCHEMA"),
        ("OWNER TO mallory", "OWNER TO"),
        ("ADD COLUMN a int, OWNER TO mallory", "OWNER TO"),
        ("ATTACH PARTITION other FOR VALUES FROM (1) TO (2)", "ATTACH"),
        ("DETACH PARTITION other", "DETACH"),
        ("INHERIT other", "INHERIT"),
        ("NO INHERIT other", "INHERIT"),
        ("DISABLE TRIGGER ALL", "TRIGGER"),
        ("ENABLE ROW LEVEL SECURITY", "ROW LEVEL SECURITY"),
        ("SET TABLESPACE pg_default", "TABLESPACE"),
        ("REPLICA IDENTITY FULL", "REPLICA IDENTITY"),
        ("CLUSTER ON users_pkey", "CLUSTER"),
        ("ADD COLUMN a bigint REFERENCES other", "FOREIGN KEY"),
        ("OF other", "OF"),
    ] {
        let refusal = owner.refused(&format!("SELECT bg_prepare('users', $c${changes}$c$)"));
        assert!(["0A000", "42601"].contains(&refusal.code.as_str()), "{changes}: {refusal:?}");
        refusal.assert_names(&[word]);
        refusal.assert_helps();
        before.assert_same(&scene.inventory());
    }
    // The server's own errors keep their place in the text.
    for (changes, part) in [
        ("ADD COLUMN phone textt", "textt"),
        ("ADD COLUM phone text", "character 17"),
        ("DROP COLUMN nothing", "nothing"),
        ("RENAME COLUMN nothing TO x", "nothing"),
        ("RENAME COLUMN name TO email", "email"),
        ("ALTER COLUMN name TYPE int", "name"),
        ("ADD COLUMN a int,", ""),
        ("ADD COLUMN a int DEFAULT 'x'", "x"),
        ("DROP COLUMN name, DROP COLUMN name", "name"),
    ] {
        let refusal = owner.refused(&format!("SELECT bg_prepare('users', $c${changes}$c$)"));
        assert!(refusal.code.starts_with("42") || refusal.code.starts_with("22"), "{refusal:?}");
        assert!(refusal.message.contains(part), "{changes}: {refusal:?}");
        before.assert_same(&scene.inventory());
    }
    let error = owner
        .client
        .batch_execute("SELECT bg_prepare('users', 'ADD COLUMN a int, ADD COLUM b int')");
    let error = error.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42601");
    match error.position() {
        Some(postgres::error::ErrorPosition::Internal { position, query }) => {
            let rest: String = query.chars().skip(*position as usize - 1).collect();
            assert!(
                rest.starts_with("b int") || rest.starts_with("COLUM"),
                "{position} in {query}"
            );
        }
        Some(postgres::error::ErrorPosition::Original(position)) => {
            panic!("position {position} is one in the call, not in the changes")
        }
        None => assert!(error.message().contains("character 31"), "no position: {error:?}"),
    }
}

#[test]
fn mappings_name_columns_that_are_there_and_keys_can_be_mapped_back() {
    let scene = STAGE.users(3);
    scene.table("keyed", "id bigint PRIMARY KEY, name text");
    let mut owner = scene.owner();
    each_is_refused(
        &scene,
        &mut owner,
        &[
            (
                r#"SELECT bg_prepare('users', 'ADD COLUMN phone text', forward => '{"fone": "name"}')"#,
                "42703",
                &["fone"],
            ),
            (
                r#"SELECT bg_prepare('users', 'ADD COLUMN phone text', reverse => '{"nothing": "phone"}')"#,
                "42703",
                &["nothing"],
            ),
            (
                r#"SELECT bg_prepare('users', 'ADD COLUMN phone int', forward => '{"phone": "name"}')"#,
                "42804",
                &["phone"],
            ),
            (r#"SELECT bg_prepare('users', forward => '["name"]')"#, "22023", &["forward"]),
            (r#"SELECT bg_prepare('users', forward => '{"name": 7}')"#, "22023", &["name"]),
            (
                "SELECT bg_prepare('keyed', 'DROP COLUMN id, ADD COLUMN number bigint')",
                "55000",
                &["id"],
            ),
            (
                r#"SELECT bg_prepare('keyed', 'DROP COLUMN id, ADD COLUMN number bigint PRIMARY KEY',
                    forward => '{"number": "id + 7"}')"#,
                "55000",
                &["id"],
            ),
            ("SELECT bg_prepare('keyed', 'DROP CONSTRAINT keyed_pkey')", "55000", &["key"]),
            (
                "SELECT bg_prepare('keyed', 'ALTER COLUMN id TYPE uuid USING gen_random_uuid()')",
                "42804",
                &["id"],
            ),
            (
                "SELECT bg_prepare('keyed', 'ALTER COLUMN id TYPE bigint USING id / 2')",
                "22023",
                &["id"],
            ),
        ],
    );
    let refusal = owner.refused(
        r#"SELECT bg_prepare('users', 'ADD COLUMN phone text', forward => '{"phone": "nothing"}')"#,
    );
    assert_eq!(refusal.code, "42703", "{refusal:?}");
    assert!(refusal.everything().contains("nothing"), "{refusal:?}");
    // The key with both ways.
    owner.run(
        r#"SELECT bg_prepare('users', 'DROP COLUMN id, ADD COLUMN number bigint PRIMARY KEY',
            forward => '{"number": "id + 7"}', reverse => '{"id": "number - 7"}')"#,
    );
    owner.sync();
    scene
        .app()
        .run("UPDATE users SET id = 50, name = 'x' WHERE id = 1; DELETE FROM users WHERE id = 2");
    owner.swap();
    scene.app().run("UPDATE users SET number = 60 WHERE number = 57; INSERT INTO users (number, email) VALUES (70, 'y')");
    owner.revert();
    assert_eq!(scene.app().list("SELECT id FROM users ORDER BY id"), ["3", "53", "63"]);
}

#[test]
fn a_target_made_by_hand_has_to_fit() {
    let scene = STAGE.users(3);
    scene.table("no_name", "id bigint PRIMARY KEY, email text, must text NOT NULL");
    scene.table("no_key", "id bigint, name text, email text, created_at timestamptz");
    scene.table("filled", "id bigint PRIMARY KEY, name text, email text, created_at timestamptz");
    scene.table("hung", "id bigint PRIMARY KEY, name text, email text, created_at timestamptz");
    scene.table("good", "id bigint PRIMARY KEY, name text, email text, created_at timestamptz");
    scene.admin().run(
        "INSERT INTO filled (id) VALUES (1); CREATE VIEW on_hung AS SELECT id FROM hung;
         CREATE TABLE strange (LIKE good INCLUDING ALL); ALTER TABLE strange OWNER TO other_owner;
         CREATE VIEW a_view AS SELECT 1",
    );
    let mut owner = scene.owner();
    each_is_refused(
        &scene,
        &mut owner,
        &[
            ("SELECT bg_prepare('users', target => 'no_name')", "23502", &["must"]),
            ("SELECT bg_prepare('users', target => 'no_key')", "55000", &["key column id"]),
            ("SELECT bg_prepare('users', target => 'filled')", "55000", &["filled"]),
            ("SELECT bg_prepare('users', target => 'hung')", "0A000", &["hung"]),
            ("SELECT bg_prepare('users', target => 'users')", "42809", &["users"]),
            ("SELECT bg_prepare('users', target => 'strange')", "42809", &["strange", "owner"]),
            ("SELECT bg_prepare('users', target => 'a_view')", "42809", &["a_view"]),
            (
                "SELECT bg_prepare('users', 'ADD COLUMN a int', target => 'good')",
                "22023",
                &["changes", "target"],
            ),
        ],
    );
    // It is given back under its own name, emptied.
    let before = scene.inventory();
    owner.run("SELECT bg_prepare('users', target => 'good')");
    owner.sync();
    assert_eq!(owner.refused("SELECT 1 FROM good").code, "42P01");
    assert_eq!(owner.text("SELECT bg_abort('users')"), "aborted");
    assert_eq!(owner.int("SELECT count(*) FROM good"), 0);
    before.assert_same(&scene.inventory());
}

#[test]
fn verbs_in_the_wrong_phase_name_it_and_what_is_possible() {
    let scene = STAGE.users(3);
    let mut owner = scene.owner();
    for verb in ["bg_swap", "bg_revert", "bg_finish", "bg_abort", "bg_backfill"] {
        let refusal = owner.refused(&format!("SELECT {verb}('users')"));
        refusal.assert_is("55000", &["users"]);
        assert!(refusal.hint.contains("bg_prepare"), "{refusal:?}");
    }
    owner.refused("CALL bg_run('users')").assert_is("55000", &["users"]);

    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    for verb in ["bg_swap", "bg_revert", "bg_finish"] {
        let refusal = owner.refused(&format!("SELECT {verb}('users')"));
        refusal.assert_is("55000", &["users", "prepared"]);
        assert!(refusal.everything().contains("bg_run"), "{refusal:?}");
    }
    owner.sync();
    let refusal = owner.refused("SELECT bg_finish('users')");
    refusal.assert_is("55000", &["users", "ready"]);
    assert!(refusal.everything().contains("bg_swap"), "{refusal:?}");
    owner.swap();
    let refusal = owner.refused("SELECT bg_abort('users')");
    refusal.assert_is("55000", &["users", "swapped"]);
    assert!(refusal.everything().contains("bg_revert"), "{refusal:?}");
    let refusal = owner.refused("CALL bg_run('users', 'nowhere')");
    refusal.assert_is("22023", &["nowhere"]);
    let refusal = owner.refused("SELECT bg_revert('users', misfits => 'maybe')");
    refusal.assert_is("22023", &["maybe"]);
}

#[test]
fn a_verb_that_is_repeated_says_so_and_is_no_error() {
    let scene = STAGE.users(3);
    let mut owner = scene.owner();
    let prepare = "SELECT bg_prepare('users', 'ADD COLUMN phone text')";
    let said = |owner: &mut Person, sql: &str, phase: &str| {
        owner.notices();
        assert_eq!(owner.text(sql), phase, "{sql}");
        let notices = owner.notices();
        assert!(!notices.is_empty(), "{sql} said nothing");
        assert!(notices[0].message.contains("users"), "{notices:?}");
    };
    owner.run(prepare);
    said(&mut owner, prepare, "prepared");
    // With other arguments it is one, and tells the difference.
    let refusal = owner.refused("SELECT bg_prepare('users', 'ADD COLUMN phone varchar(20)')");
    assert!(["55000", "42710", "42P07"].contains(&refusal.code.as_str()), "{refusal:?}");
    refusal.assert_names(&["users"]);
    refusal.assert_helps();
    assert!(refusal.everything().contains("changes"), "{refusal:?}");
    let refusal = owner.refused(
        r#"SELECT bg_prepare('users', 'ADD COLUMN phone text', forward => '{"phone": "name"}')"#,
    );
    assert!(refusal.everything().contains("forward"), "{refusal:?}");

    owner.sync();
    said(&mut owner, prepare, "ready");
    owner.swap();
    said(&mut owner, "SELECT bg_swap('users')", "swapped");
    owner.revert();
    said(&mut owner, "SELECT bg_revert('users')", "ready");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    said(&mut owner, "SELECT bg_finish('users')", "finished");
    // That was the last one; a new deployment is another matter.
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN fax text')");
    owner.run("SELECT bg_abort('users')");
    said(&mut owner, "SELECT bg_abort('users')", "aborted");
}

#[test]
fn callers_with_a_snapshot_of_their_own_are_refused() {
    let scene = STAGE.users(3);
    let mut owner = scene.owner();
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let sql = format!("BEGIN ISOLATION LEVEL {level}; SELECT bg_prepare('users')");
        each_is_refused(&scene, &mut owner, &[(&sql, "25001", &["REPEATABLE READ"])]);
    }
    owner.run("SELECT bg_prepare('users')");
    for verb in ["bg_backfill", "bg_abort"] {
        let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT {verb}('users')");
        let refusal = owner.refused(&sql);
        assert_eq!(refusal.code, "25001", "{verb}: {refusal:?}");
        owner.run("ROLLBACK");
    }
    owner.sync();
    let refusal = owner.refused("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT bg_swap('users')");
    refusal.assert_is("25001", &["REPEATABLE READ"]);
    owner.run("ROLLBACK");
    owner.refused("BEGIN READ ONLY; SELECT bg_swap('users')");
    owner.run("ROLLBACK");
    owner.swap();
}

#[test]
fn a_blue_schema_that_is_not_ours_is_refused_with_the_setting_that_picks_another() {
    let scene = STAGE.users(3);
    scene.admin().run("CREATE SCHEMA public_blue; CREATE TABLE public_blue.precious ()");
    let mut owner = scene.owner();
    let before = scene.inventory();

    let refusal = owner.refused("SELECT bg_prepare('users')");

    assert!(["42P06", "55000"].contains(&refusal.code.as_str()), "{refusal:?}");
    refusal.assert_names(&["public_blue"]);
    assert!(refusal.hint.contains("bluegreen.schema_suffix"), "{refusal:?}");
    before.assert_same(&scene.inventory());
    owner.run("SET bluegreen.schema_suffix = '_offline'; SELECT bg_prepare('users')");
    owner.run("RESET bluegreen.schema_suffix");
    owner.sync();
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_offline.users"), 3);
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    before.assert_same(&scene.inventory());
}

/// What depends on a column's type is found by trying the change without it.
#[test]
fn what_is_in_the_way_of_a_new_type_is_named() {
    let scene = STAGE.empty();
    scene.admin().run("CREATE TYPE state AS ENUM ('todo', 'done')");
    scene.table("tasks", "id int PRIMARY KEY, n int, status text, CONSTRAINT known CHECK (n > 0)");
    let change = "ALTER COLUMN status TYPE state USING status::state";
    for (make, undo, title) in [
        (
            "CREATE INDEX tasks_open ON tasks (n) WHERE status <> 'done'",
            "DROP INDEX tasks_open",
            "index tasks_open",
        ),
        (
            "ALTER TABLE tasks ADD CONSTRAINT short CHECK (length(status) < 9)",
            "ALTER TABLE tasks DROP CONSTRAINT short",
            "constraint short",
        ),
    ] {
        scene.admin().run(make);
        let mut owner = scene.owner();
        let refusal = owner.refused(&format!("SELECT bg_prepare('tasks', '{change}')"));
        assert!(refusal.detail.contains(title) && refusal.hint.contains(title), "{refusal:?}");
        let told = owner.text(&format!(
            "SELECT message || ' ' || hint FROM bg_check('tasks', '{change}') WHERE severity = 'error'"
        ));
        assert!(told.contains(title), "{told}");
        scene.admin().run(undo);
    }
    scene.owner().run(&format!("SELECT bg_prepare('tasks', '{change}')"));
}

/// A CHECK that rows meet only for a time is foretold, with the way out.
#[test]
fn a_check_whose_result_changes_by_itself_is_foretold() {
    let scene = STAGE.empty();
    scene.admin().run(
        "CREATE FUNCTION lately(t timestamptz) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT t > now()'",
    );
    scene.table(
        "offers",
        "id int PRIMARY KEY, until timestamptz CONSTRAINT open CHECK (until > clock_timestamp()),
         since timestamptz CONSTRAINT past CHECK (since < CURRENT_TIMESTAMP),
         seen timestamptz CONSTRAINT helped CHECK (lately(seen)),
         n int CONSTRAINT fixed CHECK (n > 0 AND n::text <> 'x')",
    );
    let mut owner = scene.owner();
    let told = |changes: &str| {
        format!(
            "SELECT string_agg(object || ' ' || (hint LIKE '%NOT VALID%'), ', ' ORDER BY object)
               FROM bg_check('offers', $${changes}$$) WHERE code = 'changing_check'"
        )
    };
    assert_eq!(owner.text(&told("")), "helped true, open true, past true");
    let changes =
        "DROP CONSTRAINT open, ADD CONSTRAINT open CHECK (until > clock_timestamp()) NOT VALID";
    assert_eq!(owner.text(&told(changes)), "helped true, past true");
}

#[test]
fn a_statement_that_is_pasted_as_changes_is_told_from_an_action() {
    let scene = STAGE.users(1);
    let mut owner = scene.owner();
    for (changes, hint) in [
        ("ALTER TABLE users ADD COLUMN phone text", "Leave out ALTER TABLE"),
        ("alter table only users ADD phone text;", "Leave out ALTER TABLE"),
        ("CREATE INDEX ON users (name)", "CREATE INDEX CONCURRENTLY"),
        ("CREATE UNIQUE INDEX u ON users (name)", "CREATE INDEX CONCURRENTLY"),
        ("DROP INDEX users_name", "DROP INDEX CONCURRENTLY"),
    ] {
        let refusal = owner.refused(&format!("SELECT bg_prepare('users', '{changes}')"));
        refusal.assert_is("42601", &["changes"]);
        assert!(refusal.hint.contains(hint), "{changes}: {refusal:?}");
    }
    owner.run("SELECT bg_prepare('users', 'ALTER COLUMN name DROP DEFAULT')");
}
