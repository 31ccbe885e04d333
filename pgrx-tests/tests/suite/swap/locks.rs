//! What breaks the moment of a swap: locks, queues and snapshots (docs/hazards.md, 7, 37 to 39, 41, 42,
//! 44 to 46). Each is a test named after it.

use std::time::Duration;

use crate::story::{Errand, Person, Scene, Stage, longest_wait_of_a_reader, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

/// `lock_timeout` is 200 ms; a reader may wait that long, and a loaded machine adds to it. Without
/// the discipline it would be two seconds or more.
const SHORT: Duration = Duration::from_secs(1);

fn ready(scene: &Scene) -> Person {
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner
}

#[test]
fn trap_07_what_commits_while_the_swap_waits_for_its_lock_is_in_the_new_table() {
    let scene = STAGE.users(100);
    let _owner = ready(&scene);
    let mut late = scene.app();
    late.run(
        "BEGIN; UPDATE users SET name = 'late' WHERE id = 1; DELETE FROM users WHERE id = 2;
         INSERT INTO users (id, email) VALUES (500, 'late')",
    );

    let swap = scene.send("owner", "SELECT bg_swap('users')");
    scene.until_queued(1);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!swap.is_done());
    late.run("COMMIT");
    swap.done();

    let mut app = scene.app();
    app.run("SELECT phone FROM users LIMIT 1");
    assert_eq!(app.text("SELECT name FROM users WHERE id = 1"), "late");
    assert_eq!(
        app.text("SELECT string_agg(id::text, ',' ORDER BY id) FROM users WHERE id IN (2, 500)"),
        "500"
    );
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_37_writers_queued_behind_the_swap_land_in_the_new_table() {
    let scene = STAGE.users(100);
    let mut owner = ready(&scene);
    scene.admin().run(
        "CREATE FUNCTION rename_user(i bigint) RETURNS void LANGUAGE plpgsql
             AS $$ BEGIN UPDATE users SET name = 'function' WHERE id = i; END $$;
         CREATE FUNCTION count_users() RETURNS bigint LANGUAGE plpgsql
             AS $$ DECLARE n bigint; BEGIN SELECT count(*) INTO n FROM users; RETURN n; END $$",
    );
    let mut prepared = scene.app();
    prepared.run("PREPARE p (bigint) AS UPDATE users SET name = 'prepared' WHERE id = $1");
    // Six times: from then on the plan is a generic one that is kept.
    for _ in 0..6 {
        prepared.run("EXECUTE p (90)");
    }
    let mut cached = scene.app();
    for _ in 0..6 {
        cached.run("SELECT rename_user(91)");
    }
    let mut fetched = scene.app();
    fetched.run("BEGIN");
    let mut driver = scene.app();
    let statement =
        driver.client.prepare("UPDATE users SET name = 'driver' WHERE id = $1").unwrap();
    driver.client.execute(&statement, &[&92_i64]).unwrap();
    owner.sync();

    owner.run("BEGIN; SELECT bg_swap('users')");
    let errands = [
        scene.send("app", "UPDATE users SET name = 'plain' WHERE id = 1"),
        Errand::start(prepared, "EXECUTE p (2)"),
        Errand::start(cached, "SELECT rename_user(3)"),
        scene.send("app", "INSERT INTO users (id, email) VALUES (500, 'queued')"),
        scene.send("app", "DELETE FROM users WHERE id = 4"),
        Errand::start(fetched, "SELECT count_users(); COMMIT"),
        scene.send(
            "app",
            "BEGIN; SELECT FROM users WHERE id = 5 FOR UPDATE;
                           UPDATE users SET id = 505 WHERE id = 5; COMMIT",
        ),
    ];
    let by_driver = std::thread::spawn(move || {
        driver.client.execute(&statement, &[&6_i64]).map_err(|error| error.to_string())
    });
    scene.until_queued(8);
    owner.run("COMMIT");

    for errand in errands {
        errand.done();
    }
    assert_eq!(by_driver.join().unwrap(), Ok(1));
    let mut app = scene.app();
    app.run("SELECT phone FROM users LIMIT 1");
    assert_eq!(
        app.text("SELECT string_agg(name, ' ' ORDER BY id) FROM users WHERE id IN (1, 2, 3, 6)"),
        "plain prepared function driver"
    );
    assert_eq!(
        app.text(
            "SELECT string_agg(id::text, ' ' ORDER BY id) FROM users WHERE id IN (4, 5, 500, 505)"
        ),
        "500 505"
    );
    // And they were captured there.
    owner.revert();
    assert_eq!(
        app.text("SELECT string_agg(name, ' ' ORDER BY id) FROM users WHERE id IN (1, 2, 3, 6)"),
        "plain prepared function driver"
    );
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_38_the_swap_waits_for_snapshots_to_which_the_new_table_is_empty_or_stale() {
    let scene = STAGE.users(1000);
    let mut older_than_the_copy = scene.app();
    older_than_the_copy.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let mut owner = ready(&scene);
    let pid = older_than_the_copy.pid().to_string();

    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '500 ms')");
    refusal.assert_helps();
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    assert!(refusal.everything().contains(&pid), "{refusal:?}");
    assert_eq!(owner.list("SELECT pid FROM bg_blockers('users')"), std::slice::from_ref(&pid));
    assert_eq!(older_than_the_copy.int("SELECT count(*) FROM users"), 1000);
    older_than_the_copy.run("COMMIT");

    // Younger than the copy, older than the last drain.
    let mut older_than_the_drain = scene.app();
    older_than_the_drain.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    scene.app().run("UPDATE users SET name = 'committed' WHERE id = 1; SELECT pg_sleep(0.05)");
    let mut present = scene.app();
    present.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    owner.sync_without_history("users");
    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '500 ms')");
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    older_than_the_drain.run("COMMIT");
    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '500 ms')");
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    present.run("COMMIT");

    // As young as can be: it may stay, and sees what there was at its time.
    owner.sync();
    let mut young = scene.app();
    young.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    // Writers without a snapshot stop nothing either, and other databases do not.
    let elsewhere = STAGE.users(1);
    let mut far = elsewhere.app();
    far.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    owner.run("SELECT bg_swap('users', retry_for => '5 s')");
    assert_eq!(young.int("SELECT count(*) FROM users"), 1000);
    assert_eq!(young.text("SELECT name FROM users WHERE id = 1"), "committed");
}

