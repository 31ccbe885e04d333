//! bg_verify and the verification before the swap: they find every difference, and nothing else.
//!
//! Differences are made as a fault of ours would make them: the live table is changed, and what
//! capture wrote of it is taken out of the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::story::course::seed;
use crate::story::verification::{assert_verified, behind_our_back, problems};
use crate::story::{Errand, Person, Stage, stage};

static STAGE: Stage = stage!();

const COUNTS: &str =
    "SELECT problem || ' ' || count(*) FROM bg_verify('users') GROUP BY problem ORDER BY problem";

/// Stops the writers when the test ends, in whatever way.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn each_of_a_thousand_planted_differences_is_found_under_writes_and_nothing_else() {
    let scene = STAGE.users(200_000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let seed = seed();
    println!("seed {seed}");
    // Even ids are for the writers.
    scene.admin().run(&format!(
        "SELECT setseed({}); CREATE TABLE planted AS
             SELECT id, jsonb_build_object('id', id) AS key, (ARRAY['missing', 'extra', 'different'])[1 + (row_number() OVER ()) % 3] AS problem
               FROM (SELECT 2 * n - 1 AS id FROM generate_series(1, 100000) n ORDER BY random() LIMIT 1000) p;
         GRANT SELECT ON planted TO app",
        (seed % 1_000_000) as f64 / 1_000_000.0
    ));
    // A row that is missing in blue was inserted, here: deleted with notice, inserted without.
    scene
        .admin()
        .run("DELETE FROM users WHERE id IN (SELECT id FROM planted WHERE problem = 'missing')");
    owner.sync();
    behind_our_back(
        &scene,
        "INSERT INTO users (id, email) SELECT id, 'planted' || id FROM planted WHERE problem = 'missing';
         DELETE FROM users WHERE id IN (SELECT id FROM planted WHERE problem = 'extra');
         UPDATE users SET name = name || ' ' WHERE id IN (SELECT id FROM planted WHERE problem = 'different')",
    );

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopped = Stop(&stop);
        for writer in 0..3u32 {
            let (mut app, stop) = (scene.app(), &stop);
            scope.spawn(move || {
                let mut n = writer;
                while !stop.load(Ordering::Relaxed) {
                    n = (n * 31 + 7) % 100_000;
                    let id = 2 * n + 2;
                    app.run(&format!(
                        "UPDATE users SET name = 'w{n}' WHERE id = {id};
                         DELETE FROM users WHERE id = {id} + 20;
                         INSERT INTO users (id, email) VALUES ({id} + 20, 'again' || {id} || '.{writer}')
                             ON CONFLICT DO NOTHING"
                    ));
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let planted = problems(&mut scene.admin(), "planted");
        for _ in 0..3 {
            assert_eq!(problems(&mut owner, "bg_verify('users')"), planted);
            owner.sync();
        }
    });

    let refusal = owner.refused("CALL bg_run('users', 'swapped')");
    refusal.assert_is("55000", &["1000 rows", "public.users"]);
    assert!(refusal.hint.contains("repair => true"), "{refusal:?}");
    scene.assert_same(
        "SELECT key, problem FROM planted",
        "SELECT key, problem FROM bg_differences() WHERE source = 'public.users'",
    );
    assert_eq!(scene.mallory().int("SELECT count(*) FROM bg_differences()"), 0);

    assert_eq!(owner.rows("SELECT * FROM bg_verify('users', repair => true)").len(), 1000);
    assert_eq!(owner.int("SELECT count(*) FROM bg_differences()"), 0);
    scene.assert_in_step("id, name, email, created_at");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_verified(&mut owner);
}

#[test]
fn what_waits_in_the_log_is_no_difference() {
    let scene = STAGE.users(2000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    scene.app().run(
        "UPDATE users SET name = 'new' WHERE id < 100;
         DELETE FROM users WHERE id BETWEEN 100 AND 200;
         UPDATE users SET id = id + 10000 WHERE id BETWEEN 201 AND 300;
         INSERT INTO users (email) SELECT 'new' || n FROM generate_series(1, 100) n",
    );
    assert_verified(&mut owner);
    scene.admin().run("TRUNCATE users; INSERT INTO users (id, email) VALUES (1, 'first')");
    assert_verified(&mut owner);
    owner.sync();
    assert_verified(&mut owner);
    behind_our_back(&scene, "DELETE FROM users");
    assert_eq!(owner.list(COUNTS), ["extra 1"]);
}

#[test]
fn the_verification_before_the_swap_can_be_switched_off() {
    let scene = STAGE.users(1000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    behind_our_back(&scene, "UPDATE users SET name = 'other' WHERE id = 7");
    owner.refused("CALL bg_run('users', 'swapped')").assert_is("55000", &["1 row"]);
    assert_eq!(scene.status("phase"), "ready");
    assert!(scene.status("last_error").contains("differ"));
    owner.run("SET bluegreen.verify_before_swap = off; ");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(scene.status("phase"), "swapped");
}

#[test]
fn bg_verify_is_refused_before_the_copy_is_in_step_and_to_others() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.refused("SELECT * FROM bg_verify('users')").assert_is("55000", &["users"]);
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner
        .refused("SELECT * FROM bg_verify('users')")
        .assert_is("55000", &["bg_verify", "ready or swapped", "prepared"]);
    owner.sync();
    scene.mallory().refused("SELECT * FROM bg_verify('users')").assert_is("42501", &["users"]);
    scene.app().refused("SELECT * FROM bg_verify('users', true)").assert_is("42501", &["users"]);
    owner
        .refused("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM bg_verify('users')")
        .assert_is("25001", &["bg_verify"]);
}

#[test]
fn values_of_every_kind_are_compared_as_they_were_copied() {
    let scene = STAGE.empty();
    scene.admin().run(
        "CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE DOMAIN short AS varchar(5);
         CREATE TYPE pair AS (a int, b text)",
    );
    scene.table(
        "users",
        "id uuid PRIMARY KEY, big text, packed text, plain text, doc json, docb jsonb,
         n numeric, f float8, r real, b bit varying, c \"char\", fixed char(8), s short, m mood, p pair,
         list int[], range tstzrange, ip inet, raw bytea, t timestamptz, wide varchar, v int,
         g int GENERATED ALWAYS AS (length(wide)) STORED",
    );
    scene.admin().run(
        "ALTER TABLE users ALTER plain SET STORAGE EXTERNAL;
         INSERT INTO users SELECT md5(n::text)::uuid,
             (SELECT string_agg(md5((n * 1000 + i)::text), '') FROM generate_series(1, 300) i),
             repeat('packed', 500 + n), repeat('plain', 800), '{\"a\" : 1}', '{\"a\": [1, 2]}',
             CASE n % 4 WHEN 0 THEN 'NaN' WHEN 1 THEN 1.50 WHEN 2 THEN 1e300 END,
             (CASE n % 3 WHEN 0 THEN '-0' WHEN 1 THEN 'Infinity' ELSE 'NaN' END)::float8, 0.1, B'101', 'x', 'ab',
             'short', 'happy', ROW(n, 'b')::pair, ARRAY[n, NULL], tstzrange(now(), NULL), '::1', '\\x00ff',
             now(), 'text' || n, n
         FROM generate_series(1, 300) n;
         INSERT INTO users (id) VALUES (md5('nothing')::uuid)",
    );
    let mut owner = scene.owner();
    owner.make_ready(
        "ADD COLUMN phone text, DROP COLUMN r, ALTER COLUMN s TYPE varchar(20), ALTER COLUMN v TYPE bigint,
         ALTER COLUMN big SET COMPRESSION pglz, ADD COLUMN added text NOT NULL DEFAULT 'new'",
    );
    assert_verified(&mut owner);
    scene.app().run("UPDATE users SET big = big || 'x' WHERE v % 10 = 0");
    owner.sync();
    assert_verified(&mut owner);
    behind_our_back(
        &scene,
        "UPDATE users SET plain = plain || 'x' WHERE v = 1;
         UPDATE users SET big = left(big, 9000) || 'x' WHERE v = 2;
         UPDATE users SET f = '0' WHERE v = 3;
         UPDATE users SET n = 1.5 WHERE v = 5;
         UPDATE users SET doc = '{\"a\":1}' WHERE v = 6;
         UPDATE users SET list = NULL WHERE v = 7;
         UPDATE users SET wide = NULL WHERE v = 8;
         UPDATE users SET r = 7 WHERE v = 9",
    );
    let expected = "SELECT jsonb_build_object('id', id) AS key, 'different' FROM users WHERE v IN (1, 2, 3, 5, 6, 7, 8)";
    scene.assert_same(expected, "SELECT key, problem FROM bg_verify('users')");
    owner.run("SELECT * FROM bg_verify('users', true)");
    owner.swap();
    assert_verified(&mut owner);
}

/// How often this session and those before it searched in the index of the live table's TOAST table.
fn searches(person: &mut Person) -> i64 {
    person.run("SELECT pg_stat_force_next_flush()");
    person.int(
        "SELECT s.idx_scan FROM pg_class c JOIN pg_stat_sys_indexes s ON s.relid = c.reltoastrelid
          WHERE c.oid = 'users'::regclass",
    )
}

/// Both columns lie beside the table, `packed` compressed. Behind our back the live table is changed and
/// then put into the order of its keys again, so that each row meets its own in the new table.
#[test]
fn long_values_are_compared_to_their_last_byte() {
    let long = |times: u32| {
        format!(
            "(SELECT string_agg(repeat(md5((n * 1000 + i)::text), {times}), '') FROM generate_series(1, 300) i)"
        )
    };
    for changes in ["ADD COLUMN phone text", "ALTER COLUMN n TYPE bigint"] {
        let scene = STAGE.empty();
        scene.table("users", "id int PRIMARY KEY, n int, long text, packed text, piece text");
        scene.admin().run(&format!(
            "INSERT INTO users SELECT n, n, {once}, CASE WHEN n NOT BETWEEN 17 AND 20 THEN {} END, left({once}, 3 * 1996)
               FROM generate_series(1, 400) n;
             ALTER TABLE users CLUSTER ON users_pkey;
             ANALYZE users",
            long(3),
            once = long(1)
        ));
        let beside = "SELECT bool_and(pg_column_size(long) = length(long) AND
                                      pg_column_size(packed) BETWEEN 6000 AND length(packed) / 2) FROM users";
        assert_eq!(scene.admin().text(beside), "t", "one is compressed, the other is not");
        let mut owner = scene.owner();
        owner.make_ready(changes);
        let before = searches(&mut owner);
        assert_verified(&mut owner);
        let searched = searches(&mut owner) - before;
        assert!(
            (1..100).contains(&searched),
            "{searched} searches for 1,200 values that lie in order"
        );
        // The live table's values no longer lie in the order of its rows; those of some rows lie twice.
        scene.app().run("UPDATE users SET long = long || 'x' WHERE id % 7 = 0");
        owner.sync();
        scene.admin().run("UPDATE users SET long = left(long, -1) WHERE id % 7 = 0");
        owner.sync();
        assert_verified(&mut owner);
        behind_our_back(
            &scene,
            "UPDATE users SET n = -n WHERE id = 19;
             UPDATE users SET long = overlay(long placing '#' FROM 1) WHERE id = 10;
             UPDATE users SET long = overlay(long placing '#' FROM 1996) WHERE id = 20;
             UPDATE users SET long = overlay(long placing '#' FROM 1997) WHERE id = 30;
             UPDATE users SET long = overlay(long placing '#' FROM length(long)) WHERE id = 40;
             UPDATE users SET long = left(long, -1) WHERE id = 50;
             UPDATE users SET long = left(long, 4 * 1996) WHERE id = 60;
             UPDATE users SET long = 'short' WHERE id = 70;
             UPDATE users SET packed = overlay(packed placing '#' FROM length(packed)) WHERE id = 80;
             UPDATE users SET long = packed, packed = long WHERE id = 90;
             UPDATE users SET piece = overlay(piece placing '#' FROM length(piece)) WHERE id = 100;
             UPDATE users SET piece = piece || '#' WHERE id = 110;
             UPDATE users SET piece = NULL WHERE id = 120;
             UPDATE users SET long = long || '' WHERE id = 130;
             DELETE FROM users WHERE id = 140",
        );
        scene.admin().run("CLUSTER users");
        // Nothing that lies beside row 19 is read: what is read next is not that of row 20.
        let changed = [10, 19].into_iter().chain((2..=12).map(|n| 10 * n));
        let different = changed.map(|id| format!("{{\"id\": {id}}} different"));
        let expected: Vec<_> = different.chain(["{\"id\": 140} extra".to_owned()]).collect();
        assert_eq!(problems(&mut owner, "bg_verify('users')"), expected, "{changes}");
        // The new table's order too, and the live one's own again.
        scene.admin().run("VACUUM FULL public_blue.users");
        assert_eq!(problems(&mut owner, "bg_verify('users', true)"), expected, "{changes}");
        assert_verified(&mut owner);
    }
}

#[test]
fn columns_that_nobody_can_compute_again_are_left_out() {
    let scene = STAGE.users(3000);
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN token text, ADD COLUMN phone text',
            forward => '{"token": "gen_random_uuid()::text"}')"#,
    );
    owner.sync();
    assert_verified(&mut owner);
    behind_our_back(&scene, "UPDATE users SET email = 'x' || email WHERE id IN (1, 3000)");
    assert_eq!(owner.list(COUNTS), ["different 2"]);
    owner.run("SELECT * FROM bg_verify('users', true)");
    owner.run("CALL bg_run('users', 'swapped')");
    // What only the new table has is no difference either, and a repair leaves it alone.
    scene.app().run("UPDATE users SET phone = '1' WHERE id < 10");
    owner.sync();
    assert_verified(&mut owner);
    owner.revert();
    behind_our_back(&scene, "UPDATE users SET email = 'y' || email WHERE id = 5");
    owner.run("SELECT * FROM bg_verify('users', true)");
    assert_verified(&mut owner);
    assert_eq!(scene.admin().text("SELECT phone FROM public_blue.users WHERE id = 5"), "1");
}

