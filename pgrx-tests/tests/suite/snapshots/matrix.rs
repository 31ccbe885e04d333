//! Each kind of change between the last sync and the exchange, one after the other, with a snapshot after
//! every statement: after the exchange each snapshot sees what it saw before it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bluegreen_tests::cluster::{Cluster, Options};

use super::{operator, soundness, table};
use crate::story::{Errand, Person, Scene, Stage, new_cluster, stage};

/// A name, and what is said by which of two sessions. `@n` is the id of a row of its own; 1 to 6 are there
/// at the beginning, with bodies of different lengths, 7 to 9 are not.
type Change = (&'static str, &'static [(usize, &'static str)]);

const CHANGES: &[Change] = &[
    ("updated", &[(0, "UPDATE entries SET value = 1 WHERE id = @1")]),
    (
        "updated twice",
        &[
            (0, "UPDATE entries SET value = 1 WHERE id = @1"),
            (1, "UPDATE entries SET value = 2 WHERE id = @1"),
        ],
    ),
    (
        "updated thrice at once",
        &[(
            0,
            "BEGIN; UPDATE entries SET value = 1 WHERE id = @1; UPDATE entries SET value = 2 WHERE id = @1;
             UPDATE entries SET code = 'x@1' WHERE id = @1; COMMIT",
        )],
    ),
    ("deleted", &[(0, "DELETE FROM entries WHERE id = @1"), (0, "DELETE FROM entries WHERE id = @5")]),
    ("inserted", &[(0, "INSERT INTO entries VALUES (@7, 1, 0, 0, 7, 'c@7', 'm.@7.4', body_of('m.@7.4'))")]),
    (
        "inserted and updated",
        &[
            (0, "INSERT INTO entries VALUES (@7, 1, 0, 0, 7, 'c@7', 'm.@7.3', body_of('m.@7.3'))"),
            (1, "UPDATE entries SET value = 8 WHERE id = @7"),
        ],
    ),
    (
        "inserted and deleted",
        &[
            (0, "INSERT INTO entries VALUES (@7, 1, 0, 0, 7, 'c@7', 'm.@7.3', body_of('m.@7.3'))"),
            (1, "DELETE FROM entries WHERE id = @7"),
        ],
    ),
    (
        "deleted and inserted",
        &[
            (0, "DELETE FROM entries WHERE id = @1"),
            (1, "INSERT INTO entries VALUES (@1, 1, 0, 0, 9, 'd@1', 'm.@1.1', body_of('m.@1.1'))"),
        ],
    ),
    (
        "deleted and inserted at once",
        &[(
            0,
            "BEGIN; DELETE FROM entries WHERE id = @1;
             INSERT INTO entries VALUES (@1, 1, 0, 0, 9, 'd@1', 'm.@1.1', body_of('m.@1.1')); COMMIT",
        )],
    ),
    ("moved", &[(0, "UPDATE entries SET id = @8 WHERE id = @4")]),
    (
        "moved on",
        &[
            (0, "UPDATE entries SET id = @8 WHERE id = @3"),
            (1, "UPDATE entries SET id = @9, value = 3 WHERE id = @8"),
        ],
    ),
    (
        "moved and back",
        &[
            (0, "UPDATE entries SET id = @8 WHERE id = @5"),
            (1, "UPDATE entries SET id = @5 WHERE id = @8"),
        ],
    ),
    (
        "exchanged keys",
        &[(
            0,
            "BEGIN; UPDATE entries SET id = @9 WHERE id = @1; UPDATE entries SET id = @1 WHERE id = @2;
             UPDATE entries SET id = @2 WHERE id = @9; COMMIT",
        )],
    ),
    (
        "moved away and another in",
        &[
            (0, "UPDATE entries SET id = @7 WHERE id = @1"),
            (1, "UPDATE entries SET id = @1 WHERE id = @2"),
            (0, "UPDATE entries SET value = 4 WHERE id = @1"),
        ],
    ),
    (
        "deleted and another moved in",
        &[
            (0, "DELETE FROM entries WHERE id = @1"),
            (1, "UPDATE entries SET id = @1 WHERE id = @2"),
        ],
    ),
    (
        "rolled back to a savepoint",
        &[(
            0,
            "BEGIN; SAVEPOINT s; UPDATE entries SET value = 1 WHERE id = @1; ROLLBACK TO s;
             UPDATE entries SET value = 2 WHERE id = @1; SAVEPOINT t; DELETE FROM entries WHERE id = @2;
             ROLLBACK TO t; COMMIT",
        )],
    ),
    (
        "in released savepoints",
        &[(
            0,
            "BEGIN; UPDATE entries SET value = 1 WHERE id = @1; SAVEPOINT s;
             UPDATE entries SET value = 2 WHERE id = @1; SAVEPOINT t;
             UPDATE entries SET value = 3 WHERE id = @1; UPDATE entries SET value = 1 WHERE id = @2;
             RELEASE s; UPDATE entries SET value = 4 WHERE id = @1; COMMIT",
        )],
    ),
    (
        "in a block that catches an error",
        &[(
            0,
            "DO $$ BEGIN
                 UPDATE entries SET value = 1 WHERE id = @1;
                 BEGIN UPDATE entries SET value = 2 WHERE id = @1; PERFORM 1 / 0;
                 EXCEPTION WHEN division_by_zero THEN UPDATE entries SET value = 3 WHERE id = @2; END;
             END $$",
        )],
    ),
    (
        "given long values",
        &[
            (0, "UPDATE entries SET origin = 'm.@1.3', body = body_of('m.@1.3') WHERE id = @1"),
            (1, "UPDATE entries SET origin = 'm.@1.4', body = body_of('m.@1.4') WHERE id = @1"),
            (0, "UPDATE entries SET origin = 'm.@4.2', body = body_of('m.@4.2') WHERE id = @4"),
            (1, "UPDATE entries SET origin = 'm.@4.0', body = NULL WHERE id = @4"),
        ],
    ),
    (
        "with long values that stay",
        &[
            (0, "UPDATE entries SET value = 1 WHERE id IN (@3, @4)"),
            (1, "UPDATE entries SET value = 2, code = 'l' || code WHERE id IN (@3, @4)"),
        ],
    ),
    (
        "exchanged codes",
        &[(
            0,
            "BEGIN; UPDATE entries SET code = 'y@1' WHERE id = @1; UPDATE entries SET code = 'c@1' WHERE id = @2;
             UPDATE entries SET code = 'c@2' WHERE id = @1; COMMIT",
        )],
    ),
    (
        "code handed on",
        &[
            (0, "DELETE FROM entries WHERE id = @1"),
            (1, "INSERT INTO entries VALUES (@7, 1, 0, 0, 7, 'c@1', 'm.@7.3', body_of('m.@7.3'))"),
        ],
    ),
    ("rolled back", &[(0, "BEGIN; UPDATE entries SET value = 1 WHERE id = @1; ROLLBACK")]),
    (
        "rolled back, then updated",
        &[
            (0, "BEGIN; UPDATE entries SET value = 1 WHERE id = @1; DELETE FROM entries WHERE id = @2; ROLLBACK"),
            (1, "UPDATE entries SET value = 2 WHERE id = @1"),
            (1, "DELETE FROM entries WHERE id = @2"),
        ],
    ),
    (
        "updated often",
        &[
            (0, "UPDATE entries SET value = value + 1 WHERE id = @2"),
            (0, "UPDATE entries SET value = value + 1 WHERE id = @2"),
            (0, "UPDATE entries SET value = value + 1 WHERE id = @2"),
            (0, "DO $$ BEGIN FOR n IN 1..30 LOOP UPDATE entries SET value = value + 1 WHERE id = @2; END LOOP; END $$"),
            (0, "UPDATE entries SET value = value + 1 WHERE id = @2"),
            (1, "SELECT count(*) FROM entries WHERE id = @2"),
            (0, "UPDATE entries SET value = value + 1 WHERE id = @2"),
        ],
    ),
    (
        "several at once",
        &[
            (0, "UPDATE entries SET value = id WHERE id IN (@1, @2, @3, @4, @5, @6)"),
            (1, "DELETE FROM entries WHERE id IN (@1, @3, @5)"),
        ],
    ),
    (
        "in two phases",
        &[
            (0, "BEGIN; UPDATE entries SET value = 1 WHERE id = @1; PREPARE TRANSACTION 'two'"),
            (1, "UPDATE entries SET value = 1 WHERE id = @2"),
            (0, "COMMIT PREPARED 'two'"),
        ],
    ),
    ("locked", &[(0, "BEGIN; SELECT FROM entries WHERE id = @1 FOR UPDATE; COMMIT")]),
    (
        "updated beside a lock",
        &[
            (0, "BEGIN; SELECT FROM entries WHERE id IN (@1, @2, @3) FOR KEY SHARE"),
            (1, "UPDATE entries SET value = 1 WHERE id IN (@1, @2)"),
            (0, "SELECT FROM entries WHERE id = @2 FOR KEY SHARE"),
            (0, "COMMIT"),
            (1, "UPDATE entries SET value = 2 WHERE id = @2"),
        ],
    ),
    (
        "locked, then updated by the same",
        &[(
            0,
            "BEGIN; SELECT FROM entries WHERE id = @1 FOR SHARE; SAVEPOINT s;
             UPDATE entries SET value = 1 WHERE id = @1; RELEASE s; COMMIT",
        )],
    ),
    (
        "in more than 64 subtransactions",
        &[
            (
                0,
                "BEGIN; DO $$ BEGIN FOR n IN 1..80 LOOP
                     BEGIN UPDATE entries SET value = n WHERE id = @1 + n % 3;
                     EXCEPTION WHEN division_by_zero THEN NULL; END;
                 END LOOP; END $$",
            ),
            (1, "UPDATE entries SET value = 1 WHERE id = @5"),
            (0, "COMMIT"),
            (1, "UPDATE entries SET value = -1 WHERE id IN (@1, @2)"),
        ],
    ),
    (
        "open over other snapshots",
        &[
            (0, "BEGIN; UPDATE entries SET value = 1 WHERE id = @1"),
            (0, "DELETE FROM entries WHERE id = @2"),
            (1, "UPDATE entries SET value = 1 WHERE id = @3"),
            (0, "UPDATE entries SET id = @8 WHERE id = @4"),
            (0, "INSERT INTO entries VALUES (@7, 1, 0, 0, 7, 'c@7', 'm.@7.3', body_of('m.@7.3'))"),
            (1, "UPDATE entries SET value = 2 WHERE id = @3"),
            (0, "COMMIT"),
            (1, "UPDATE entries SET value = 2 WHERE id = @1"),
        ],
    ),
];

/// Ids that a change has to itself, and a round.
const STEP: i64 = 100;
const ROUND: i64 = 100_000;

/// A database in a cluster in which nobody else is: whoever has an xid anywhere makes all snapshots old.
fn scene() -> (MutexGuard<'static, ()>, Scene) {
    static TURNS: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];
    if let Ok(turn) = TURNS[0].try_lock() {
        return (turn, STAGE.empty());
    }
    let turn = TURNS[1].lock().unwrap_or_else(PoisonError::into_inner);
    (turn, SECOND.empty())
}

/// One for each of two tests at a time.
static STAGE: Stage = stage!(quiet());
static SECOND: Stage = stage!(quiet());

fn quiet() -> Cluster {
    new_cluster(&Options::default().set("max_connections", "200").set("autovacuum", "off"))
}

/// A snapshot that is held, and what it saw when it was new.
struct Held {
    after: String,
    keeper: Person,
    saw: Rows,
}

/// The row under each id.
type Rows = BTreeMap<i64, String>;

#[test]
fn after_a_swap_each_snapshot_sees_what_it_saw_before_it() {
    play("", false);
}

#[test]
fn so_it_does_where_rows_are_converted_and_a_swap_was_rolled_back_before() {
    play("ADD COLUMN extra text DEFAULT 'none', ALTER COLUMN value TYPE bigint", true);
}

/// A swap, a revert and a swap, each with all the changes before it.
fn play(changes: &str, rolled_back: bool) {
    let (_turn, scene) = scene();
    table::furnish(&scene, 300);
    soundness::install(&scene);
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('entries', $${changes}$$)"));
    for (round, call) in ["bg_swap", "bg_revert", "bg_swap"].iter().enumerate() {
        let base = ROUND * (round as i64 + 1);
        if round < 2 {
            add_rows(&scene, base);
        }
        if round == 1 {
            // Those of the last round, while the new table is live.
            add_rows(&scene, base + ROUND);
            if rolled_back {
                scene.admin().run(EXTRA);
            }
        }
        if round == 0 {
            owner.run("CALL bg_run('entries')");
        } else {
            operator::sync(&scene);
        }
        let mut held = change(&scene, base, rolled_back.then_some(*call));
        let last = read(&mut scene.app(), &table::rows_of("entries"));
        owner.run(&format!("SELECT {call}('entries', retry_for => '20 s')"));

        let mut wrong = BTreeMap::new();
        for snapshot in &mut held {
            snapshot.compare(base, &mut wrong);
        }
        let now = read(&mut scene.app(), &table::rows_of("entries"));
        compare(base, "later ones", &last, &now, &mut wrong);
        let count: usize = wrong.values().map(Vec::len).sum();
        let lines: Vec<_> = wrong
            .iter()
            .map(|(name, cases)| format!("{name}: {} times, first {}", cases.len(), cases[0]))
            .collect();
        assert!(
            wrong.is_empty(),
            "{call}, round {round}: {count} rows wrong in {} snapshots:\n{}",
            held.len(),
            lines.join("\n")
        );
        drop(held);
        if round == 2 && rolled_back {
            let rows = scene.admin().rows(EXTRA_GONE);
            assert!(rows.is_empty(), "values of a column that only one side has: {rows:?}");
        }
        operator::sync(&scene);
        soundness::assert_sound(&scene, call);
    }
}

/// Gives rows a value that only the new table has.
const EXTRA: &str = "UPDATE entries SET extra = 'of ' || id WHERE id BETWEEN 300000 AND 399999";

/// Rows of the last round that have another value than that of the row which they once were.
const EXTRA_GONE: &str = "SELECT * FROM (
         SELECT id, extra, CASE WHEN was % 100 >= 7 OR value = 9 THEN 'none' ELSE 'of ' || was END AS wanted
         FROM (SELECT *, split_part(origin, '.', 2)::int8 AS was FROM entries
               WHERE id BETWEEN 300000 AND 399999) e) e
     WHERE extra IS DISTINCT FROM wanted LIMIT 10";

/// Rows of a round, to be changed.
fn add_rows(scene: &Scene, base: i64) {
    let count = CHANGES.len();
    scene.admin().run(&format!(
        "INSERT INTO entries (id, writer, code, origin, body)
             SELECT id, 1, 'c' || id, o, body_of(o)
             FROM generate_series(0, {count} - 1) c, generate_series(1, 6) n,
                  LATERAL (SELECT {base} + c * {STEP} + n AS id) i,
                  LATERAL (SELECT 'm.' || id || '.' || n % 6 AS o) w"
    ));
}

/// Makes all changes, and takes a snapshot after each statement. `rehearsal` is called in the middle, in a
/// transaction that is rolled back.
fn change(scene: &Scene, base: i64, rehearsal: Option<&str>) -> Vec<Held> {
    let mut people = [scene.app(), scene.app()];
    let mut held = vec![Held::take(scene, "the beginning".to_owned())];
    for (number, (name, statements)) in CHANGES.iter().enumerate() {
        let first = base + number as i64 * STEP;
        for (person, sql) in *statements {
            let sql = (1..10).fold((*sql).to_owned(), |sql, n| {
                sql.replace(&format!("@{n}"), &(first + n).to_string())
            });
            people[*person].run(&sql);
            held.push(Held::take(scene, format!("{name}: {sql}")));
        }
        if let Some(call) = rehearsal.filter(|_| number % 7 == 3) {
            scene
                .owner()
                .run(&format!("BEGIN; SELECT {call}('entries', retry_for => '20 s'); ROLLBACK"));
        }
    }
    held
}

impl Held {
    /// A new snapshot. What it sees is read by another session, so that the table is not locked.
    fn take(scene: &Scene, after: String) -> Self {
        let mut keeper = scene.app();
        keeper.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        let name = keeper.text("SELECT pg_export_snapshot()");
        let mut taker = scene.app();
        taker.run(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{name}'"
        ));
        let saw = read(&mut taker, &table::rows_of("entries"));
        Self { after, keeper, saw }
    }

    /// Reads again, by each kind of plan.
    fn compare(&mut self, base: i64, wrong: &mut BTreeMap<&'static str, Vec<String>>) {
        let rows = read(&mut self.keeper, &table::rows_of("entries"));
        compare(base, &self.after, &self.saw, &rows, wrong);
        self.keeper.run(table::BY_INDEX);
        let rows = read(&mut self.keeper, &table::rows_of("entries"));
        compare(base, &format!("by index, {}", self.after), &self.saw, &rows, wrong);
        let (found, index) = (rows.len(), read(&mut self.keeper, table::ROWS_OF_INDEX).len());
        if found != index {
            let case = format!("{} has {found} rows, but {index} in an index", self.after);
            wrong.entry("index only").or_default().push(case);
        }
    }
}