#[test]
fn trap_39_prepare_copy_and_swap_in_one_transaction_is_for_empty_tables() {
    const ALL: &str = "BEGIN; SELECT bg_prepare('users', 'ADD COLUMN phone text');
        SELECT bg_backfill('users'); SELECT bg_swap('users')";
    let scene = STAGE.users(100);
    let before = scene.inventory();
    let mut owner = scene.owner();

    let refusal = owner.refused(ALL);
    refusal.assert_helps();
    assert!(["25001", "55000", "0A000"].contains(&refusal.code.as_str()), "{refusal:?}");
    assert!(refusal.everything().contains("allow_single_transaction"), "{refusal:?}");
    owner.run("ROLLBACK");
    before.assert_same(&scene.inventory());

    owner.run("SET bluegreen.allow_single_transaction = on");
    owner.run(&format!("{ALL}; COMMIT"));
    assert_eq!(owner.int("SELECT count(*) FROM users WHERE phone IS NULL"), 100);
    owner.run("SELECT bg_finish('users')");

    // A framework's test database: the table is made in the same transaction.
    let scene = STAGE.empty();
    let mut admin = scene.admin();
    admin.run(&format!(
        "BEGIN; CREATE TABLE users (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text);
         {}; SELECT bg_finish('users'); INSERT INTO users (phone) VALUES ('7'); COMMIT",
        ALL.trim_start_matches("BEGIN; ")
    ));
    assert_eq!(admin.text("SELECT id || phone FROM users"), "17");
    let scene = STAGE.users(0);
    scene.owner().run(&format!("{ALL}; COMMIT"));
    assert_eq!(scene.status("phase"), "swapped");
}

#[test]
fn trap_41_plans_that_will_break_are_foretold() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    let breaks = |owner: &mut Person, changes: &str| {
        owner.int(&format!(
            "SELECT count(*) FROM bg_check('users', '{changes}')
             WHERE code = 'plan_break' AND severity = 'warning' AND hint LIKE '%Renew the clients'' connections%'"
        ))
    };
    assert_eq!(breaks(&mut owner, ""), 0);
    assert_eq!(breaks(&mut owner, "SET (fillfactor = 70)"), 0);
    assert_eq!(breaks(&mut owner, "ALTER COLUMN name SET NOT NULL"), 0);
    assert_eq!(breaks(&mut owner, "ADD COLUMN phone text"), 1);
    assert_eq!(breaks(&mut owner, "RENAME COLUMN name TO full_name"), 1);
    assert_eq!(breaks(&mut owner, "ALTER COLUMN name TYPE varchar(100)"), 1);

    // Nothing changes: a kept plan of SELECT * goes on through swap and revert.
    let mut client = scene.app();
    client.run("PREPARE everything AS SELECT * FROM users");
    client.run("EXECUTE everything");
    owner.make_ready("");
    owner.swap();
    assert_eq!(client.rows("EXECUTE everything").len(), 10);
    owner.revert();
    assert_eq!(client.rows("EXECUTE everything").len(), 10);
    owner.run("SELECT bg_abort('users')");
    // It does: exactly as foretold, and the remedy works.
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    assert_eq!(client.refused("EXECUTE everything").code, "0A000");
    scene.app().run("PREPARE everything AS SELECT * FROM users; EXECUTE everything");
}

