//! What the fast copier costs and leaves: memory of its own, and a table that is vacuumed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bluegreen_tests::cluster::Options;

use crate::story::{Major, Person, Scene, Stage, major, new_cluster, own, stage};

static STAGE: Stage = stage!();

/// Private memory of a process in MB, as the kernel counts it; none when it is gone.
fn own_megabytes(pid: i32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// By how many MB the private memory of somebody's backend grows at most while he does something.
fn growth(person: &mut Person, sql: &str) -> f64 {
    let pid = person.pid();
    let before = own_megabytes(pid).expect("a backend's memory");
    let stop = AtomicBool::new(false);
    let most = std::thread::scope(|threads| {
        let watch = threads.spawn(|| {
            let (mut most, mut looks) = (before, 0);
            while !stop.load(Ordering::SeqCst) {
                most = most.max(own_megabytes(pid).unwrap_or(0.0));
                looks += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(looks > 20, "too few looks: {looks}");
            most
        });
        let said = person.try_run(sql);
        stop.store(true, Ordering::SeqCst);
        let most = watch.join().expect("the watcher");
        said.expect("what was watched");
        most
    });
    println!("{sql}: from {before:.1} to {most:.1} MB");
    most - before
}

#[test]
fn the_copy_of_large_values_holds_few_of_them_in_memory() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, payload text");
    scene.admin().run(
        "ALTER TABLE users ALTER COLUMN payload SET STORAGE EXTERNAL;
         INSERT INTO users SELECT n, v FROM generate_series(1, 20) n,
             (SELECT string_agg(md5(m::text), '') AS v FROM generate_series(1, 327680) m) v",
    );
    let mut owner = scene.owner();
    owner.run("SET bluegreen.copy_workers = 1");
    // Rows as they are; rows taken apart; values that are looked into.
    for changes in [
        "",
        "ADD COLUMN phone text",
        "ADD COLUMN n int GENERATED ALWAYS AS (length(payload)) STORED, ADD CHECK (payload <> '')",
        "ALTER COLUMN payload SET STORAGE EXTENDED, ALTER COLUMN payload TYPE text USING upper(payload)",
    ] {
        let reverse = if changes.contains("upper") {
            r#", reverse => '{"payload": "lower(payload)"}'"#
        } else {
            ""
        };
        owner.run(&format!("SELECT bg_prepare('users', $changes${changes}$changes$ {reverse})"));

        let grown = growth(&mut owner, "CALL bg_run('users')");

        assert!(grown < 100.0, "{changes:?}: {grown} MB for 20 rows of 10 MB");
        assert_eq!(scene.status("copier"), "multi-insert");
        assert_eq!(scene.status("rows_copied"), "20");
        let size = "SELECT sum(length(payload)) FROM public_blue.users";
        assert_eq!(scene.admin().int(size), 20 * 10_485_760);
        owner.run("SELECT bg_abort('users')");
    }
}

#[test]
fn the_copy_of_a_million_rows_needs_no_memory_for_them() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, name text, n int");
    scene.admin().run(
        "INSERT INTO users SELECT n, 'name' || n, n FROM generate_series(1, 1000000) n; ANALYZE users",
    );
    let mut owner = scene.owner();
    // So that building the index is not what is measured.
    owner.run("SET bluegreen.copy_workers = 1; SET maintenance_work_mem = '1MB'");
    owner.run(
        "SELECT bg_prepare('users', 'ADD COLUMN twice bigint GENERATED ALWAYS AS (n * 2::bigint) STORED,
             ADD COLUMN phone text DEFAULT repeat(''p'', 10), ADD CHECK (n > 0)')",
    );
    let grown = growth(&mut owner, "CALL bg_run('users')");

    assert!(grown < 32.0, "{grown} MB");
    assert_eq!(scene.status("copier"), "multi-insert");
    assert_eq!(scene.status("rows_copied"), "1000000");
    scene.assert_same(
        "SELECT id, name, n, n * 2::bigint FROM users",
        "SELECT id, name, n, twice FROM public_blue.users",
    );
}

/// The pages of the new table that hold rows are all-visible, and it has no more empty ones than VACUUM leaves.
#[track_caller]
fn assert_vacuumed(scene: &Scene, least: i64) {
    let mut admin = scene.admin();
    let pages = "SELECT relpages || ' ' || relallvisible FROM pg_class WHERE oid = 'public_blue.users'::regclass";
    let found = admin.text(pages);
    let (all, visible) = found.split_once(' ').unwrap();
    let filled = "SELECT count(DISTINCT split_part(ctid::text, ',', 1)) FROM public_blue.users";
    assert_eq!(visible, admin.text(filled), "{found}");
    assert_eq!(
        admin.text("SELECT detail FROM bg_history() WHERE step = 'vacuum'"),
        format!("{visible} of {all} pages all-visible")
    );
    let (all, visible): (i64, i64) = (all.parse().unwrap(), visible.parse().unwrap());
    assert!(visible > least, "{found}");
    // Since 16 a table grows by several pages at a time: the last ones may be empty. VACUUM gives them back where they
    // are a sixteenth of the table or more, or a thousand (should_attempt_truncation of vacuumlazy.c).
    let (empty, least_given_back) = (all - visible, (all / 16).min(1000));
    println!("{empty} of {all} pages are empty");
    assert!(empty == 0 || (major() >= Major::V16 && empty < least_given_back), "{found}");
}

