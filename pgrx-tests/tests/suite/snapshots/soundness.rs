//! Everything that the server itself can find wrong with two tables, while nobody uses them: pages, indexes,
//! long values, visibility map, before and after VACUUM FREEZE.

use std::time::{Duration, Instant};

use bluegreen_tests::cluster::Cluster;

use super::table::WHICH;
use crate::story::{Person, Scene};

const TABLES: [&str; 2] = ["public.entries", "public_blue.entries"];

/// The entries of a btree index: which key stands for which row.
const ENTRIES: &str = "SELECT place.tid, item.data
     FROM generate_series(1, pg_relation_size('INDEX') / current_setting('block_size')::int - 1) block,
          LATERAL (SELECT * FROM bt_page_stats('INDEX', block) WHERE type = 'l') page,
          LATERAL bt_page_items('INDEX', block) item,
          LATERAL unnest(coalesce(item.tids, ARRAY[item.htid])) place (tid)
     WHERE NOT (item.itemoffset = 1 AND page.btpo_next <> 0)";

/// Questions that only one index other than a btree can answer, its name, and the same asked of the rows.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "entries_hash",
        "SELECT d.o, x.id FROM (SELECT DISTINCT origin AS o FROM TABLE) d,
             LATERAL (SELECT id FROM TABLE WHERE origin = d.o AND right(origin, 1) IS NOT NULL OFFSET 0) x",
        "SELECT origin, id FROM TABLE",
    ),
    (
        "entries_gin",
        "SELECT d.o, x.id FROM (SELECT DISTINCT split_part(origin, '.', 2) AS o FROM TABLE) d,
             LATERAL (SELECT id FROM TABLE WHERE string_to_array(origin, '.') @> ARRAY[d.o] OFFSET 0) x",
        "SELECT DISTINCT o, id FROM TABLE, unnest(string_to_array(origin, '.')) o
             WHERE o IN (SELECT split_part(origin, '.', 2) FROM TABLE)",
    ),
];

/// What is used to look.
pub fn install(scene: &Scene) {
    scene.admin().run(
        "CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect; CREATE EXTENSION pg_visibility",
    );
}

/// Asserts that both tables are sound. The deployment is in step, and nobody is in a transaction.
pub fn assert_sound(scene: &Scene, when: &str) {
    assert_sound_with(scene, when, false);
}

/// The same where a drain was broken off: long values of rows that were being stamped may stay without a row,
/// until the table is rewritten.
pub fn assert_sound_but_for_leaks(scene: &Scene, when: &str) {
    assert_sound_with(scene, when, true);
}

fn assert_sound_with(scene: &Scene, when: &str, leaks: bool) {
    let mut admin = scene.admin();
    let found = look(&mut admin, leaks);
    assert!(found.is_empty(), "{when}:\n{}", found.join("\n"));
    let found = admin.rows("SELECT key, problem FROM bg_verify('entries') LIMIT 5");
    assert!(found.is_empty(), "{when}: bg_verify: {found:?}");
    for table in TABLES {
        admin.run(&format!("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) {table}"));
    }
    let found = look(&mut admin, leaks);
    assert!(found.is_empty(), "{when}, frozen:\n{}", found.join("\n"));
    let found = admin.rows("SELECT key, problem FROM bg_verify('entries') LIMIT 5");
    assert!(found.is_empty(), "{when}, frozen: bg_verify: {found:?}");
}

/// What is wrong, in lines.
fn look(admin: &mut Person, leaks: bool) -> Vec<String> {
    let mut found = Vec::new();
    for table in TABLES {
        found.extend(pages(admin, table));
        admin.run(&format!("VACUUM (INDEX_CLEANUP ON) {table}"));
        found.extend(btrees(admin, table));
        found.extend(long_values(admin, table, leaks));
        found.extend(other_indexes(admin, table));
    }
    found
}

