//! What breaks the copy of a table (docs/hazards.md, 1, 2, 4, 11, 16, 18, 20 to 22, 28, 31, 32): each is
//! a test named after it.

use crate::story::{Errand, Stage, stage};

static STAGE: Stage = stage!();

/// The call that prepares a table with a gate in the mapping of a column.
const PREPARE_WITH_GATE: &str = r#"SELECT bg_prepare('users', 'ADD COLUMN passed boolean',
    forward => '{"passed": "public.gate(id, 500)"}')"#;

const COLUMNS: &str = "id, name, email, created_at";

#[test]
fn trap_01_rows_deleted_while_their_batch_is_copied_stay_deleted() {
    let scene = STAGE.users(1000);
    scene.with_gate();
    let mut owner = scene.owner();
    owner.run(PREPARE_WITH_GATE);
    let gate = scene.close_gate();
    let run = scene.send("owner", "CALL bg_run('users')");
    scene.until_at_gate();

    // The batch has its snapshot: it has read rows below 500 and will read those above.
    scene.app().run(
        "DELETE FROM users WHERE id IN (1, 499, 501, 1000);
         UPDATE users SET name = 'changed' WHERE id IN (2, 498, 502, 999);
         UPDATE users SET id = id + 10000 WHERE id IN (3, 503);
         INSERT INTO users (id, email) VALUES (1, 'again@example.org'), (5000, 'new@example.org')",
    );
    drop(gate);
    run.done();

    assert_eq!(scene.status("phase"), "ready");
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_02_the_copy_neither_locks_nor_writes_rows_of_green() {
    let scene = STAGE.users(5000);
    let mut owner = scene.owner();

    owner.make_ready("ADD COLUMN phone text");
    owner.sync();

    let mut admin = scene.admin();
    assert_eq!(admin.int("SELECT count(*) FROM users WHERE xmax <> 0"), 0);
    assert_eq!(admin.int("SELECT count(*) FROM public_blue.users"), 5000);
}

#[test]
fn trap_04_prepare_waits_for_writers_that_began_before_the_trigger_was_there() {
    let scene = STAGE.users(1000);
    let mut early = scene.app();
    early.run("BEGIN; INSERT INTO users (id, email) VALUES (5000, 'early@example.org')");

    let prepare = scene.send("owner", "SELECT bg_prepare('users')");
    scene.until_queued(1);
    early.run("UPDATE users SET name = 'early' WHERE id = 1; COMMIT");
    prepare.done();
    scene.owner().sync();

    assert_eq!(scene.admin().text("SELECT name FROM public_blue.users WHERE id = 1"), "early");
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_11_rows_moved_by_a_rewrite_during_the_copy_are_not_missed() {
    for rewrite in ["VACUUM FULL users", "CLUSTER users USING users_by_email"] {
        let scene = STAGE.users(200_000);
        // Room at the front, so that the rewrite moves rows over blocks that were copied already.
        scene.admin().run("CREATE INDEX users_by_email ON users (reverse(email))");
        scene.app().run("DELETE FROM users WHERE id <= 80000");
        let mut owner = scene.owner();
        owner.run("SET bluegreen.batch_time = '1ms'");
        owner.run("SELECT bg_prepare('users')");
        for _ in 0..3 {
            owner.run("SELECT bg_backfill('users', '1 ms')");
        }
        assert_eq!(scene.status("phase"), "copying", "copied too soon for the test");
        let copied: i64 = scene.status("rows_copied").parse().unwrap();
        assert!(copied < 120_000, "copied too soon for the test");

        owner.run(rewrite);
        // CLUSTER also leaves a mark, which is a change of the definition.
        owner.run("ALTER TABLE users SET WITHOUT CLUSTER");
        owner.sync();

        assert_eq!(scene.status("phase"), "ready");
        scene.assert_in_step(COLUMNS);
    }
}

#[test]
fn trap_16_row_security_never_makes_the_copy_skip_rows() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    // The owner himself may see half of the rows only.
    owner.run(
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
         CREATE POLICY half ON users USING (id % 2 = 0) WITH CHECK (true)",
    );
    assert_eq!(owner.int("SELECT count(*) FROM users"), 50);
    owner.make_ready("ADD COLUMN phone text");
    scene.admin().run("UPDATE users SET name = 'changed' WHERE id < 20");
    owner.sync();
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 100);
    // Nor does the blue environment show him, or others, more.
    assert_eq!(owner.int("SELECT count(*) FROM public_blue.users"), 50);
    assert_eq!(scene.app().int("SELECT count(*) FROM public_blue.users"), 50);
    owner.swap();
    assert_eq!(scene.admin().int("SELECT count(*) FROM users"), 100);
    assert_eq!(owner.int("SELECT count(*) FROM users"), 50);
    owner.run("SELECT bg_finish('users')");

    // Set in the middle: it is found, and named.
    owner.run("DROP POLICY half ON users");
    owner.run("ALTER TABLE users DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY");
    owner.run("SELECT bg_prepare('users')");
    owner.run("ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
    owner.refused("CALL bg_run('users')").assert_is("55000", &["users", "row level security"]);
    assert_ne!(scene.status("phase"), "ready");
}

#[test]
fn trap_18_an_always_identity_keeps_its_values_and_generated_columns_are_computed() {
    let scene = STAGE.empty();
    scene.table(
        "users",
        "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL UNIQUE,
         domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED",
    );
    let mut app = scene.app();
    app.run("INSERT INTO users (email) SELECT n || '@a.org' FROM generate_series(1, 300) n");
    app.run("DELETE FROM users WHERE id % 3 = 0");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    app.run("INSERT INTO users (email) VALUES ('late@b.org')");
    app.run("UPDATE users SET email = 'moved@c.org' WHERE id = 1");
    owner.swap();

    app.run("INSERT INTO users (email) VALUES ('after@d.org')");
    assert_eq!(app.text("SELECT id FROM users WHERE domain = 'd.org'"), "302");
    assert_eq!(app.text("SELECT domain FROM users WHERE id = 1"), "c.org");
    assert_eq!(
        app.refused("INSERT INTO users (id, email) VALUES (9, 'x@y')").code,
        "428C9",
        "the identity is GENERATED ALWAYS as before"
    );
    owner.run("CALL bg_run('users', 'swapped')");
    scene.assert_in_step("id, email, domain");
    owner.revert();
    app.run("INSERT INTO users (email) VALUES ('reverted@e.org')");
    assert_eq!(app.text("SELECT id FROM users WHERE domain = 'e.org'"), "303");
}

#[test]
fn trap_20_dropped_columns_do_not_shift_values() {
    let scene = STAGE.empty();
    scene.table(
        "users",
        "gone1 int, id bigint PRIMARY KEY, gone2 text, a text, b text, gone3 int, c text",
    );
    scene.admin().run(
        "INSERT INTO users SELECT n, n, 'x', 'a' || n, 'b' || n, n, 'c' || n
         FROM generate_series(1, 500) n;
         ALTER TABLE users DROP COLUMN gone1, DROP COLUMN gone2, DROP COLUMN gone3",
    );
    let mut owner = scene.owner();
    let mut app = scene.app();
    // The new one has a hole too.
    owner.make_ready("DROP COLUMN b, ADD COLUMN d text DEFAULT 'd'");
    app.run("UPDATE users SET a = 'A', c = 'C' WHERE id = 7; INSERT INTO users VALUES (501, 'x', 'y', 'z')");
    owner.sync();
    scene.assert_in_step("id, a, c");
    owner.swap();
    app.run("UPDATE users SET a = 'AA', c = 'CC' WHERE id = 8; INSERT INTO users VALUES (502, 'p', 'q', 'r')");
    owner.revert();

    assert_eq!(
        app.rows("SELECT a, b, c FROM users WHERE id IN (7, 8, 501, 502) ORDER BY id"),
        [["A", "b7", "C"], ["AA", "b8", "CC"], ["x", "y", "z"], ["p", "", "q"]]
            .map(|row| row.map(|v| (!v.is_empty()).then(|| v.to_owned())).to_vec())
    );
    scene.assert_in_step("id, a, c");
}

#[test]
fn trap_21_values_arrive_as_they_are() {
    let scene = STAGE.empty();
    scene.table(
        "users",
        "id bigint PRIMARY KEY, f8 float8, f4 float4, n numeric, t text, b bytea, j jsonb, js json,
         ts timestamptz, d date, iv interval, m money, a int[], r int4range, x \"char\", bt bit(3),
         na name, p point",
    );
    let rows = "
        (1, 0.1::float8 + 0.2, 1.1::real / 3, 1.10, '', '\\x00ff', '{\"a\": 1.00}', '{\"b\" : 2, \"b\":3}',
         'infinity', '-infinity', '1 mon -1 day', 12.34, '{1,NULL,3}', '[1,5)', 'x', B'101', 'n', '(0.1,0.3)'),
        (2, 'NaN', '-Infinity', 'NaN', E'line\\nline\\t\\\\', '', 'null', 'null', '0044-03-15 BC', '0001-01-01',
         '-00:00:00.000001', -0.01, '[0:1]={7,8}', 'empty', '', B'000', '', '(Infinity,NaN)'),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (4, 1e-307, 1e-37, 1e-200, repeat('long ', 5000), decode(repeat('00ff', 9000), 'hex'), '[]', '[]',
         now(), now()::date, '1 year', 0, '{}', '(,)', 'y', B'111', 'm', '(1e300,-1e300)')";
    let mut app = scene.app();
    app.run(&format!("INSERT INTO users VALUES {rows}"));
    let mut owner = scene.owner();
    // A client with other ideas about text.
    owner.run("SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Tokyo';
               SET extra_float_digits = -10; SET bytea_output = 'escape'; SET client_encoding = 'LATIN1'");
    owner.make_ready("ADD COLUMN phone text");
    app.run("UPDATE users SET id = id + 10 WHERE id > 1");
    owner.sync();

    // The binary forms, so that nothing is rounded by the comparison itself.
    let binary = "id, float8send(f8), float4send(f4), n::text, t, b, j::text, js::text, ts, d,
        interval_send(iv), m, a::text, r, x, bt, na, point_send(p)";
    scene.assert_same(
        &format!("SELECT {binary} FROM users"),
        &format!("SELECT {binary} FROM public_blue.users"),
    );
    owner.swap();
    assert_eq!(app.text("SELECT f8 FROM users WHERE id = 1"), "0.30000000000000004");
    assert_eq!(app.int("SELECT num_nonnulls(f8, f4, n, t, b, j, js, ts, d, iv, m, a, r, x, bt, na) FROM users WHERE id = 13"), 0);
}

#[test]
fn trap_22_nothing_of_ours_has_the_tables_row_type() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");

    let of_row_type = scene.admin().list(
        "SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute a
         JOIN pg_type t ON t.oid = a.atttypid WHERE t.typrelid IN
             ('public.users'::regclass, 'public_blue.users'::regclass)",
    );
    assert!(of_row_type.is_empty(), "{of_row_type:?}");

    // So a plain ALTER of the owner is not blocked by us; it is found, and abort is the way out.
    owner.run("ALTER TABLE users ALTER COLUMN name TYPE varchar(100)");
    owner.refused("SELECT bg_swap('users')").assert_is("55000", &["users"]);
    assert_eq!(owner.text("SELECT bg_abort('users')"), "aborted");
}

#[test]
fn trap_28_a_long_copy_holds_no_old_snapshot() {
    let scene = STAGE.wide_users(3000);
    let mut owner = scene.owner();
    // A copy of three seconds or more, in batches of 0.1.
    scene.admin().run(
        "CREATE FUNCTION public.slow(id bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN PERFORM pg_catalog.pg_sleep(0.001); RETURN true; END $$",
    );
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN slow boolean',
            forward => '{"slow": "public.slow(id)"}')"#,
    );
    let mut runner = scene.owner();
    runner.run("SET bluegreen.batch_time = '100ms'");
    let run = Errand::start(runner, "CALL bg_run('users')");

    let mut admin = scene.admin();
    let (mut oldest, mut starts) = (0.0_f64, std::collections::BTreeSet::new());
    while !run.is_done() {
        let rows = admin.rows(&format!(
            "SELECT extract(epoch FROM clock_timestamp() - xact_start), xact_start
             FROM pg_stat_activity WHERE pid = {} AND backend_xmin IS NOT NULL",
            run.pid
        ));
        for row in rows {
            if let [Some(age), Some(start)] = row.as_slice() {
                oldest = oldest.max(age.parse().unwrap());
                starts.insert(start.clone());
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    run.done();

    assert!(starts.len() > 10, "only {} transactions", starts.len());
    assert!(oldest < 1.0, "a snapshot of {oldest} s with batches of 0.1 s");
    assert_eq!(admin.int("SELECT count(*) FROM public_blue.users WHERE slow"), 3000);
}

#[test]
fn trap_31_prepare_is_refused_by_a_statement_that_is_using_the_table() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    let before = scene.inventory();

    let insert = "INSERT INTO users (name, email) SELECT bg_prepare('users'), 'x@example.org'";
    for sql in [
        insert,
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM users; FETCH c; SELECT bg_prepare('users')",
    ] {
        let refusal = owner.refused(sql);
        assert_eq!(refusal.code, "55006", "{refusal:?}");
        refusal.assert_names(&["users"]);
        let _ = owner.try_run("ROLLBACK");
    }

    before.assert_same(&scene.inventory());
    assert_eq!(scene.admin().int("SELECT count(*) FROM users"), 5);
}

#[test]
fn trap_31_the_refusal_says_what_to_do() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();

    owner.run("BEGIN; DECLARE c CURSOR FOR SELECT * FROM users; FETCH c");

    owner.refused("SELECT bg_prepare('users')").assert_helps();
}

