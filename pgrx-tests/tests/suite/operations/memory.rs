//! Memory: what is done again and again leaves nothing behind in its session, neither in the server's
//! memory contexts nor on the extension's own heap.

use std::time::Duration;

use crate::story::{Errand, Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// What a session's caches may still grow by when they are warm, in bytes.
const SLACK: i64 = 128 << 10;
/// What its heap may grow by, in bytes: the allocator gives memory back late, and forty deployments from prepare
/// to abort leave 4 to 5 MB of it in pieces. (Not in use: `malloc_stats` counts 1 kB more for each.)
const HEAP_SLACK: i64 = 8 << 20;

/// Memory of a session in bytes.
#[derive(Debug, Clone, Copy)]
struct Memory {
    /// In use in the server's memory contexts.
    contexts: i64,
    /// Private pages of the process: the contexts and the heap.
    pages: i64,
}

/// Private pages of a process in bytes, as the kernel counts them.
fn pages(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a backend");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    let kilobytes: i64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes << 10
}

fn memory(person: &mut Person) -> Memory {
    let contexts = person.int("SELECT sum(used_bytes)::int8 FROM pg_backend_memory_contexts");
    Memory { contexts, pages: pages(person.pid()) }
}

/// Does something until caches are warm, and then so often again, after which the session must be no
/// larger.
#[track_caller]
fn assert_leaves_nothing(
    person: &mut Person,
    what: &str,
    (warm, often): (u32, u32),
    slack: i64,
    mut act: impl FnMut(&mut Person),
) {
    (0..warm).for_each(|_| act(person));
    let before = memory(person);
    (0..often).for_each(|_| act(person));
    let after = memory(person);
    println!("{what}: {before:?}, {often} times later {after:?}");
    assert!(after.contexts - before.contexts < slack, "{what}: {before:?} {after:?}");
    assert!(after.pages - before.pages < HEAP_SLACK, "{what}: {before:?} {after:?}");
}

/// What the server's memory contexts of a session hold while it does something, look by look.
fn looks(scene: &Scene, mut person: Person, sql: &str) -> Vec<i64> {
    let pid = person.pid();
    let errand = Errand::start(person, sql);
    let mut admin = scene.admin();
    while !errand.is_done() {
        admin.run(&format!("SELECT pg_log_backend_memory_contexts({pid})"));
        std::thread::sleep(Duration::from_millis(5));
    }
    errand.done();
    let log = std::fs::read_to_string(scene.cluster.log_file()).unwrap();
    let (process, total) = (format!("[{pid}]"), "Grand total: ");
    let looks: Vec<i64> = log
        .lines()
        .filter(|line| line.contains(&process) && line.contains(total))
        .filter_map(|line| line.rsplit(' ').nth(1)?.parse().ok())
        .collect();
    println!("{sql}: {looks:?}");
    assert!(looks.len() >= 9, "too few looks: {looks:?}");
    looks
}

/// Asserts that the least that the last third of the looks shows is no more than in the middle one. The
/// first fills caches; and a look into the middle of a batch, or of an index build, shows more than
/// what stays.
#[track_caller]
fn assert_flat(looks: &[i64], slack: i64) {
    let third = looks.len() / 3;
    let least = |looks: &[i64]| *looks.iter().min().unwrap();
    let grown = least(&looks[2 * third..]) - least(&looks[third..2 * third]);
    assert!(grown < slack, "grown by {grown} bytes: {looks:?}");
}

#[test]
fn capture_of_a_hundred_thousand_changes_in_one_transaction_keeps_none_of_them() {
    let scene = STAGE.users(5_000);
    scene.owner().run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    let mut admin = scene.admin();
    admin.run("BEGIN");
    assert_leaves_nothing(&mut admin, "changes", (2, 10), SLACK, |admin| {
        admin.run(
            "UPDATE users SET name = name || '.';
             UPDATE users SET id = -id;
             DELETE FROM users WHERE abs(id) % 10 = 0;
             INSERT INTO users (id, email) SELECT n, n || '@new' FROM generate_series(10, 5000, 10) n",
        );
    });
    admin.run("COMMIT");
}

#[test]
fn hundreds_of_batches_of_the_copy_keep_nothing_of_each_other() {
    let scene = STAGE.wide_users(8_000);
    let mut admin = scene.admin();
    admin.run("SELECT bg_prepare('users', 'ADD COLUMN phone text DEFAULT ''x''')");
    let before = admin.int("SELECT pg_current_xact_id()::text::int8");
    let mut runner = scene.admin();
    runner.run("SET bluegreen.copy_workers = 1; SET bluegreen.batch_time = '1ms'");

    let looks = looks(&scene, runner, "CALL bg_run('users')");

    let batches = admin.int("SELECT pg_current_xact_id()::text::int8") - before;
    println!("{batches} transactions");
    assert!(batches > 100, "{batches}");
    assert_flat(&looks, SLACK);
}

#[test]
fn hundreds_of_batches_of_a_sync_keep_nothing_of_each_other() {
    let scene = STAGE.users(60_000);
    scene.owner().make_ready("ADD COLUMN phone text");
    let mut admin = scene.admin();
    admin.run("UPDATE users SET name = name || '.'; UPDATE users SET id = -id WHERE id % 2 = 0");
    let before = admin.int("SELECT pg_current_xact_id()::text::int8");
    let mut runner = scene.admin();
    runner.run("SET bluegreen.batch_time = '1ms'");

    let looks = looks(&scene, runner, "CALL bg_run('users')");

    let batches = admin.int("SELECT pg_current_xact_id()::text::int8") - before;
    println!("{batches} transactions");
    assert!(batches > 100, "{batches}");
    assert_flat(&looks, SLACK);
    scene.assert_in_step("id, name, email");
}

/// One after the other, as one alone is too short to be looked at.
const VERIFICATIONS: &str = "SELECT sum(found) FROM generate_series(1, 40) n,
    LATERAL (SELECT count(*) AS found FROM bg_verify(CASE WHEN n > 0 THEN 'users'::regclass END)) v";

#[test]
fn a_verification_of_many_chunks_keeps_nothing_of_those_it_is_done_with() {
    let scene = STAGE.wide_users(6_000);
    scene.owner().make_ready("ADD COLUMN phone text");

    let looks = looks(&scene, scene.admin(), VERIFICATIONS);

    assert_flat(&looks, SLACK);
}

#[test]
fn a_verification_holds_no_more_than_a_few_of_the_values_that_it_fetches() {
    let scene = STAGE.users(2_000);
    scene.admin().run(
        "ALTER TABLE users ADD COLUMN long text, ALTER long SET STORAGE EXTERNAL;
         UPDATE users SET long = repeat('x', 20000) || id",
    );
    scene.owner().make_ready("ADD COLUMN phone text");

    let looks = looks(&scene, scene.admin(), VERIFICATIONS);

    let (least, most) = (looks.iter().min().unwrap(), looks.iter().max().unwrap());
    assert!(most - least < 8 << 20, "80 MB were fetched: {looks:?}");
}

#[test]
fn calls_that_only_look_leave_nothing_behind() {
    let scene = STAGE.users(100);
    scene.owner().make_ready("ADD COLUMN phone text");
    let mut admin = scene.admin();
    for (call, often) in [
        ("bg_status()", 2_000),
        ("bg_status('users')", 500),
        ("bg_blockers('users')", 500),
        ("bg_check('users', 'ADD COLUMN x int')", 50),
        ("bg_verify('users')", 100),
    ] {
        let sql = format!("SELECT count(*) FROM {call}");
        assert_leaves_nothing(&mut admin, call, (often / 10, often), SLACK, |admin| {
            admin.run(&sql)
        });
    }
    // In one transaction.
    let sql = "DO $$ BEGIN FOR n IN 1..1000 LOOP PERFORM phase FROM bg_status(); END LOOP; END $$";
    let looks = looks(&scene, admin, sql);
    assert_flat(&looks, SLACK);
}

#[test]
fn deployments_one_after_the_other_leave_nothing_in_their_session() {
    let scene = STAGE.users(100);
    let mut admin = scene.admin();
    // The server's own caches grow with each new type, operator and sequence.
    assert_leaves_nothing(&mut admin, "prepare to abort", (10, 40), 4 * SLACK, |admin| {
        admin.make_ready("ADD COLUMN phone text");
        admin.run("SELECT bg_abort('users')");
    });
    admin.make_ready("ADD COLUMN phone text");
    assert_leaves_nothing(&mut admin, "swap and revert", (5, 40), SLACK, |admin| {
        admin.swap();
        admin.revert();
    });
}