#[test]
fn after_the_swap_rows_whose_way_back_leads_elsewhere_are_no_difference() {
    let scene = STAGE.users(1000);
    scene
        .admin()
        .run("ALTER TABLE users ADD COLUMN price numeric; UPDATE users SET price = id + 0.4");
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ALTER COLUMN price TYPE bigint',
            forward => '{"price": "round(price)"}', reverse => '{"price": "price"}')"#,
    );
    owner.sync();
    assert_verified(&mut owner);
    owner.swap();
    assert_verified(&mut owner);
    scene.app().run("UPDATE users SET price = price + 1 WHERE id <= 100");
    owner.sync();
    assert_verified(&mut owner);
    behind_our_back(&scene, "UPDATE users SET price = price + 1 WHERE id BETWEEN 91 AND 110");
    assert_eq!(owner.list(COUNTS), ["different 20"]);
    owner.run("SELECT * FROM bg_verify('users', true)");
    assert_verified(&mut owner);
    owner.revert();
    assert_verified(&mut owner);
}

#[test]
fn rows_that_cannot_be_written_stop_no_verification() {
    let scene = STAGE.users(2000);
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN length int NOT NULL',
            forward => '{"length": "1000 / (length(name) - 3)"}')"#,
    );
    owner.sync();
    scene.app().run("UPDATE users SET name = 'Bob' WHERE id IN (7, 700)");
    owner.sync();
    assert_eq!(scene.status("misfits"), "2");
    assert_verified(&mut owner);
    behind_our_back(
        &scene,
        "UPDATE users SET name = 'Anna' WHERE id IN (8, 701, 1999); DELETE FROM users WHERE id = 9",
    );
    assert_eq!(owner.list(COUNTS), ["different 3", "extra 1"]);
}

