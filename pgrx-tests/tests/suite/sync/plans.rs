//! The plans of sync, purge, verification and drain, read from the server's log: they are the same
//! whatever the server has written down of the tables' sizes, and look keys up by the key's index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bluegreen_tests::cluster::Options;

use crate::story::verification::behind_our_back;
use crate::story::{Person, Scene, Stage, new_cluster, stage};

/// Statements that read rows of the extension's by name; their plans.
type Plans = BTreeMap<String, BTreeSet<String>>;

static STAGE: Stage = stage!({
    let options = Options::default()
        .set("session_preload_libraries", "auto_explain")
        .set("auto_explain.log_min_duration", "0")
        .set("auto_explain.log_nested_statements", "on")
        .set("autovacuum", "off");
    new_cluster(&options)
});

/// Who reads the log reads it alone.
static TURN: Mutex<()> = Mutex::new(());

/// The plans that were logged from `begin` on.
fn plans(begin: usize) -> Plans {
    let log = std::fs::read(STAGE.cluster().log_file()).unwrap();
    let log = String::from_utf8_lossy(&log[begin..]).into_owned();
    let mut found = Plans::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        if !(line.contains("LOG:  duration:") && line.ends_with("plan:")) {
            continue;
        }
        let (mut text, mut plan) = (String::new(), String::new());
        while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
            if plan.is_empty() && !line.contains("  (cost=") {
                text.push_str(line);
            } else {
                let shown = line.split("  (cost=").next().unwrap_or_default();
                plan.push_str(shown);
                plan.push('\n');
            }
        }
        if plan.contains("Named Tuplestore Scan") {
            found.entry(without_numbers(&text)).or_default().insert(without_numbers(&plan));
        }
    }
    found
}

/// Places and ranges follow the clock.
fn without_numbers(text: &str) -> String {
    let digits = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c });
    let mut out = String::new();
    for c in digits {
        if c != '0' || !out.ends_with('0') {
            out.push(c);
        }
    }
    out
}

/// Writes into the catalog what a VACUUM or ANALYZE long ago may have found.
fn force(scene: &Scene, rows: i64) {
    let pages = if rows < 0 { 0 } else { 1 };
    scene.admin().run(&format!(
        "UPDATE pg_class SET reltuples = {rows}, relpages = {pages}, relallvisible = 0
          WHERE relname IN ('users', 'forward_1', 'reverse_1')
             OR oid IN (SELECT indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                         WHERE c.relname = 'users')"
    ));
}

/// Batch after batch, each under those sizes, until a phase is reached or nothing is left to do.
fn backfill(scene: &Scene, owner: &mut Person, rows: i64, done: &str) {
    for _ in 0..500 {
        force(scene, rows);
        owner.run("SELECT bg_backfill('users', '0')");
        if scene.status(done) == "t" {
            return;
        }
    }
    panic!("never {done}");
}

const IN_STEP: &str = "phase IN ('ready', 'swapped') AND pending_changes <= misfits";

/// A change of every kind: updates, deletions, moves of the key, new rows, an exchange of unique
/// values, a row that does not fit and one that collides.
fn write(scene: &Scene, n: u32) {
    scene.app().run(&format!(
        "UPDATE users SET note = 'n{n}' WHERE id % 100 = {n};
         DELETE FROM users WHERE id % 1000 = 500 + {n};
         UPDATE users SET id = id + 1000000 * {n} WHERE id % 1000 = 600 + {n};
         INSERT INTO users SELECT 1, 2000000 + n + {n} * 1000, 'new{n} ' || n FROM generate_series(1, 50) n"
    ));
    let (first, second) = if n % 2 == 1 { (1, 2) } else { (2, 1) };
    scene.app().run(&format!(
        "BEGIN;
         UPDATE users SET name = 'x' WHERE id = 1;
         UPDATE users SET name = 'name {first}' WHERE id = 2;
         UPDATE users SET name = 'name {second}' WHERE id = 1;
         COMMIT"
    ));
}