fn pages(admin: &mut Person, table: &str) -> Vec<String> {
    let long = admin.text(&format!(
        "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '{table}'::regclass"
    ));
    let mut found = Vec::new();
    for relation in [table, &long] {
        for check in [
            format!("SELECT 'page', h FROM verify_heapam('{relation}', check_toast => true) h"),
            format!("SELECT 'not visible', t FROM pg_check_visible('{relation}') t"),
            format!("SELECT 'not frozen', t FROM pg_check_frozen('{relation}') t"),
        ] {
            found.extend(told(admin, relation, &format!("{check} LIMIT 5")));
        }
    }
    found
}

/// Long values that no row has: what the bodies are long enough for lies beside the table, once each. As
/// for index entries, what a vacuum leaves now may go with the next.
fn long_values(admin: &mut Person, table: &str, leaks: bool) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let long = admin.text(&format!(
        "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '{table}'::regclass"
    ));
    loop {
        let wanted = admin.int(&format!(
            "SELECT count(*) FROM {table} WHERE right(origin, 1) >= '3' AND body IS NOT NULL"
        ));
        let there = admin.int(&format!("SELECT count(DISTINCT chunk_id) FROM {long}"));
        if wanted == there || (leaks && there > wanted) {
            return Vec::new();
        }
        if there < wanted || Instant::now() > deadline {
            return vec![format!("{table}: {there} long values for {wanted} rows")];
        }
        std::thread::sleep(Duration::from_millis(300));
        admin.run(&format!("VACUUM {table}"));
    }
}

fn btrees(admin: &mut Person, table: &str) -> Vec<String> {
    let indexes = admin.rows(&format!(
        "SELECT i.indexrelid::regclass, i.indrelid = t.oid,
             regexp_replace(pg_get_indexdef(i.indexrelid), '^CREATE (UNIQUE )?INDEX \\S+ ON', 'CREATE INDEX twin ON')
         FROM pg_class t, pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
         WHERE t.oid = '{table}'::regclass AND i.indrelid IN (t.oid, t.reltoastrelid)"
    ));
    assert!(indexes.len() >= 6, "{indexes:?}");
    let mut found = Vec::new();
    for index in indexes {
        let [Some(name), Some(own), Some(twin)] = &index[..] else { panic!("{index:?}") };
        for check in ["bt_index_check", "bt_index_parent_check"] {
            found.extend(told(admin, name, &format!("SELECT FROM {check}('{name}', true)")));
        }
        if own == "t" {
            found.extend(entries(admin, table, name, twin));
        }
    }
    found
}

/// Compares an index with one that is built anew, entry by entry. What a vacuum cannot take away yet it
/// can in a moment, when the last session that could see it is gone.
fn entries(admin: &mut Person, table: &str, name: &str, twin: &str) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let (old, new) = (ENTRIES.replace("INDEX", name), ENTRIES.replace("INDEX", "twin"));
    loop {
        // As tables: the server would plan the functions' calls into a loop.
        admin.run(&format!(
            "BEGIN; SET LOCAL search_path = {}; {twin};
             CREATE TEMP TABLE old ON COMMIT DROP AS {old}; CREATE TEMP TABLE new ON COMMIT DROP AS {new};
             ANALYZE old; ANALYZE new",
            schema(table)
        ));
        let lost = told(
            admin,
            name,
            "SELECT 'no entry for', * FROM (TABLE new EXCEPT ALL TABLE old) d LIMIT 5",
        );
        let wrong = told(
            admin,
            name,
            "SELECT 'wrong entry', o, n FROM old o JOIN new n USING (tid)
                 WHERE o.data IS DISTINCT FROM n.data LIMIT 5",
        );
        let more = told(
            admin,
            name,
            "SELECT 'entry for nothing', * FROM (TABLE old EXCEPT ALL TABLE new) d LIMIT 5",
        );
        admin.run("ROLLBACK");
        let hard = !lost.is_empty() || !wrong.is_empty();
        if hard || more.is_empty() || Instant::now() > deadline {
            return [lost, wrong, more].concat();
        }
        std::thread::sleep(Duration::from_millis(300));
        admin.run(&format!("VACUUM (INDEX_CLEANUP ON) {table}"));
    }
}