#[test]
fn the_new_table_is_all_visible_and_frozen_before_it_goes_live() {
    let small = STAGE.users(3_000);
    small.owner().make_ready("ADD COLUMN phone text");
    assert_vacuumed(&small, 20);
    let scene = STAGE.users(50_000);
    let mut owner = scene.owner();
    let mut admin = scene.admin();
    owner.make_ready("ADD COLUMN phone text");
    assert_vacuumed(&scene, 300);
    // Younger than anything that was there before.
    let age = admin
        .int("SELECT age(relfrozenxid) FROM pg_class WHERE oid = 'public_blue.users'::regclass");
    assert!(age < 10_000, "{age}");

    owner.swap();
    for sql in [
        "SELECT count(*) FROM (SELECT id FROM users WHERE id BETWEEN 1000 AND 1500) r",
        "SELECT count(*) FROM (SELECT name FROM users WHERE name BETWEEN 'First Last1' AND 'First Last2') r",
    ] {
        let plan =
            scene.app().list(&format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {sql}")).join("\n");
        assert!(plan.contains("Index Only Scan") && plan.contains("Heap Fetches: 0"), "{plan}");
    }
}

#[test]
fn nothing_is_vacuumed_where_the_setting_is_off() {
    let scene = STAGE.users(20_000);
    let mut owner = scene.owner();
    owner.run("SET bluegreen.vacuum = off");
    owner.make_ready("ADD COLUMN phone text");

    let mut admin = scene.admin();
    assert_eq!(admin.int("SELECT count(*) FROM bg_history() WHERE step = 'vacuum'"), 0);
    assert_eq!(admin.int("SELECT count(*) FROM bg_history() WHERE step = 'purge'"), 1);
    let visible = "SELECT relallvisible FROM pg_class WHERE oid = 'public_blue.users'::regclass";
    assert_eq!(admin.int(visible), 0);
    owner.swap();
}

#[test]
fn copy_and_verification_do_not_push_out_what_others_read() {
    // 2048 buffers; green and blue have 3 times as many pages each.
    let cluster = new_cluster(&Options::default().shared_buffers("16MB"));
    let scene = Scene::in_cluster(own(cluster));
    scene.table("users", "id bigint PRIMARY KEY, name text");
    let mut admin = scene.admin();
    admin.run(
        "CREATE EXTENSION pg_buffercache;
         INSERT INTO users SELECT n, repeat('x', 900) FROM generate_series(1, 50000) n;
         CREATE TABLE hot (id int, name text);
         INSERT INTO hot SELECT n, repeat('x', 900) FROM generate_series(1, 3600) n",
    );
    admin.run("VACUUM ANALYZE users, hot");
    admin.run("CHECKPOINT");
    if major() >= Major::V16 {
        // What VACUUM takes before 16. Since 17 it is eight times as much, an eighth of these buffers.
        let database = &scene.database;
        admin.run(&format!("ALTER DATABASE {database} SET vacuum_buffer_usage_limit = '256kB'"));
    }
    let held = "SELECT count(*) FROM pg_buffercache
                 WHERE relfilenode = pg_relation_filenode('hot') AND relforknumber = 0";
    for workers in [1, 2] {
        // Often, as pages that many use.
        (0..6).for_each(|_| admin.run("SELECT count(*) FROM hot"));
        let before = admin.int(held);
        assert!(before > 400, "{before}");
        let mut owner = scene.owner();
        owner.run(&format!(
            "SET bluegreen.copy_workers = {workers}; SET bluegreen.batch_time = '20ms';
             SELECT bg_prepare('users', '')"
        ));
        owner.run("CALL bg_run('users')");
        assert_eq!(scene.status("rows_copied"), "50000");
        assert_eq!(owner.int("SELECT count(*) FROM bg_verify('users')"), 0);
        let left = admin.int(held);
        println!("{workers} processes: {left} of {before}");
        assert!(left * 10 >= before * 9, "{workers} processes left {left} of {before} pages");
        owner.run("SELECT bg_abort('users')");
    }
}

/// Blocks of blue that the purge would have read in its next transaction.
fn blocks_of_the_next_purge(batch_time: &str) -> i64 {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, filler char(2000)");
    let mut admin = scene.admin();
    admin.run(
        "ALTER TABLE users ALTER COLUMN filler SET STORAGE PLAIN;
         INSERT INTO users SELECT n, 'old' FROM generate_series(1, 20000) n",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', '')");
    while scene.status("phase") != "indexing" {
        owner.run("SELECT bg_backfill('users', '0')");
    }
    owner.run("UPDATE users SET filler = 'new' WHERE id % 1000 = 0");
    owner.run(&format!("SET bluegreen.batch_time = '{batch_time}'"));
    owner.run("CALL bg_run('users')");
    let purged = "SELECT count FROM bg_history() WHERE step = 'purge'";
    assert_eq!(admin.int(purged), 20);
    scene.assert_same("TABLE users", "TABLE public_blue.users");
    admin.int("SELECT (progress ->> 'purge_blocks')::bigint FROM bluegreen.deployment")
}

#[test]
fn what_the_purge_reads_in_a_transaction_follows_the_clock() {
    let (hasty, patient) = (blocks_of_the_next_purge("1ms"), blocks_of_the_next_purge("10s"));
    assert!(hasty < 4096 && patient > 4096, "{hasty} {patient}");
}
