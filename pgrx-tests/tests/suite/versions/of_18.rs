//! What only newer servers have: it goes over, or is refused by name before anything is made. On an older server
//! there is nothing to carry: its statements are syntax errors there.

use std::collections::BTreeSet;

use bluegreen_tests::cluster::Options;

use super::round_trip::RoundTrip;
use crate::story::{Major, Scene, Stage, major, new_cluster, own, stage, workers};

/// With room for parallel workers beside those of other tests.
static STAGE: Stage = stage!(new_cluster(&workers::options()));

/// Whether the server has what these tests are about.
pub fn has_18() -> bool {
    major() >= Major::V18
}

/// Constraints of a table and to it, as the server prints them; those of NOT NULL are looked at by themselves.
const CONSTRAINTS: &str = "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
     WHERE (conrelid = 'users'::regclass OR confrelid = 'users'::regclass) AND contype <> 'n'
     ORDER BY 1";

/// What is made on live tables, which of them is deployed then, and how that is refused.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "ALTER TABLE users ADD CONSTRAINT x NOT NULL name NOT VALID",
        "users",
        "55000",
        "constraint x of public.users, a NOT NULL that is not valid,",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT z UNIQUE (id, at WITHOUT OVERLAPS)",
        "users",
        "0A000",
        "constraint z of public.users, a key WITHOUT OVERLAPS on or to public.users,",
    ),
    (
        "ALTER TABLE spans ADD CONSTRAINT k PRIMARY KEY (id, at WITHOUT OVERLAPS)",
        "spans",
        "0A000",
        "constraint k of public.spans, a key WITHOUT OVERLAPS on or to public.spans,",
    ),
    (
        "ALTER TABLE spans ADD PRIMARY KEY (id, at WITHOUT OVERLAPS);
         ALTER TABLE users ADD CONSTRAINT p FOREIGN KEY (id, PERIOD at) REFERENCES spans (id, PERIOD at)",
        "users",
        "0A000",
        "constraint p of public.users, a foreign key with PERIOD on or to public.users,",
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT z UNIQUE (id, at WITHOUT OVERLAPS);
         ALTER TABLE spans ADD CONSTRAINT q FOREIGN KEY (id, PERIOD at) REFERENCES users (id, PERIOD at)",
        "users",
        "0A000",
        "constraint q of public.spans, a foreign key with PERIOD on or to public.users,",
    ),
];

#[test]
fn trap_83_what_only_newer_servers_have_goes_over_or_is_refused_by_name() {
    for &(ddl, table, code, words) in REFUSED {
        let scene = STAGE.users(3);
        scene.table("spans", "id bigint, at tstzrange");
        let mut admin = scene.admin();
        admin.run("CREATE EXTENSION btree_gist; ALTER TABLE users ADD COLUMN at tstzrange");
        if !has_18() {
            assert_eq!(admin.refused(ddl).code, "42601", "{ddl}");
            continue;
        }
        admin.run(ddl);
        let before = scene.inventory();
        let mut owner = scene.owner();
        let refusal = owner.refused(&format!("SELECT bg_prepare('{table}', 'ADD COLUMN n int')"));
        refusal.assert_is(code, &[words]);
        assert!(refusal.hint.contains("for the deployment"), "{refusal:?}");
        before.assert_same(&scene.inventory());
        assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
    }
}