fn compare(
    base: i64,
    after: &str,
    expected: &Rows,
    found: &Rows,
    wrong: &mut BTreeMap<&'static str, Vec<String>>,
) {
    let nothing = "nothing".to_owned();
    for id in expected.keys().chain(found.keys().filter(|id| !expected.contains_key(id))) {
        let (was, is) = (expected.get(id).unwrap_or(&nothing), found.get(id).unwrap_or(&nothing));
        if was != is {
            let change = usize::try_from((id - base) / STEP).ok().and_then(|n| CHANGES.get(n));
            let name = change.map_or("rows of others", |(name, _)| name);
            let case = format!("[{id} was {was}, is {is}; snapshot after: {after}]");
            wrong.entry(name).or_default().push(case);
        }
    }
}

/// The row under each id; one that is there twice is both.
fn read(person: &mut Person, sql: &str) -> Rows {
    let mut rows = Rows::new();
    for row in person.rows(sql) {
        let id: i64 = row[0].as_deref().unwrap_or_default().parse().unwrap();
        // Which table it is differs.
        if id != -3 {
            let text = format!("{:?}", row.iter().skip(1).flatten().collect::<Vec<_>>());
            rows.entry(id).and_modify(|there| there.push_str(&text)).or_insert(text);
        }
    }
    rows
}