#[test]
fn keys_of_several_columns_and_changed_types_are_followed() {
    let scene = STAGE.empty();
    scene.table("users", "a int, \"odd\"\" name\" text, v int, PRIMARY KEY (\"odd\"\" name\", a)");
    scene.admin().run(
        "INSERT INTO users SELECT n, 'k''' || n % 7, n FROM generate_series(1, 5000) n; ANALYZE users",
    );
    let mut owner = scene.owner();
    owner.make_ready("ALTER COLUMN a TYPE bigint, ADD COLUMN phone text");
    assert_verified(&mut owner);
    behind_our_back(
        &scene,
        "UPDATE users SET a = a + 100000 WHERE v = 10; DELETE FROM users WHERE v = 11; UPDATE users SET v = 0 WHERE v = 12",
    );
    assert_eq!(
        owner.list("SELECT problem || (key->>'odd\" name') || ' ' || (key->>'a') FROM bg_verify('users') ORDER BY 1"),
        ["differentk'5 12", "extrak'3 10", "extrak'4 11", "missingk'3 100010"]
    );
    owner.run("SELECT * FROM bg_verify('users', true)");
    assert_verified(&mut owner);
}

#[test]
fn a_verification_reads_as_the_owner() {
    let scene = STAGE.users(300);
    scene.admin().run("GRANT CREATE ON SCHEMA public TO owner; CREATE TABLE seen (who name); GRANT ALL ON seen TO PUBLIC");
    let mut owner = scene.owner();
    owner.run(
        "CREATE FUNCTION public.spy(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF current_user <> 'owner' THEN RAISE EXCEPTION 'run as %', current_user; END IF;
             RETURN v;
         END $$",
    );
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN copy text', forward => '{"copy": "public.spy(name)"}')"#,
    );
    owner.sync();
    behind_our_back(&scene, "UPDATE users SET name = 'x' WHERE id = 1");
    let mut admin = scene.admin();
    assert_eq!(admin.list(COUNTS), ["different 1"]);
    admin.run("SELECT * FROM bg_verify('users', true)");
    admin.run("CALL bg_run('users', 'swapped')");
}

#[test]
fn a_rewrite_in_the_middle_begins_the_verification_again() {
    let scene = STAGE.wide_users(3000);
    scene.with_gate();
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN passed boolean',
            forward => '{"passed": "public.gate(id, 1500)"}')"#,
    );
    owner.sync();
    behind_our_back(&scene, "UPDATE users SET name = 'x' WHERE id IN (1, 2999)");
    let gate = scene.close_gate();
    owner.run("SET bluegreen.batch_time = '10ms'");
    let run = Errand::start(owner, "CALL bg_run('users', 'swapped')");
    scene.until_at_gate();
    let rewrite = scene.send("owner", "VACUUM FULL users");
    scene.until_queued(1);
    drop(gate);
    rewrite.done();
    run.refused().assert_is("55000", &["2 rows"]);
}