#[test]
fn trap_42_readers_go_on_while_the_swap_waits_for_a_reader() {
    let scene = STAGE.users(100);
    let mut owner = ready(&scene);
    let mut slow = scene.app();
    slow.run("BEGIN; SELECT count(*) FROM users");
    let pid = slow.pid().to_string();

    let mut refusal = None;
    let longest = longest_wait_of_a_reader(&scene, "users", || {
        refusal = Some(owner.refused("SELECT bg_swap('users', retry_for => '3 s')"));
    });

    assert!(longest < SHORT, "a reader waited {longest:?}");
    let refusal = refusal.unwrap();
    refusal.assert_is("55P03", &["users"]);
    assert!(refusal.everything().contains(&pid), "who blocks is not named: {refusal:?}");
    slow.run("COMMIT");
    owner.swap();
}

#[test]
fn trap_44_a_try_that_gets_one_lock_and_not_the_other_keeps_none() {
    let scene = STAGE.users(100);
    let mut owner = ready(&scene);
    let mut reader_of_blue = scene.admin();
    reader_of_blue.run("BEGIN; SELECT count(*) FROM public_blue.users");
    // Also under a caller's savepoint.
    owner.run("BEGIN; SAVEPOINT a; SELECT 1; RELEASE a");

    let mut refusal = None;
    let longest = longest_wait_of_a_reader(&scene, "users", || {
        refusal = Some(owner.refused("SELECT bg_swap('users', retry_for => '3 s')"));
    });

    assert_eq!(refusal.unwrap().code, "55P03");
    assert!(longest < SHORT, "a reader of green waited {longest:?}");
    owner.run("ROLLBACK");
    reader_of_blue.run("COMMIT");
    owner.swap();
}

#[test]
fn trap_45_a_bulk_commit_that_slips_in_makes_the_swap_give_up_its_lock() {
    let scene = STAGE.users(200_000);
    let mut owner = ready(&scene);
    let mut bulk = scene.app();
    bulk.run("BEGIN; UPDATE users SET name = 'bulk'");

    let mut refusal = None;
    let longest = longest_wait_of_a_reader(&scene, "users", || {
        let swap = scene.send("owner", "SELECT bg_swap('users', retry_for => '5 s')");
        scene.until_queued(1);
        bulk.run("COMMIT");
        refusal = Some(swap.refused());
    });

    let refusal = refusal.unwrap();
    refusal.assert_is("55000", &["users"]);
    assert!(refusal.everything().contains("bg_run"), "who should drain it: {refusal:?}");
    assert!(longest < SHORT, "a reader waited {longest:?}");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(owner.int("SELECT count(*) FROM users WHERE name = 'bulk'"), 200_000);
}

#[test]
fn trap_46_dead_rows_of_the_log_do_not_make_a_sync_slow() {
    let scene = STAGE.users(50_000);
    let mut owner = ready(&scene);
    // Nobody may clean up behind us.
    let mut old = scene.mallory();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    let mut app = scene.app();
    for round in 0..10 {
        app.run(&format!("UPDATE users SET name = 'round {round}'"));
        owner.sync();
    }

    let mut admin = scene.admin();
    let logs = "FROM pg_class WHERE relnamespace = 'bluegreen'::regnamespace
        AND relname ~ '^(forward|reverse)_' AND relkind = 'r'";
    let pages = admin.int(&format!("SELECT (sum(pg_relation_size(oid)) / 8192)::bigint {logs}"));
    let touched = format!("SELECT coalesce(sum(pg_stat_get_blocks_fetched(oid)), 0) {logs}");
    let flush = |owner: &mut Person| {
        owner.run("SELECT pg_stat_force_next_flush()");
        std::thread::sleep(Duration::from_millis(1200));
        owner.run("SELECT 1");
    };
    flush(&mut owner);
    let before = admin.int(&touched);
    for _ in 0..10 {
        app.run("UPDATE users SET name = 'one' WHERE id = 1");
        owner.sync();
    }
    flush(&mut owner);
    let touched = admin.int(&touched) - before;

    println!("log of {pages} pages, {touched} pages touched by ten syncs of a row");
    // Without care it would be 3,000 pages for each, and more with each round.
    assert!(touched < 10 * 1_200, "{touched} pages of {pages} in ten syncs of one row");
}
