//! What was logged before a copy begins is forgotten; a copy of which little is left begins anew.

use std::time::Duration;

use crate::story::verification::assert_verified;
use crate::story::{Errand, Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

const ALL: &str = "UPDATE users SET name = name || '!'";

/// One batch after the other, until `phase` or the part of the copy is reached.
fn backfill_until(owner: &mut Person, question: &str) {
    let asked = format!("SELECT {question} FROM bg_status('users')");
    for _ in 0..500 {
        owner.run("SELECT bg_backfill('users', '0')");
        if owner.text(&asked) == "t" {
            return;
        }
    }
    panic!("never {question}");
}

/// Batches until some blocks are copied, and not all.
fn copy_a_part(owner: &mut Person) {
    backfill_until(owner, "rows_copied > 0");
    assert_eq!(owner.text("SELECT phase FROM bg_status('users')"), "copying");
}

/// What the history says of a step.
fn details(scene: &Scene, step: &str) -> Vec<String> {
    scene.admin().list(&format!(
        "SELECT coalesce(detail, '') FROM bg_history() WHERE step = '{step}' ORDER BY started_at"
    ))
}

#[track_caller]
fn assert_ready_and_right(scene: &Scene, owner: &mut Person) {
    assert_eq!(scene.status("phase"), "ready");
    scene.assert_same(
        "SELECT id, name, email FROM public.users",
        "SELECT id, name, email FROM public_blue.users",
    );
    assert_verified(owner);
}

#[test]
fn what_changed_before_the_copy_is_copied_and_not_synced() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    scene.app().run(ALL);
    scene.app().run("DELETE FROM users WHERE id <= 10; UPDATE users SET id = -id WHERE id <= 20");
    assert_eq!(scene.status("pending_changes"), "20020");

    owner.sync();

    assert_ready_and_right(&scene, &mut owner);
    assert_eq!(scene.status("restarts"), "0");
    let mut admin = scene.admin();
    let count = |admin: &mut Person, step: &str| -> i64 {
        admin.int(&format!("SELECT count FROM bg_history() WHERE step = '{step}'"))
    };
    assert_eq!(count(&mut admin, "copy"), 19_990);
    assert_eq!(count(&mut admin, "purge"), 0);
    assert_eq!(count(&mut admin, "first sync complete"), 0);
}

#[test]
fn a_change_that_is_not_committed_when_the_copy_begins_stays_in_the_log() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    let mut writer = scene.app();
    writer.run("BEGIN; UPDATE users SET name = 'late' WHERE id IN (1, 20000)");
    scene.app().run("UPDATE users SET name = 'early' WHERE id IN (2, 19999)");
    backfill_until(&mut owner, "phase = 'indexing'");
    writer.run("COMMIT");

    owner.sync();

    assert_ready_and_right(&scene, &mut owner);
    let names = "SELECT name FROM public_blue.users WHERE id IN (1, 2, 19999, 20000) ORDER BY id";
    assert_eq!(scene.admin().list(names), ["late", "early", "early", "late"]);
}

#[test]
fn rows_that_came_after_a_truncate_before_the_copy_are_kept() {
    let scene = STAGE.users(500);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    let mut app = scene.app();
    app.run("TRUNCATE users");
    app.run("INSERT INTO users (id, email) SELECT n, n FROM generate_series(1, 300) n");
    app.run("BEGIN; TRUNCATE users; INSERT INTO users (id, email) SELECT n, n FROM generate_series(1, 200) n; COMMIT");
    app.run("INSERT INTO users (id, email) VALUES (1000, 'last')");

    owner.sync();

    assert_ready_and_right(&scene, &mut owner);
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 201);
}

#[test]
fn a_copy_of_which_nothing_would_be_left_begins_anew() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    copy_a_part(&mut owner);
    scene.app().run(ALL);

    owner.sync();

    assert_ready_and_right(&scene, &mut owner);
    assert_eq!(scene.status("restarts"), "1");
    let told = details(&scene, "copy again");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("rows changed while") && told[0].contains("(1 of 2)"), "{told:?}");
    let synced = "SELECT count FROM bg_history() WHERE step = 'first sync complete'";
    assert_eq!(scene.admin().int(synced), 0);
    owner.swap();
    owner.revert();
}

#[test]
fn a_bulk_load_into_an_empty_table_begins_the_copy_anew() {
    let scene = STAGE.users(0);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.run("SELECT bg_backfill('users', '0')");
    assert_eq!(scene.status("phase"), "copying");
    scene.app().run("INSERT INTO users (email) SELECT n FROM generate_series(1, 15000) n");

    owner.sync();

    assert_ready_and_right(&scene, &mut owner);
    assert_eq!(scene.status("restarts || ' ' || rows_copied"), "1 15000");
}

#[test]
fn few_rows_that_change_again_and_again_leave_the_copy_as_it_is() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    copy_a_part(&mut owner);
    let mut app = scene.app();
    for _ in 0..210 {
        app.run("UPDATE users SET name = name || '!' WHERE id <= 100");
    }

    owner.sync();

    assert_ready_and_right(&scene, &mut owner);
    assert_eq!(scene.status("restarts"), "0");
}