#[test]
fn trap_32_the_callers_planner_settings_do_not_make_each_batch_a_whole_scan() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.run(
        "SET enable_tidscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off;
         SET enable_bitmapscan = off; SET jit = on; SET jit_above_cost = 0;
         SET bluegreen.batch_time = '1ms'",
    );
    owner.run("SELECT bg_prepare('users')");
    let mut admin = scene.admin();
    // Numbers of the server come with a delay, at the latest when a session is idle for a second.
    let scanned = "SELECT coalesce(seq_tup_read, 0) FROM pg_stat_user_tables
        WHERE relid = 'public.users'::regclass";
    owner.run("SELECT pg_stat_force_next_flush()");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let before = admin.int(scanned);

    owner.sync();

    let batches = admin.int("SELECT count(*) FROM bluegreen.history WHERE step ILIKE '%copy%'");
    println!("{batches} batches in the history");
    owner.run("SELECT pg_stat_force_next_flush()");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let read = admin.int(scanned) - before;
    assert!(read <= 20_000, "{read} rows were read by sequential scans of 20,000 rows");
}

/// An error that is not of the row's data, but that only this row leads to, stops the copy and says where.
#[test]
fn the_row_that_stops_a_copy_is_named() {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY, r text");
    scene.admin().run(
        "INSERT INTO users SELECT n, CASE n WHEN 7777 THEN 'no_such' ELSE 'pg_class' END
           FROM generate_series(1, 10000) n",
    );
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ALTER COLUMN r TYPE regclass USING r::regclass',
               reverse => '{"r": "r::text"}')"#,
    );
    let refusal = owner.refused("CALL bg_run('users')");
    refusal.assert_is("42P01", &["no_such"]);
    let error = scene.status("last_error");
    assert!(error.contains(r#"{"id": "7777"}"#), "{error}");
    scene.app().run("UPDATE users SET r = 'pg_proc' WHERE id = 7777");
    owner.sync();
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 10000);
}