#[test]
fn constraints_that_are_not_enforced_stay_so() {
    let scene = STAGE.users(3);
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE other (id bigint PRIMARY KEY);
         CREATE TABLE pets (id int PRIMARY KEY, owner bigint);
         INSERT INTO pets VALUES (1, 1000), (2, 1);
         ALTER TABLE other OWNER TO owner; ALTER TABLE pets OWNER TO owner",
    );
    let own = "ALTER TABLE users ADD CONSTRAINT own FOREIGN KEY (id) REFERENCES other NOT ENFORCED";
    if !has_18() {
        assert_eq!(admin.refused(own).code, "42601");
        return;
    }
    admin.run(own);
    admin.run(
        "ALTER TABLE pets ADD CONSTRAINT theirs FOREIGN KEY (owner) REFERENCES users NOT ENFORCED;
         ALTER TABLE users ADD CONSTRAINT loose CHECK (id < 0) NOT ENFORCED",
    );
    let trip = RoundTrip { scene: &scene, look: CONSTRAINTS };
    let before = trip.seen();
    assert_eq!(before.iter().filter(|c| c.ends_with("NOT ENFORCED")).count(), 3, "{before:?}");
    let added = "ADD COLUMN n bigint DEFAULT 7, ADD CONSTRAINT new FOREIGN KEY (n) REFERENCES other NOT ENFORCED,
                 ADD CONSTRAINT slack CHECK (n < 0) NOT ENFORCED";
    let mut after: Vec<&str> = before.iter().map(String::as_str).collect();
    after.push("new FOREIGN KEY (n) REFERENCES other(id) NOT ENFORCED");
    after.push("slack CHECK ((n < 0)) NOT ENFORCED");
    after.sort_unstable();
    trip.assert(added, &after);
    // A deletion of what a pet refers to is nobody's business.
    admin.run("DELETE FROM users WHERE id = 1");
    assert_eq!(admin.text("SELECT string_agg(owner::text, ' ' ORDER BY id) FROM pets"), "1000 1");
}

#[test]
fn keys_over_periods_in_the_changes_are_refused_by_name() {
    let scene = STAGE.users(3);
    let mut admin = scene.admin();
    admin.run(
        "CREATE EXTENSION IF NOT EXISTS btree_gist;
         ALTER TABLE users ADD COLUMN at tstzrange",
    );
    let overlaps = "ADD CONSTRAINT z UNIQUE (id, at WITHOUT OVERLAPS)";
    let period = "ADD CONSTRAINT p FOREIGN KEY (id, PERIOD at) REFERENCES spans";
    let mut owner = scene.owner();
    let call = |changes: &str| format!("SELECT bg_prepare('users', '{changes}')");
    if !has_18() {
        for changes in [overlaps, period] {
            assert_eq!(owner.refused(&call(changes)).code, "42601", "{changes}");
        }
        return;
    }
    admin.run(
        "CREATE TABLE spans (id bigint, at tstzrange, PRIMARY KEY (id, at WITHOUT OVERLAPS));
         ALTER TABLE spans OWNER TO owner",
    );
    for (changes, name) in [
        (overlaps, "z of "),
        (period, "p of "),
        ("ADD CONSTRAINT x NOT NULL name NOT VALID", "x of "),
    ] {
        let refusal = owner.refused(&call(changes));
        refusal.assert_is("0A000", &[name]);
        assert!(refusal.hint.contains("bg_finish"), "{refusal:?}");
    }
    assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
}

#[test]
fn not_null_constraints_keep_their_names_and_whom_they_hold_for() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    let named = "ALTER TABLE users ADD CONSTRAINT \"Must\" NOT NULL name";
    if !has_18() {
        assert_eq!(admin.refused(named).code, "42601");
        return;
    }
    admin.run(named);
    admin.run(
        "ALTER TABLE users ADD COLUMN lone int DEFAULT 1, ADD CONSTRAINT alone NOT NULL lone NO INHERIT,
             ADD COLUMN free int DEFAULT 1, ADD CONSTRAINT gone NOT NULL free",
    );
    let look = "SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE conrelid = 'users'::regclass AND contype = 'n' ORDER BY conname COLLATE \"C\"";
    let trip = RoundTrip { scene: &scene, look };
    let usual = ["created_at", "email", "id"].map(|c| format!("users_{c}_not_null NOT NULL {c}"));
    let own = usual.iter().map(String::as_str);
    let before =
        ["Must NOT NULL name", "alone NOT NULL lone NO INHERIT", "gone NOT NULL free"].into_iter();
    assert_eq!(trip.seen(), before.chain(own.clone()).collect::<Vec<_>>());
    let after = [
        "Also NOT NULL n",
        "Shall NOT NULL name",
        "alone NOT NULL lone NO INHERIT",
        "apart NOT NULL m NO INHERIT",
    ];
    trip.assert(
        "ADD COLUMN n int CONSTRAINT \"Also\" NOT NULL DEFAULT 7, DROP CONSTRAINT gone,
         ADD COLUMN m int DEFAULT 8, ADD CONSTRAINT apart NOT NULL m NO INHERIT,
         RENAME CONSTRAINT \"Must\" TO \"Shall\"",
        &after.into_iter().chain(own).collect::<Vec<_>>(),
    );
    let nulls = "SELECT count(*) FROM users WHERE name IS NULL OR lone IS NULL OR m IS NULL";
    assert_eq!(admin.int(nulls), 0);
    for column in ["name", "lone", "m"] {
        let null = format!("UPDATE users SET {column} = NULL WHERE id = 1");
        assert_eq!(admin.refused(&null).code, "23502", "{column}");
    }
}