/// Writers' xids that are older than blue's relfrozenxid, because blue was vacuumed after they had written.
#[test]
fn changes_that_are_older_than_what_blue_is_frozen_to_are_drained_too() {
    let (_turn, scene) = scene();
    table::furnish(&scene, 300);
    // One by one, not in sums only.
    scene.admin().run("UPDATE entries SET writer = 1 WHERE writer = 0");
    soundness::install(&scene);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('entries', 'ADD COLUMN extra text')");
    owner.run("CALL bg_run('entries')");
    for (round, call) in ["bg_swap", "bg_revert"].iter().enumerate() {
        let mut app = scene.app();
        app.run("UPDATE entries SET value = value + 1 WHERE id BETWEEN 10 AND 20");
        app.run("DELETE FROM entries WHERE id BETWEEN 30 AND 31 + 2");
        app.run(&format!(
            "INSERT INTO entries VALUES ({}, 1, 0, 0, 7, 'old{round}', 'm.1.3', body_of('m.1.3'))",
            5000 + round
        ));
        let mut admin = scene.admin();
        for _ in 0..20 {
            admin.run("SELECT txid_current()");
        }
        admin.run("VACUUM (FREEZE) public_blue.entries");
        let mut held = Held::take(&scene, "the vacuum".to_owned());
        app.run("UPDATE entries SET value = value + 1 WHERE id BETWEEN 15 AND 25");
        let mut later = Held::take(&scene, "the last update".to_owned());
        owner.run(&format!("SELECT {call}('entries', retry_for => '20 s')"));
        let mut wrong = BTreeMap::new();
        held.compare(0, &mut wrong);
        later.compare(0, &mut wrong);
        assert!(wrong.is_empty(), "{call}: {wrong:?}");
        drop((held, later));
        operator::sync(&scene);
        soundness::assert_sound(&scene, call);
    }
}