#[test]
fn bulk_changes_without_an_end_begin_the_copy_anew_only_twice() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    for time in 0..3 {
        copy_a_part(&mut owner);
        scene.app().run(ALL);
        if time < 2 {
            backfill_until(&mut owner, "phase = 'prepared'");
        }
    }

    owner.sync();

    assert_ready_and_right(&scene, &mut owner);
    assert_eq!(scene.status("restarts"), "2");
    assert_eq!(details(&scene, "copy again").len(), 2);
    let told = details(&scene, "changed");
    assert!(told.len() == 1 && told[0].contains("one by one"), "{told:?}");
    // The planner of the application must not be told that the table is empty.
    let mut admin = scene.admin();
    let rows = "SELECT reltuples::int8 FROM pg_class WHERE oid = 'public_blue.users'::regclass";
    assert_eq!(admin.int(rows), 20_000);
    let columns = "SELECT count(*) FROM pg_stats WHERE schemaname = 'public_blue' AND tablename = 'users' AND attname IN ('id', 'name', 'email')";
    assert_eq!(admin.int(columns), 3);
}

#[test]
fn a_long_log_is_cut_before_the_copy_while_others_write() {
    let scene = STAGE.users(200_000);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    scene.app().run(ALL);
    let mut admin = scene.admin();
    let blocks = "SELECT pg_relation_size('bluegreen.forward_1') / 8192";
    assert!(admin.int(blocks) > 1024, "{}", admin.int(blocks));
    let writer = writer_for(&scene, 400);

    owner.sync();

    let wrote = writer.done();
    drop(wrote);
    owner.sync();
    assert_ready_and_right(&scene, &mut owner);
    assert_eq!(scene.status("restarts"), "0");
    assert!(admin.int(blocks) < 200, "{}", admin.int(blocks));
}

#[test]
fn a_long_log_is_emptied_row_by_row_where_a_writer_stays() {
    let scene = STAGE.users(200_000);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    scene.app().run(ALL);
    let mut writer = scene.app();
    writer.run("BEGIN; UPDATE users SET name = 'open' WHERE id = 7");
    let before = std::time::Instant::now();

    owner.sync();

    assert!(before.elapsed() < Duration::from_secs(60));
    assert_eq!(scene.status("phase || restarts"), "ready0");
    writer.run("COMMIT");
    owner.sync();
    assert_ready_and_right(&scene, &mut owner);
    let open = "SELECT name FROM public_blue.users WHERE id = 7";
    assert_eq!(scene.admin().text(open), "open");
}

/// Somebody who writes single rows, each in a transaction of its own.
fn writer_for(scene: &Scene, transactions: u32) -> Errand {
    let mut app = scene.app();
    app.run("CREATE TEMPORARY TABLE sums (n int); SET client_min_messages = error");
    scene.admin().run(&format!(
        "CREATE PROCEDURE public.write_rows() LANGUAGE plpgsql AS $$
         BEGIN
             FOR n IN 1..{transactions} LOOP
                 UPDATE public.users SET name = 'w' || n WHERE id = 1 + (n * 7919) % 200000;
                 COMMIT;
                 PERFORM pg_sleep(0.005);
             END LOOP;
         END $$"
    ));
    Errand::start(app, "CALL public.write_rows()")
}

/// Whoever prepares or keeps open the transaction of bg_backfill keeps no writer waiting: a long log is cut by
/// who commits at once.
#[test]
fn a_backfill_whose_transaction_stays_open_keeps_no_writer_waiting() {
    let scene = STAGE.users(200_000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut app = scene.app();
    app.run(ALL);
    // Nobody can cut the log while a writer has it.
    let mut slow = scene.app();
    slow.run("BEGIN; UPDATE users SET name = 'slow' WHERE id = 1");
    owner.run("CALL bg_run('users')");
    slow.run("COMMIT");
    let log = format!("SELECT pg_relation_size('bluegreen.forward_{}') / 8192", scene.status("id"));
    let blocks = scene.admin().int(&log);
    assert!((1024..16_384).contains(&blocks), "{blocks} blocks");
    owner.run("BEGIN");
    owner.run("SELECT bg_backfill('users')");
    app.run("SET lock_timeout = '2s'");
    app.run("UPDATE users SET name = 'writes' WHERE id = 2");
    owner.run("COMMIT");
    assert_eq!(scene.admin().int(&log), blocks);
    // A run cuts it.
    owner.run("CALL bg_run('users')");
    assert!(scene.admin().int(&log) < 10);
    assert_verified(&mut owner);
}

/// The swap reads all of the log under its locks, also what is there of changes that were brought in long ago.
#[test]
fn a_log_that_is_full_of_dead_rows_is_vacuumed_before_a_swap_reads_it() {
    let scene = STAGE.users(50_000);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut old = scene.admin();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    old.run("SELECT count(*) FROM users");
    for _ in 0..4 {
        scene.app().run(ALL);
    }
    owner.run(
        "SET bluegreen.max_final_drain = '2 ms'; SET bluegreen.wait_for_snapshots = off;
         SET bluegreen.retry_for = '3 s'",
    );
    // Too long to be cut while writers wait.
    owner.run("CALL bg_run('users')");
    let log = format!("bluegreen.forward_{}", scene.status("id"));
    let blocks = format!("SELECT pg_relation_size('{log}') / 8192");
    let found = scene.admin().int(&blocks);
    assert!(found > 1100, "{found} blocks");
    let refusal = owner.refused("SELECT bg_swap('users')");
    refusal.assert_is("55000", &["public.users", "too long to be read"]);
    assert!(refusal.hint.contains("bg_run"), "{refusal:?}");
    // In vain as long as somebody may see the rows.
    owner.refused("CALL bg_run('users', 'swapped')").assert_is("55000", &["too long to be read"]);
    let vacuums = format!("SELECT pg_stat_get_vacuum_count('{log}'::regclass)");
    assert!(scene.admin().int(&vacuums) > 0);
    old.run("COMMIT");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_verified(&mut owner);
}