/// With REPLICA IDENTITY FULL the server lets no row be updated while a generated column is not published.
#[test]
fn a_generated_column_that_no_update_could_be_sent_with_is_refused() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    admin.run(
        "ALTER TABLE users REPLICA IDENTITY FULL;
         CREATE PUBLICATION named FOR TABLE users;
         CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA public",
    );
    let stored = "ADD COLUMN big text GENERATED ALWAYS AS (upper(name)) STORED";
    let call = |changes: &str| format!("SELECT bg_prepare('users', '{changes}')");
    let mut owner = scene.owner();
    if has_18() {
        let computed = "ADD COLUMN big text GENERATED ALWAYS AS (upper(name)) VIRTUAL";
        for changes in [stored, computed] {
            let refusal = owner.refused(&call(changes));
            refusal.assert_is("55000", &["users", "generated column big", "every UPDATE"]);
            assert!(refusal.hint.contains("publish_generated_columns"), "{refusal:?}");
        }
        assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
        let refused =
            format!("SELECT count(*) FROM bg_check('users', '{stored}') WHERE severity = 'error'");
        assert_eq!(owner.int(&refused), 2, "one for each publication");
        for publication in ["named", "of_schema"] {
            owner.refused(&call(stored));
            admin.run(&format!(
                "ALTER PUBLICATION {publication} SET (publish_generated_columns = stored)"
            ));
        }
    }
    let look = "SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attgenerated <> ''";
    RoundTrip { scene: &scene, look }.assert(stored, &["big"]);
    scene.app().run("UPDATE users SET name = 'x' WHERE id = 1; DELETE FROM users WHERE id = 2");
}

/// What is said to be missing is missing: another column, a row filter or a list may be the reason.
#[test]
fn a_publication_is_told_what_it_lacks_and_nothing_else() {
    if !has_18() {
        let published = "CREATE PUBLICATION p WITH (publish_generated_columns = stored)";
        assert_eq!(STAGE.empty().admin().refused(published).code, "42601");
        return;
    }
    let stored = "n int NOT NULL GENERATED ALWAYS AS (1) STORED";
    for (setup, changes, words) in [
        (
            "CREATE PUBLICATION p FOR TABLE users WHERE (id > 0) WITH (publish_generated_columns = stored)",
            format!("DROP CONSTRAINT users_pkey, ADD COLUMN {stored}, ADD PRIMARY KEY (n, email)"),
            "would not fit publication p",
        ),
        (
            "CREATE PUBLICATION p FOR TABLE users (id, email)",
            format!("DROP CONSTRAINT users_pkey, ADD COLUMN {stored}, ADD PRIMARY KEY (n, email)"),
            "would not fit publication p",
        ),
        (
            "CREATE PUBLICATION p FOR TABLE users WITH (publish_generated_columns = none)",
            format!("DROP CONSTRAINT users_pkey, ADD COLUMN {stored}, ADD PRIMARY KEY (n, email)"),
            "would have the generated column n, which publication p does not send",
        ),
        (
            "ALTER TABLE users REPLICA IDENTITY FULL, ADD COLUMN old text GENERATED ALWAYS AS (name) STORED;
             CREATE PUBLICATION p FOR TABLE users WITH (publish_generated_columns = stored)",
            "ADD COLUMN big text GENERATED ALWAYS AS (upper(name)) VIRTUAL".to_owned(),
            "would have the generated column big, which publication p does not send",
        ),
    ] {
        let scene = STAGE.users(3);
        scene.admin().run(setup);
        let call = format!("SELECT bg_prepare('users', '{changes}', key => '{{email}}')");
        let refusal = scene.owner().refused(&call);
        refusal.assert_is("55000", &["users", words]);
    }
}