fn schema(table: &str) -> String {
    format!("{}, public", table.split('.').next().unwrap_or_default())
}

fn other_indexes(admin: &mut Person, table: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, question, of_rows) in OTHERS {
        let [question, of_rows] = [question, of_rows].map(|sql| sql.replace("TABLE", table));
        let by_index =
            "SET enable_seqscan = off; SET enable_indexscan = on; SET enable_bitmapscan = on";
        let plan = admin.list(&format!("{by_index}; EXPLAIN {question}")).join("\n");
        assert!(plan.contains(index), "{index} is not used:\n{plan}");
        let by_scan =
            "SET enable_seqscan = on; SET enable_indexscan = off; SET enable_bitmapscan = off";
        let mut answers = Vec::new();
        for (how, question) in [(by_index, &question), (by_scan, &of_rows)] {
            answers.push(admin.rows(&format!("{how}; {question} ORDER BY 1, 2")));
        }
        if answers[0] != answers[1] {
            found.push(format!(
                "{table}, {index}: {} rows by the index, {} without",
                answers[0].len(),
                answers[1].len()
            ));
        }
    }
    admin.run("RESET enable_seqscan; RESET enable_indexscan; RESET enable_bitmapscan");
    let writers =
        format!("SELECT writer, count(*) FROM {table} WHERE writer BETWEEN 1 AND 3 GROUP BY 1");
    let brin =
        "SET enable_seqscan = off; SET enable_indexscan = off; SET enable_indexonlyscan = off";
    let one = admin.rows(&format!("{brin}; {writers} ORDER BY 1"));
    admin.run("RESET ALL");
    if one != admin.rows(&format!("{writers} ORDER BY 1")) {
        found.push(format!("{table}: writers by a bitmap scan: {one:?}"));
    }
    found
}

/// The same for what can be looked at on a standby: pages and btree indexes as they are.
pub fn assert_sound_standby(standby: &Cluster, database: &str, when: &str) {
    let mut admin = Person::connect(standby, "postgres", database);
    let indexes = admin.list(
        "SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
             JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
         WHERE i.indrelid IN ('public.entries'::regclass, 'public_blue.entries'::regclass)",
    );
    assert!(indexes.len() >= 10, "{indexes:?}");
    let mut found = Vec::new();
    for name in indexes {
        found.extend(told(
            &mut admin,
            &name,
            &format!("SELECT FROM bt_index_check('{name}', true)"),
        ));
    }
    for table in TABLES {
        let check =
            format!("SELECT h FROM verify_heapam('{table}', check_toast => true) h LIMIT 5");
        found.extend(told(&mut admin, table, &check));
    }
    assert!(found.is_empty(), "{when}, on a standby:\n{}", found.join("\n"));
}

/// The rows of a check as lines, or its error.
fn told(admin: &mut Person, what: &str, sql: &str) -> Vec<String> {
    match admin.try_rows(sql) {
        // A check that gives nothing but void has found nothing.
        Ok(rows) => {
            rows.iter().filter(|r| !r.is_empty()).map(|r| format!("{what}: {r:?}")).collect()
        }
        Err(refusal) => vec![format!("{what}: {}: {}", refusal.message, refusal.detail)],
    }
}

/// Both tables, as everybody sees them now, are what the ledger says; the writers stand still.
pub fn assert_as_written(scene: &Scene, traffic: &super::traffic::Traffic, when: &str) {
    for table in TABLES {
        let mut admin = scene.admin();
        let mut seen = super::ledger::Seen::default();
        seen.add(&admin.rows(super::table::CONTROL));
        seen.add(&admin.rows(&super::table::rows_of(table)));
        seen.add(&admin.rows(WHICH));
        let verdict = traffic.ledger.judge(&seen);
        assert!(verdict.is_right(), "{when}: {table}: {verdict}");
    }
}