/// A deployment from the copy to the revert, with its sizes forced before every step. Returns its plans.
fn play(changes: &str, rows: i64) -> Plans {
    let scene = STAGE.empty();
    scene.table(
        "users",
        "tenant int, id bigint, name text UNIQUE, note text, PRIMARY KEY (tenant, id)",
    );
    scene.admin().run(
        "CREATE INDEX users_tenant ON users (tenant);
         INSERT INTO users SELECT n % 10, n, 'name ' || n, '' FROM generate_series(1, 20000) n;
         ANALYZE users",
    );
    let begin = std::fs::metadata(STAGE.cluster().log_file()).unwrap().len() as usize;
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('users', $${changes}$$)"));
    owner.run("SELECT bg_backfill('users', '0')");
    write(&scene, 1);
    backfill(&scene, &mut owner, rows, IN_STEP);
    write(&scene, 2);
    scene.app().run("UPDATE users SET note = 'unfit' WHERE id IN (3, 4)");
    backfill(&scene, &mut owner, rows, IN_STEP);
    scene.app().run("UPDATE users SET note = '' WHERE id IN (3, 4)");
    behind_our_back(
        &scene,
        "UPDATE users SET note = 'hidden' WHERE id = 5; DELETE FROM users WHERE id = 6",
    );
    force(&scene, rows);
    assert_eq!(owner.rows("SELECT * FROM bg_verify('users')").len(), 2);
    assert_eq!(owner.rows("SELECT * FROM bg_verify('users', true)").len(), 2);
    backfill(&scene, &mut owner, rows, IN_STEP);
    // Not many: they are drained under the lock.
    scene
        .app()
        .run("UPDATE users SET note = 'drained' WHERE id = 7; DELETE FROM users WHERE id = 8");
    force(&scene, rows);
    assert_eq!(owner.text("SELECT bg_swap('users')"), "swapped");
    write(&scene, 3);
    backfill(&scene, &mut owner, rows, IN_STEP);
    scene.app().run("UPDATE users SET note = 'back' WHERE id = 9");
    force(&scene, rows);
    assert_eq!(owner.text("SELECT bg_revert('users')"), "ready");
    plans(begin)
}

#[track_caller]
fn assert_the_same(changes: &str) {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let all = [-1, 0, 1_000_000_000].map(|rows| play(changes, rows));
    let words = [
        "DELETE FROM ONLY",
        "INSERT INTO",
        "bluegreen_kept",
        "bluegreen_keys",
        "bluegreen_problems",
    ];
    for word in words {
        assert!(all[0].keys().any(|text| text.contains(word)), "no statement with {word}");
    }
    for text in all.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>() {
        let [unknown, none, many] = all.each_ref().map(|plans| plans.get(text));
        for (plan, rows) in [(none, "0"), (many, "1e9")] {
            // A statement that the clock has left out of one of them says nothing.
            if let (Some(plan), Some(unknown)) = (plan, unknown) {
                assert_eq!(plan, unknown, "reltuples {rows} beside -1: {text}");
            }
        }
    }
    for (text, plan) in
        all.iter().flatten().flat_map(|(t, plans)| plans.iter().map(move |p| (t, p)))
    {
        for line in plan.lines() {
            assert!(!line.contains("Seq Scan"), "{text}\n{plan}");
            let other = line.contains("Index") && line.contains(" using ");
            assert!(!other || line.contains("using users_pkey on"), "{text}\n{plan}");
        }
        if text.contains("bluegreen_keys k WHERE") {
            let once = plan.contains("Tid Range Scan") && !plan.contains("Nested Loop");
            assert!(once && plan.contains("Hash"), "{text}\n{plan}");
        }
    }
}

#[test]
fn plans_do_not_hang_on_what_is_written_down_of_the_tables_sizes() {
    assert_the_same("ALTER COLUMN note SET DEFAULT '', ADD CHECK (note <> 'unfit')");
}

#[test]
fn nor_where_only_the_new_table_has_a_column() {
    assert_the_same("ADD COLUMN phone text NOT NULL DEFAULT 'none', ADD CHECK (note <> 'unfit')");
}