#[test]
fn each_row_gets_a_uuid_of_its_own() {
    let scene = STAGE.users(300);
    if !has_18() {
        assert_eq!(scene.admin().refused("SELECT uuidv7()").code, "42883");
        return;
    }
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN key uuid NOT NULL DEFAULT uuidv7() UNIQUE");
    scene.app().run(
        "UPDATE users SET name = 'x' WHERE id <= 10;
         INSERT INTO users (name, email) SELECT n, n FROM generate_series(1001, 1010) n",
    );
    owner.run("CALL bg_run('users', 'swapped')");
    let versions = "SELECT count(DISTINCT key) || ' ' || string_agg(DISTINCT uuid_extract_version(key)::text, ' ') FROM users";
    assert_eq!(owner.text(versions), "310 7");
    let keys = owner.list("SELECT key FROM users ORDER BY id");
    owner.run("CALL bg_run('users', 'reverted')");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(owner.list("SELECT key FROM users ORDER BY id"), keys, "they were kept");
    owner.run("SELECT bg_finish('users')");
    assert_eq!(owner.list("SELECT key FROM users ORDER BY id"), keys, "and stay");
    scene.app().run("INSERT INTO users (name, email) VALUES ('new', 'new')");
    assert_eq!(owner.text(versions), "311 7");
}

/// A dump with the planner's statistics sets them with the tables' names, those of blue among them.
#[test]
fn a_dump_with_statistics_is_restored_in_the_middle_of_a_deployment() {
    let scene = STAGE.users(500);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut dump = scene.cluster.command("pg_dump");
    dump.args(["--statistics", "-d", &scene.database]);
    let dump = dump.output().unwrap();
    assert_eq!(dump.status.success(), has_18(), "{}", String::from_utf8_lossy(&dump.stderr));
    if !has_18() {
        return;
    }
    let text = String::from_utf8(dump.stdout).unwrap();
    assert!(text.contains("pg_restore_attribute_stats"));
    scene.admin().run("CREATE DATABASE restored_with_statistics");
    scene.cluster.psql_as("postgres", "restored_with_statistics", &text).unwrap();
    let restored =
        Scene { cluster: scene.cluster, database: "restored_with_statistics".to_owned() };
    let statistics = |scene: &Scene, schema: &str| {
        scene.admin().list(&format!(
            "SELECT concat_ws(' ', attname, null_frac, n_distinct, correlation) FROM pg_stats
              WHERE tablename = 'users' AND schemaname = '{schema}' ORDER BY attname"
        ))
    };
    for (schema, columns) in [("public", 4), ("public_blue", 5)] {
        let dumped = statistics(&scene, schema);
        assert_eq!(dumped.len(), columns, "{dumped:?}");
        assert_eq!(statistics(&restored, schema), dumped, "{schema}");
    }
    // The deployment that was dumped goes on.
    scene.app().run("UPDATE users SET name = 'later' WHERE id <= 10");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.assert_in_step("id, name, email, created_at");
    owner.run("SELECT bg_finish('users')");
    assert_eq!(statistics(&scene, "public").len(), 5);
    assert_eq!(owner.int("SELECT count(*) FROM users WHERE name = 'later' AND phone IS NULL"), 10);
    assert_eq!(scene.inventory().with("_blue"), [""; 0]);
}

/// Whoever reads the pages, the copy and the indexes are right. The table has some forty times as many as there are
/// buffers for it.
#[test]
fn deployments_are_right_with_every_way_of_reading_pages() {
    let any = Options::default().shared_buffers("1MB");
    let ways = if has_18() {
        let ways = "SELECT unnest(enumvals) FROM pg_settings WHERE name = 'io_method'";
        STAGE.empty().admin().list(ways)
    } else {
        assert_eq!(STAGE.empty().admin().refused("SHOW io_method").code, "42704");
        Vec::new()
    };
    println!("io_method: {}", ways.join(" "));
    for way in &ways {
        let cluster = own(new_cluster(&any.clone().set("io_method", way)));
        let scene = Scene::in_cluster(cluster);
        scene.add_wide_users(4000);
        let mut owner = scene.owner();
        owner.run("SELECT bg_prepare('users', 'ALTER COLUMN name TYPE varchar(40)')");
        scene.app().run("UPDATE users SET name = 'changed' WHERE id % 100 = 0");
        owner.run("CALL bg_run('users', 'swapped')");
        scene.assert_in_step("id, name, email, created_at, pad");
        let mut app = scene.app();
        app.run("SET enable_seqscan = off");
        let changed = "SELECT count(*) FROM users WHERE name = 'changed'";
        assert_eq!(app.int(changed), 40, "{way}");
        app.run("UPDATE users SET name = 'changed' WHERE id % 100 = 1");
        for until in ["reverted", "swapped", "finished"] {
            owner.run(&format!("CALL bg_run('users', '{until}')"));
            assert_eq!(app.int(changed), 80, "{way}: {until}");
        }
        assert_eq!(app.int("SELECT count(*) FROM users"), 4000, "{way}");
    }
    assert_eq!(ways.is_empty(), !has_18());
}