/// bg_swap in a transaction that has changed the table itself, as migrations do.
#[test]
fn changes_of_the_transaction_that_swaps_are_seen_when_it_commits() {
    let (_turn, scene) = scene();
    table::furnish(&scene, 300);
    // One by one, not in sums only.
    scene.admin().run("UPDATE entries SET writer = 1 WHERE writer = 0");
    soundness::install(&scene);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('entries')");
    owner.run("CALL bg_run('entries')");
    let mut app = scene.app();
    app.run("UPDATE entries SET value = 1 WHERE id BETWEEN 10 AND 20");
    let mut before = Held::take(&scene, "an update".to_owned());
    owner.run(
        "BEGIN;
         UPDATE entries SET value = value + 10 WHERE id BETWEEN 15 AND 25;
         SAVEPOINT s; DELETE FROM entries WHERE id = 30; ROLLBACK TO s;
         DELETE FROM entries WHERE id = 31;
         INSERT INTO entries VALUES (5000, 1, 0, 0, 7, 'own', 'm.1.4', body_of('m.1.4'));
         UPDATE entries SET id = 5001 WHERE id = 32;
         SELECT bg_swap('entries', retry_for => '20 s');
         UPDATE entries SET value = value + 100 WHERE id BETWEEN 20 AND 21",
    );
    let own = read(&mut owner, &table::rows_of("entries"));
    let sum = "SELECT sum(value), count(*), count(*) FILTER (WHERE id IN (30, 5000, 5001)),
               count(*) FILTER (WHERE id IN (31, 32)) FROM entries WHERE writer < 100";
    let told = [
        Some("328".to_owned()),
        Some("300".to_owned()),
        Some("3".to_owned()),
        Some("0".to_owned()),
    ];
    assert_eq!(owner.rows(sum)[0], told);
    owner.run("COMMIT");
    let mut wrong = BTreeMap::new();
    before.compare(0, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(read(&mut scene.app(), &table::rows_of("entries")), own);
    drop(before);
    operator::sync(&scene);
    soundness::assert_sound(&scene, "swapped");
}

/// More log rows than one batch has.
#[test]
fn a_last_drain_of_several_batches_keeps_what_each_snapshot_sees() {
    let (_turn, scene) = scene();
    table::furnish(&scene, 3000);
    scene.admin().run("UPDATE entries SET writer = 1 WHERE writer = 0");
    soundness::install(&scene);
    let mut owner = scene.owner();
    owner.run("SET bluegreen.max_final_drain = '60 s'");
    owner.run("SELECT bg_prepare('entries', 'ADD COLUMN extra text')");
    owner.run("CALL bg_run('entries')");
    let mut app = scene.app();
    let mut held = vec![Held::take(&scene, "the beginning".to_owned())];
    for round in 1..=5 {
        app.run("UPDATE entries SET value = value + 1 WHERE writer = 1 AND id <= 3000");
        app.run("UPDATE entries SET value = value + 1 WHERE writer = 1 AND id <= 3000");
        app.run(&format!(
            "UPDATE entries SET id = -id WHERE abs(id) % 10 = {round} AND writer = 1"
        ));
        app.run(&format!("DELETE FROM entries WHERE id = {round}00"));
        held.push(Held::take(&scene, format!("round {round}")));
    }
    assert!(owner.int("SELECT pending_changes FROM bg_status('entries')") > 25_000);
    owner.run("SELECT bg_swap('entries', retry_for => '20 s')");
    let mut wrong = BTreeMap::new();
    for snapshot in &mut held {
        snapshot.compare(0, &mut wrong);
    }
    let count: usize = wrong.values().map(Vec::len).sum();
    assert!(wrong.is_empty(), "{count} rows: {:?}", wrong.values().next().map(|cases| &cases[0]));
    drop(held);
    operator::sync(&scene);
    soundness::assert_sound(&scene, "swapped");
}

/// A vacuum of the TOAST table alone, as autovacuum does it, which has begun before the swap and ends after
/// it: what it then says to be the oldest transaction there has to be it.
#[test]
fn a_vacuum_of_long_values_that_a_swap_overtakes_leaves_a_table_that_can_be_vacuumed() {
    let (_turn, scene) = scene();
    table::furnish(&scene, 300);
    soundness::install(&scene);
    let mut admin = scene.admin();
    admin.run("UPDATE entries SET body = (SELECT string_agg(md5(id || '.' || n), '') FROM generate_series(1, 200) n)");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('entries', 'ADD COLUMN extra text')");
    owner.run("CALL bg_run('entries')");
    let long = admin.text(
        "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'public_blue.entries'::regclass",
    );
    scene.app().run("UPDATE entries SET body = body || 'x' WHERE id < 5");
    admin.run("SELECT txid_current(); SELECT txid_current()");
    admin.run("SET vacuum_cost_delay = 10; SET vacuum_cost_limit = 1");
    let vacuum = Errand::start(admin, &format!("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) {long}"));
    scene.until(&format!(
        "SELECT heap_blks_scanned > 10 FROM pg_stat_progress_vacuum WHERE pid = {}",
        vacuum.pid
    ));
    // It waits for the vacuum, or it does not matter.
    owner.run("SELECT bg_swap('entries', retry_for => '60 s')");
    let _ = vacuum.result();
    operator::sync(&scene);
    for table in ["public.entries", "public_blue.entries"] {
        scene.admin().run(&format!("VACUUM (FREEZE) {table}"));
    }
}

/// TRUNCATE itself is seen by all at once; what comes after it is not.
#[test]
fn rows_that_come_after_a_truncate_are_seen_by_those_who_saw_them() {
    let (_turn, scene) = scene();
    table::furnish(&scene, 300);
    soundness::install(&scene);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('entries', 'ADD COLUMN extra text')");
    owner.run("CALL bg_run('entries')");
    for (round, call) in ["bg_swap", "bg_revert"].iter().enumerate() {
        let mut app = scene.app();
        let insert = |id: usize| {
            format!(
                "INSERT INTO entries VALUES ({id}, 1, 0, 0, 7, 'c{id}', 'm.{id}.4', body_of('m.{id}.4'))"
            )
        };
        app.run("UPDATE entries SET value = 1 WHERE id = 7");
        app.run("TRUNCATE entries CASCADE");
        let mut held = vec![Held::take(&scene, "the truncate".to_owned())];
        app.run(&insert(7));
        app.run(&insert(1000 + round));
        held.push(Held::take(&scene, "two rows".to_owned()));
        app.run("UPDATE entries SET value = 8 WHERE id = 7");
        held.push(Held::take(&scene, "an update".to_owned()));
        app.run("DELETE FROM entries WHERE id >= 1000");
        let mut wrong = BTreeMap::new();
        // The other table is emptied for everybody: it may have to wait for them.
        let swap = format!("SELECT {call}('entries', retry_for => '500 ms')");
        let refused = owner.try_run(&swap).err();
        for snapshot in &mut held {
            snapshot.compare(0, &mut wrong);
        }
        assert!(wrong.is_empty(), "{call}: {wrong:?}");
        drop(held);
        if let Some(refusal) = refused {
            assert!(["55P03", "55000"].contains(&refusal.code.as_str()), "{refusal:?}");
            operator::sync(&scene);
            owner.run(&format!("SELECT {call}('entries', retry_for => '20 s')"));
        }
        operator::sync(&scene);
        let sound = scene.admin().rows("SELECT key, problem FROM bg_verify('entries') LIMIT 5");
        assert!(sound.is_empty(), "{call}: {sound:?}");
    }
}

/// A version that the other table cannot have, although the present one fits.
#[test]
fn a_swap_waits_for_those_who_would_see_a_version_that_does_not_fit() {
    let (_turn, scene) = scene();
    table::furnish(&scene, 300);
    scene.admin().run("UPDATE entries SET writer = 1 WHERE writer = 0");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('entries', 'ADD CONSTRAINT small CHECK (value < 100)')");
    owner.run("CALL bg_run('entries')");
    let mut app = scene.app();
    app.run("UPDATE entries SET value = 1 WHERE id = 8");
    let mut first = Held::take(&scene, "what fits".to_owned());
    app.run("UPDATE entries SET value = 200 WHERE id = 7");
    let mut second = Held::take(&scene, "what does not fit".to_owned());
    app.run("UPDATE entries SET value = 5 WHERE id = 7");
    let mut third = Held::take(&scene, "what fits again".to_owned());
    let refusal = owner.refused("SELECT bg_swap('entries', retry_for => '300 ms')");
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    let mut wrong = BTreeMap::new();
    second.compare(0, &mut wrong);
    drop(second);
    // The first one cannot see that the version has ended either.
    let refusal = owner.refused("SELECT bg_swap('entries', retry_for => '300 ms')");
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    first.compare(0, &mut wrong);
    drop(first);
    owner.run("SELECT bg_swap('entries', retry_for => '20 s')");
    third.compare(0, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}");
}