/// Since 18 several processes build a GIN index of a table that asks for them. The function tells the log by whom it is
/// evaluated, and rests, so that the workers come before one process has read everything.
const TOLD: &str = "
    CREATE FUNCTION told(tags int[]) RETURNS int[] IMMUTABLE PARALLEL SAFE LANGUAGE plpgsql AS $$
    BEGIN
        IF tags[3] % 100 = 0 THEN
            RAISE LOG 'tags are told to %', pg_backend_pid();
            PERFORM pg_sleep(0.02);
        END IF;
        RETURN tags;
    END $$;
    ALTER TABLE users ADD COLUMN tags int[], SET (parallel_workers = 2, autovacuum_enabled = off);
    INSERT INTO users (name, email, tags)
        SELECT n, n, ARRAY[n % 10, n % 7, n + 1000] FROM generate_series(1, 4000) n";

#[test]
fn gin_indexes_that_processes_build_together_find_every_row() {
    let scene = STAGE.users(0);
    let mut admin = scene.admin();
    admin.run(TOLD);
    admin.run("CREATE INDEX users_tags ON users USING gin (told(tags))");
    let log = || std::fs::read(scene.cluster.log_file()).unwrap();
    let before = log().len();
    let mut owner = scene.owner();
    let leader = owner.pid();
    owner.run("SET max_parallel_maintenance_workers = 2");
    owner.make_ready("ADD COLUMN phone text");
    let said = String::from_utf8_lossy(&log()[before..]).into_owned();
    let told = said.lines().filter_map(|line| line.split_once("tags are told to "));
    let told: BTreeSet<i32> = told.map(|(_, pid)| pid.parse().unwrap()).collect();
    println!("evaluated by {told:?}, the session is {leader}");
    assert!(told.contains(&leader), "the build and ANALYZE: {told:?}");
    assert_eq!(told.len() > 1, has_18(), "{told:?}");

    let found = "SELECT count(*) FROM users WHERE told(tags) && '{3,99}'";
    let same = "SELECT count(*) FROM users WHERE tags && '{3,99}'";
    admin.run("SET enable_seqscan = off");
    scene.app().run("UPDATE users SET tags = '{99}' WHERE id <= 5");
    for until in ["swapped", "reverted", "swapped", "finished"] {
        owner.run(&format!("CALL bg_run('users', '{until}')"));
        let plan = admin.list(&format!("EXPLAIN {found}")).join("\n");
        assert!(plan.contains("users_tags"), "{until}: {plan}");
        let by_scan = admin.int(same);
        assert_eq!(admin.int(found), by_scan, "{until}");
        assert!(by_scan > 900, "{until}: {by_scan}");
        scene.app().run("UPDATE users SET tags = '{99}' WHERE id BETWEEN 101 AND 105");
    }
}

#[test]
fn alter_constraint_is_refused_with_what_to_do_instead() {
    let scene = STAGE.users(3);
    let mut owner = scene.owner();
    let call = |action: &str| format!("SELECT bg_prepare('users', 'ALTER CONSTRAINT x {action}')");
    let hint =
        "Run ALTER TABLE with ALTER CONSTRAINT by itself, before bg_prepare or after bg_finish.";
    for action in ["NOT ENFORCED", "INHERIT", "NO INHERIT", "DEFERRABLE"] {
        let refusal = owner.refused(&call(action));
        match action {
            _ if has_18() || action == "DEFERRABLE" => {
                refusal.assert_is("0A000", &["changes cannot contain ALTER CONSTRAINT"]);
                assert_eq!(refusal.hint, hint);
            }
            // The older grammar knows them for other constraints, or not at all.
            "NO INHERIT" => assert_eq!(refusal.code, "0A000", "{refusal:?}"),
            _ => assert_eq!(refusal.code, "42601", "{refusal:?}"),
        }
    }
}
