//! What a swap, and the short syncs before it, leave to older snapshots: each reads after the swap what it would
//! have read in the old table.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::story::{Errand, Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// One test at a time: an open writer anywhere on the server makes younger snapshots look old.
static ALONE: Mutex<()> = Mutex::new(());

/// What is compared; `big` lies beside the table.
const ROWS: &str =
    "SELECT string_agg(format('%s %s %s %s', id, v, u, md5(big)), E'\\n' ORDER BY id) FROM t";

/// The same through the key's index.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off";

/// What only the new table has belongs to the row, whatever its key was.
const EXTRA: &str = "SELECT string_agg(id || ' ' || extra, ', ' ORDER BY id) FROM t
    WHERE extra <> 'of ' || id";

/// A REPEATABLE READ transaction that has its snapshot, and what it has to read in `t`.
struct Reader {
    person: Person,
    expected: String,
}

impl Reader {
    fn begin(scene: &Scene) -> Self {
        let mut person = scene.app();
        person.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        // Another table: it must be possible to lock `t`.
        person.run("SELECT count(*) FROM pg_class");
        Self { person, expected: scene.app().text(ROWS) }
    }

    fn check(&mut self, what: &str) {
        assert_eq!(self.person.text(ROWS), self.expected, "after {what}");
        self.person.run(BY_INDEX);
        assert_eq!(self.person.text(ROWS), self.expected, "after {what}, through the index");
    }
}

/// Twenty rows, whose columns that only the new table has were written after a swap, ready again.
fn swapped_and_reverted() -> (Scene, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = STAGE.empty();
    scene.table("t", "id int PRIMARY KEY, v int, u text UNIQUE, big text");
    let mut admin = scene.admin();
    admin.run(
        "ALTER TABLE t ALTER big SET STORAGE EXTERNAL; CREATE INDEX t_v ON t (v) WHERE v > 0;
         INSERT INTO t SELECT g, g, 'u' || g, repeat(md5(g::text), 300) FROM generate_series(1, 20) g",
    );
    let mut owner = scene.owner();
    owner.run(
        "SELECT bg_prepare('t', 'ADD COLUMN extra text NOT NULL DEFAULT ''default'', ALTER COLUMN v TYPE bigint')",
    );
    owner.run("CALL bg_run('t')");
    owner.run("SELECT bg_swap('t')");
    scene.app().run("UPDATE t SET extra = 'of ' || id");
    owner.run("CALL bg_run('t')");
    owner.run("SELECT bg_revert('t')");
    owner.run("CALL bg_run('t')");
    (scene, alone)
}

const STEPS: &[&str] = &[
    "UPDATE t SET v = 1000 WHERE id = 1",
    "UPDATE t SET v = 1001, big = big || 'x' WHERE id = 1",
    "UPDATE t SET id = 102 WHERE id = 2",
    "UPDATE t SET v = 5 WHERE id = 102",
    "DELETE FROM t WHERE id = 3",
    "INSERT INTO t VALUES (3, 33, 'another', 'short')",
    "BEGIN; UPDATE t SET u = 'aside' WHERE id = 4; UPDATE t SET u = 'u4' WHERE id = 5;
     UPDATE t SET u = 'u5' WHERE id = 4; COMMIT",
    "BEGIN; SAVEPOINT a; UPDATE t SET v = v + 1 WHERE id = 6; ROLLBACK TO a;
     UPDATE t SET v = v + 10 WHERE id = 6; SAVEPOINT b; UPDATE t SET v = v + 100 WHERE id = 6;
     RELEASE b; COMMIT",
    "BEGIN; INSERT INTO t VALUES (50, 1, 'passing', 'x'); DELETE FROM t WHERE id = 50; COMMIT",
    "BEGIN; SELECT * FROM t WHERE id = 9 FOR UPDATE; COMMIT",
    "UPDATE t SET id = 200 WHERE id = 7; UPDATE t SET id = 7 WHERE id = 8;
     UPDATE t SET id = 8 WHERE id = 200",
    "DELETE FROM t WHERE id = 102",
];

fn readers_through(scene: &Scene) -> Vec<(&'static str, Reader)> {
    let mut readers = vec![("the last sync", Reader::begin(scene))];
    for step in STEPS {
        scene.app().run(step);
        readers.push((step, Reader::begin(scene)));
    }
    readers
}

fn assert_whole(scene: &Scene) {
    let mut admin = scene.admin();
    admin.run(
        "CREATE EXTENSION IF NOT EXISTS amcheck; CREATE EXTENSION IF NOT EXISTS pg_visibility",
    );
    for table in ["public.t", "public_blue.t"] {
        admin.run(&format!(
            "SELECT bt_index_parent_check(indexrelid, true, true) FROM pg_index
              WHERE indrelid = '{table}'::regclass"
        ));
        for question in [
            format!("SELECT count(*) FROM verify_heapam('{table}')"),
            format!("SELECT count(*) FROM pg_check_visible('{table}')"),
            format!("SELECT count(*) FROM pg_check_frozen('{table}')"),
        ] {
            assert_eq!(admin.int(&question), 0, "{question}");
        }
    }
    assert_eq!(scene.owner().int("SELECT count(*) FROM bg_verify('t')"), 0);
}

#[test]
fn each_snapshot_between_the_last_sync_and_the_swap_reads_on_as_before() {
    let (scene, _alone) = swapped_and_reverted();
    let mut readers = readers_through(&scene);

    scene.owner().run("SELECT bg_swap('t')");

    for (what, reader) in &mut readers {
        reader.check(what);
    }
    assert_eq!(readers[3].1.person.text(EXTRA), "102 of 2");
    assert_eq!(scene.app().text(EXTRA), "3 default, 7 of 8, 8 of 7");
    drop(readers);
    assert_whole(&scene);
    scene.admin().run("VACUUM (FREEZE) t");
    assert_whole(&scene);
}

/// A short sync leaves nothing to wait for.
#[test]
fn each_snapshot_that_is_older_than_short_syncs_reads_on_as_before() {
    let (scene, _alone) = swapped_and_reverted();
    let mut owner = scene.owner();
    let mut readers = vec![("the last sync but many", Reader::begin(&scene))];
    for step in STEPS {
        scene.app().run(step);
        readers.push((step, Reader::begin(&scene)));
        owner.run("CALL bg_run('t')");
        readers.push((step, Reader::begin(&scene)));
    }
    assert_eq!(owner.int("SELECT count(*) FROM bg_blockers('t')"), 0);
    assert_whole(&scene);

    owner.run("SELECT bg_swap('t', retry_for => '0')");

    for (what, reader) in &mut readers {
        reader.check(what);
    }
    assert_eq!(readers[5].1.person.text(EXTRA), "102 of 2");
    assert_eq!(scene.app().text(EXTRA), "3 default, 7 of 8, 8 of 7");
    drop(readers);
    assert_whole(&scene);
    scene.admin().run("VACUUM (FREEZE) t");
    assert_whole(&scene);
}

/// What is not committed has not happened for a sync: neither its changes of rows that others have changed
/// before, nor a key that it moved.
#[test]
fn a_short_sync_beside_an_open_transaction_leaves_its_changes_to_the_next() {
    let (scene, _alone) = swapped_and_reverted();
    let mut owner = scene.owner();
    let mut readers = vec![("the last sync but two", Reader::begin(&scene))];
    scene.app().run("UPDATE t SET v = 1, big = big || 'x' WHERE id BETWEEN 10 AND 16");
    readers.push(("an update", Reader::begin(&scene)));
    let mut open = scene.app();
    open.run(
        "BEGIN; UPDATE t SET v = 900, big = 'brief' WHERE id = 10; UPDATE t SET id = 111 WHERE id = 11;
         DELETE FROM t WHERE id = 12; UPDATE t SET u = 'aside' WHERE id = 13;
         UPDATE t SET u = 'u13' WHERE id = 14; UPDATE t SET u = 'u14' WHERE id = 13;
         INSERT INTO t VALUES (60, 60, 'new', 'new'); SAVEPOINT a; UPDATE t SET v = 0 WHERE id = 15;
         ROLLBACK TO a; SELECT * FROM t WHERE id = 16 FOR UPDATE",
    );

    owner.run("CALL bg_run('t')");

    let blue = ROWS.replace("FROM t", "FROM public_blue.t");
    assert_eq!(scene.admin().text(&blue), scene.app().text(ROWS));
    readers.push(("a sync beside an open transaction", Reader::begin(&scene)));
    open.run("COMMIT");
    readers.push(("its commit", Reader::begin(&scene)));
    scene.app().run("UPDATE t SET v = v + 1 WHERE id IN (10, 111)");
    owner.run("CALL bg_run('t')");
    readers.push(("the next sync", Reader::begin(&scene)));
    assert_whole(&scene);

    owner.run("SELECT bg_swap('t', retry_for => '5 s')");

    for (what, reader) in &mut readers {
        reader.check(what);
    }
    assert_eq!(scene.app().text(EXTRA), "60 default, 111 of 11");
    drop(readers);
    assert_whole(&scene);
}

/// Somebody reads the other table, and what nobody needs there is pruned under the syncs.
#[test]
fn short_syncs_beside_readers_and_vacuums_of_the_other_table_lose_nothing() {
    let (scene, _alone) = swapped_and_reverted();
    let mut owner = scene.owner();
    let mut tester = scene.admin();
    tester.run("SET enable_seqscan = off; SET enable_bitmapscan = off");
    for round in 0..40 {
        // Without an index on them: versions of a row in one chain.
        scene.app().run("UPDATE t SET big = left(big, 100) || 'x' WHERE id <= 10");
        tester.run("SELECT count(*), sum(length(big)) FROM public_blue.t");
        match round % 7 {
            3 => owner.sync_without_history("t"),
            _ => owner.run("CALL bg_run('t')"),
        }
        tester.run("SELECT count(*) FROM public_blue.t WHERE id < 15");
        if round % 5 == 4 {
            tester.run("VACUUM public_blue.t");
        }
        let blue = ROWS.replace("FROM t", "FROM public_blue.t");
        assert_eq!(tester.text(&blue), scene.app().text(ROWS), "round {round}");
    }
    assert_whole(&scene);
    owner.run("SELECT bg_swap('t')");
    assert_eq!(scene.app().int("SELECT count(*) FROM t WHERE extra = 'of ' || id"), 20);
}

/// A VACUUM of blue, or a long batch: such a sync is one that snapshots are waited for.
#[test]
fn a_sync_that_cannot_leave_earlier_versions_is_waited_for() {
    let (scene, _alone) = swapped_and_reverted();
    let mut owner = scene.owner();
    let mut vacuum = scene.admin();
    vacuum.run("BEGIN; LOCK TABLE public_blue.t IN SHARE UPDATE EXCLUSIVE MODE");
    let mut reader = Reader::begin(&scene);
    scene.app().run("UPDATE t SET v = 77 WHERE id = 1");
    owner.run("CALL bg_run('t')");
    vacuum.run("ROLLBACK");
    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");
    assert_eq!(error.code, "55P03", "{error:?}");
    reader.check("a sync beside a VACUUM");
    drop(reader);

    let mut reader = Reader::begin(&scene);
    scene.app().run("INSERT INTO t SELECT g, g, 'u' || g, 'b' FROM generate_series(1000, 4000) g");
    owner.run("CALL bg_run('t')");
    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");
    assert_eq!(error.code, "55P03", "{error:?}");
    reader.check("a long batch");
    drop(reader);
    owner.run("SELECT bg_swap('t')");
    assert_whole(&scene);
}

/// Who reads the other table in the middle of a sync finds each row once.
#[test]
fn a_reader_of_the_other_table_finds_each_row_once_and_makes_the_sync_an_ordinary_one() {
    let (scene, _alone) = swapped_and_reverted();
    let mut owner = scene.owner();
    let mut reader = Reader::begin(&scene);
    let mut tester = scene.admin();
    tester.run("BEGIN; DECLARE c CURSOR FOR SELECT id FROM public_blue.t");
    let mut found = tester.list("FETCH 10 FROM c");
    scene.app().run("UPDATE t SET v = v + 1");
    owner.run("CALL bg_run('t')");
    found.extend(tester.list("FETCH ALL FROM c"));
    found.sort_by_key(|id| id.parse::<i32>().unwrap());
    assert_eq!(found, (1..=20).map(|id| id.to_string()).collect::<Vec<_>>());
    tester.run("COMMIT");
    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");
    assert_eq!(error.code, "55P03", "{error:?}");
    reader.check("a sync beside a reader of blue");
}

/// One call of bg_run first finds that a row does not fit, and then that it does.
#[test]
fn a_misfit_that_fits_later_in_the_same_sync_is_there_for_older_snapshots() {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = STAGE.empty();
    scene.table("t", "id int PRIMARY KEY, v int, u text, big text");
    scene.admin().run("INSERT INTO t VALUES (1, 1, 'p', ''), (2, 2, 'q', '')");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('t', 'ADD UNIQUE (u)')");
    owner.run("CALL bg_run('t')");
    scene.app().run("UPDATE t SET u = 'a' WHERE id = 2");
    scene.app().run("UPDATE t SET u = 'a' WHERE id = 1");
    owner.run("CALL bg_run('t')");
    assert_eq!(owner.int("SELECT misfits FROM bg_status('t')"), 1);
    // The first row is still p in blue, which the third one is now.
    scene.app().run("UPDATE t SET u = 'c' WHERE id = 2");
    scene.app().run("INSERT INTO t VALUES (3, 3, 'p', '')");
    let mut reader = Reader::begin(&scene);
    owner.run("CALL bg_run('t')");
    assert_eq!(owner.int("SELECT misfits FROM bg_status('t')"), 0);

    match owner.try_run("SELECT bg_swap('t', retry_for => '300 ms')") {
        Ok(()) => reader.check("a row that fits now"),
        Err(refusal) => {
            assert_eq!(refusal.code, "55P03", "{refusal:?}");
            reader.check("a row that fits now");
            drop(reader);
            owner.run("SELECT bg_swap('t')");
        }
    }
    assert_whole(&scene);
    drop(alone);
}

/// A row that is changed all the time, while somebody has an old snapshot: each round would write all of its
/// versions again.
#[test]
fn a_row_with_thousands_of_versions_is_waited_for_and_not_written_again_and_again() {
    const CHANGE: &str = "DO $$ BEGIN FOR i IN 1..400 LOOP UPDATE t SET v = v + 1 WHERE id = 1; COMMIT; END LOOP; END $$";
    let (scene, _alone) = swapped_and_reverted();
    let mut owner = scene.owner();
    let size = |scene: &Scene| scene.admin().int("SELECT pg_relation_size('public_blue.t') / 8192");
    let mut reader = Reader::begin(&scene);
    for _ in 0..12 {
        scene.app().run(CHANGE);
        owner.run("CALL bg_run('t')");
    }
    // 4,800 versions; written by each round they would be more than 30,000 rows, of some 10 kB in all.
    assert!(size(&scene) < 400, "{} blocks", size(&scene));
    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");
    assert_eq!(error.code, "55P03", "{error:?}");
    reader.check("thousands of updates");
    drop(reader);
    owner.run("SELECT bg_swap('t')");
    assert_whole(&scene);

    // The same in the last drain.
    owner.run("CALL bg_run('t')");
    let mut reader = Reader::begin(&scene);
    scene.admin().run("SELECT txid_current()");
    owner.run("SET bluegreen.max_final_drain = '5 s'");
    for _ in 0..6 {
        scene.app().run(CHANGE);
    }
    let error = owner.refused("SELECT bg_revert('t', retry_for => '300 ms')");
    assert_eq!(error.code, "55P03", "{error:?}");
    reader.check("thousands of updates after the last sync");
    drop(reader);
    owner.run("SELECT bg_revert('t')");
    assert_eq!(scene.app().int("SELECT v FROM t WHERE id = 1"), 1 + 18 * 400);
    assert_whole(&scene);
}

/// The first batch ends between two changes of a row's key, and the row that has taken its unique value is in it.
#[test]
fn a_row_whose_key_moves_on_behind_the_batch_keeps_its_values_where_another_has_taken_its_unique_one()
 {
    let (scene, _alone) = swapped_and_reverted();
    scene.app().run("INSERT INTO t SELECT g, g, 'u' || g, '' FROM generate_series(10001, 14998) g");
    scene.app().run("UPDATE t SET id = 1001 WHERE id = 1");
    scene.app().run("UPDATE t SET v = 0 WHERE id = 2");
    scene.app().run("UPDATE t SET id = 2001, u = 'y' WHERE id = 1001");
    scene.app().run("UPDATE t SET u = 'u1' WHERE id = 2");

    scene.owner().run("CALL bg_run('t')");

    let extra = "SELECT string_agg(id || ' ' || extra, ', ' ORDER BY id) FROM public_blue.t WHERE id IN (2, 2001)";
    assert_eq!(scene.admin().text(extra), "2 of 2, 2001 of 1");
    assert_whole(&scene);
}

#[test]
fn a_try_that_is_rolled_back_leaves_nothing_that_the_next_one_does_not_put_right() {
    let (scene, _alone) = swapped_and_reverted();
    let mut readers = readers_through(&scene);
    let mut owner = scene.owner();
    for _ in 0..2 {
        owner.run("BEGIN; SELECT bg_swap('t'); ROLLBACK");
    }
    scene.app().run("UPDATE t SET v = 7, big = 'brief' WHERE id IN (1, 7, 12)");
    readers.push(("a rolled back try and more updates", Reader::begin(&scene)));

    owner.run("SELECT bg_swap('t')");

    for (what, reader) in &mut readers {
        reader.check(what);
    }
    assert_eq!(readers[3].1.person.text(EXTRA), "102 of 2");
    assert_eq!(scene.app().text(EXTRA), "3 default, 7 of 8, 8 of 7");
    drop(readers);
    assert_whole(&scene);
}

#[test]
fn a_sync_goes_on_after_a_try_that_was_rolled_back() {
    let (scene, _alone) = swapped_and_reverted();
    for step in STEPS {
        scene.app().run(step);
    }
    let mut owner = scene.owner();
    owner.run("BEGIN; SELECT bg_swap('t'); ROLLBACK");
    scene.app().run("UPDATE t SET v = v + 1 WHERE id < 10");

    owner.run("CALL bg_run('t')");

    assert_whole(&scene);
    owner.run("SELECT bg_swap('t')");
    assert_eq!(scene.app().text(EXTRA), "3 default, 7 of 8, 8 of 7");
    assert_whole(&scene);
}

#[test]
fn the_callers_own_changes_are_seen_with_the_swap_and_not_before() {
    let (scene, _alone) = swapped_and_reverted();
    scene.app().run("UPDATE t SET v = 500 WHERE id = 1");
    let mut before = Reader::begin(&scene);
    let mut owner = scene.owner();
    owner.run("BEGIN; UPDATE t SET v = v + 1 WHERE id IN (1, 2); DELETE FROM t WHERE id = 3");
    owner.run("INSERT INTO t VALUES (300, 300, 'own', 'own')");
    owner.run("SELECT bg_swap('t')");
    let own = owner.text(ROWS);
    owner.run("COMMIT");

    before.check("changes of the swap's own transaction");
    assert_eq!(scene.app().text(ROWS), own);
    assert_eq!(scene.app().text("SELECT v::text FROM t WHERE id = 1"), "501");
    drop(before);
    assert_whole(&scene);
}

#[test]
fn the_callers_own_changes_go_with_a_try_that_is_rolled_back() {
    let (scene, _alone) = swapped_and_reverted();
    let before = scene.app().text(ROWS);
    let mut owner = scene.owner();
    for _ in 0..2 {
        owner.run(
            "BEGIN; UPDATE t SET id = 100 WHERE id = 1; UPDATE t SET v = 0 WHERE id = 2;
             DELETE FROM t WHERE id = 3; SELECT bg_swap('t'); ROLLBACK",
        );
    }

    owner.run("SELECT bg_swap('t')");

    assert_eq!(scene.app().text(ROWS), before);
    assert_eq!(scene.app().int("SELECT count(*) FROM t WHERE extra = 'of ' || id"), 20);
    assert_whole(&scene);
}

#[test]
fn a_row_that_was_updated_since_fails_for_an_older_snapshot_and_is_found_by_a_younger_one() {
    let (scene, _alone) = swapped_and_reverted();
    scene.app().run("SELECT 1");
    let mut old = Reader::begin(&scene);
    scene.app().run("UPDATE t SET v = 77 WHERE id = 1");

    scene.owner().run("SELECT bg_swap('t')");

    let error = old.person.refused("UPDATE t SET v = v + 1 WHERE id = 1");
    assert_eq!(error.code, "40001", "{error:?}");
    drop(old);
    scene.app().run("UPDATE t SET v = v + 1 WHERE id = 1");
    assert_eq!(scene.app().text("SELECT v::text FROM t WHERE id = 1"), "78");
}

#[test]
fn a_swap_waits_for_a_snapshot_that_was_taken_over_from_one_that_has_ended() {
    let (scene, _alone) = swapped_and_reverted();
    let mut first = scene.app();
    first.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    let name = first.text("SELECT pg_export_snapshot()");
    scene.app().run("UPDATE t SET v = 99");
    let mut owner = scene.owner();
    owner.sync_without_history("t");
    let mut second = scene.app();
    second.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    second.run(&format!("SET TRANSACTION SNAPSHOT '{name}'"));
    second.run("SELECT 1");
    first.run("COMMIT");

    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");

    assert_eq!(error.code, "55P03", "{error:?}");
    second.run("COMMIT");
    owner.run("SELECT bg_swap('t')");
}

#[test]
fn a_swap_does_not_happen_between_two_serializable_transactions_of_which_one_must_fail() {
    let (scene, _alone) = swapped_and_reverted();
    let (mut one, mut two) = (scene.app(), scene.app());
    let mut owner = scene.owner();
    for person in [&mut one, &mut two] {
        person.run("BEGIN ISOLATION LEVEL SERIALIZABLE");
        person.run("SELECT count(*) FROM pg_class");
    }
    scene.app().run("SELECT 1");
    one.run("SELECT sum(v) FROM t WHERE id IN (1, 2)");
    one.run("UPDATE t SET v = 0 WHERE id = 1");
    one.run("COMMIT");

    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");

    assert_eq!(error.code, "55P03", "{error:?}");
    assert!(format!("{error:?}").contains("SERIALIZABLE"), "{error:?}");
    two.run("SELECT sum(v) FROM t WHERE id IN (1, 2)");
    let error = two.refused("UPDATE t SET v = 0 WHERE id = 2; COMMIT");
    assert_eq!(error.code, "40001", "{error:?}");
    two.run("ROLLBACK");
    owner.run("SELECT bg_swap('t')");
}

#[test]
fn a_snapshot_after_a_truncate_is_waited_for_and_reads_what_it_sees() {
    let (scene, _alone) = swapped_and_reverted();
    scene.app().run("TRUNCATE t");
    scene.app().run("INSERT INTO t SELECT g, g, 'v' || g, 'x' FROM generate_series(1, 3) g");
    let mut reader = Reader::begin(&scene);
    scene.app().run("UPDATE t SET v = 100 WHERE id = 1");
    scene.app().run("DELETE FROM t WHERE id = 2");
    let mut owner = scene.owner();

    // Blue's new file cannot hold what was made before it: nobody may be there who would see the difference.
    match owner.try_run("SELECT bg_swap('t', retry_for => '300 ms')") {
        Ok(()) => reader.check("a TRUNCATE"),
        Err(refusal) => {
            assert_eq!(refusal.code, "55P03", "{refusal:?}");
            reader.check("a TRUNCATE");
            drop(reader);
            owner.run("SELECT bg_swap('t')");
        }
    }
    assert_whole(&scene);
}

/// Ready, with `v` narrower in the new table and a column that only it has.
fn narrowed() -> (Scene, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = STAGE.empty();
    scene.table("t", "id int PRIMARY KEY, v int, u text, big text");
    scene.admin().run("INSERT INTO t SELECT g, g, 'u' || g, 'b' FROM generate_series(1, 12) g");
    let mut owner = scene.owner();
    owner.run(
        "SELECT bg_prepare('t', 'ALTER COLUMN v TYPE smallint, ADD COLUMN extra text DEFAULT ''default''')",
    );
    owner.run("CALL bg_run('t', 'swapped')");
    scene.app().run("UPDATE t SET extra = 'of ' || id");
    owner.run("CALL bg_run('t')");
    owner.run("SELECT bg_revert('t')");
    owner.run("CALL bg_run('t')");
    (scene, alone)
}

#[test]
fn a_version_that_does_not_fit_is_waited_for_and_hides_no_other() {
    let (scene, _alone) = narrowed();
    scene.app().run("UPDATE t SET v = 100000 WHERE id = 11");
    scene.app().run("UPDATE t SET v = 50 WHERE id = 1");
    let mut during = Reader::begin(&scene);
    scene.app().run("UPDATE t SET v = 11 WHERE id = 11");
    let mut after = Reader::begin(&scene);
    scene.app().run("UPDATE t SET v = 51 WHERE id = 1");
    let mut owner = scene.owner();

    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");

    assert_eq!(error.code, "55P03", "{error:?}");
    during.check("the misfit");
    drop(during);
    owner.run("SELECT bg_swap('t')");
    after.check("its correction");
    drop(after);
    assert_whole(&scene);
}

#[test]
fn a_misfit_that_the_caller_corrects_costs_no_row_and_no_value_when_the_try_is_rolled_back() {
    let (scene, _alone) = narrowed();
    scene.app().run("UPDATE t SET v = 100000 WHERE id = 11");
    scene.app().run("UPDATE t SET v = 11 WHERE id = 11");
    scene.app().run("UPDATE t SET v = 77 WHERE id = 1; UPDATE t SET v = 100000 WHERE id = 2");
    let before = scene.app().text(ROWS);
    let mut owner = scene.owner();
    owner.run(
        "BEGIN; UPDATE t SET v = 2 WHERE id = 2; UPDATE t SET v = v + 1 WHERE id IN (1, 3);
         SELECT bg_swap('t'); ROLLBACK",
    );
    assert_eq!(scene.app().text(ROWS), before);
    scene.app().run("UPDATE t SET v = 2 WHERE id = 2");
    let before = scene.app().text(ROWS);

    owner.run("SELECT bg_swap('t')");

    assert_eq!(scene.app().text(ROWS), before);
    assert_eq!(scene.app().int("SELECT count(*) FROM t WHERE extra = 'of ' || id"), 12);
    assert_whole(&scene);
}

#[test]
fn a_key_can_be_referred_to_whose_row_was_updated_after_the_snapshot() {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = STAGE.empty();
    scene.table("t", "id int PRIMARY KEY, v int, u text, big text");
    scene.admin().run("INSERT INTO t SELECT g, g, 'u' || g, 'b' FROM generate_series(1, 12) g");
    scene.table("children", "t int REFERENCES t");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('t', 'ALTER COLUMN v TYPE bigint')");
    owner.run("CALL bg_run('t')");
    let mut old = Reader::begin(&scene);
    scene.app().run("UPDATE t SET v = 77 WHERE id = 1");

    owner.run("SELECT bg_swap('t')");

    old.person.run("INSERT INTO children VALUES (1); COMMIT");
    drop(alone);
}

#[test]
fn a_vacuum_of_the_toast_table_alone_is_kept_out_of_a_swap() {
    let (scene, _alone) = swapped_and_reverted();
    scene.app().run("UPDATE t SET big = repeat('y', 9000) WHERE id = 1");
    let mut admin = scene.admin();
    let toast = admin.text(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'public_blue.t'::regclass",
    );
    admin.run("SET vacuum_cost_limit = 1; SET vacuum_cost_delay = '100 ms'");
    let pid = admin.pid();
    let vacuum = Errand::start(admin, &format!("VACUUM (FREEZE) {toast}"));
    scene.until(
        "SELECT count(*) = 1 FROM pg_stat_progress_vacuum WHERE datname = current_database()",
    );
    let mut owner = scene.owner();

    let error = owner.refused("SELECT bg_swap('t', retry_for => '300 ms')");

    assert_eq!(error.code, "55P03", "{error:?}");
    scene.admin().run(&format!("SELECT pg_cancel_backend({pid})"));
    drop(vacuum.result());
    owner.run("SELECT bg_swap('t')");
    assert_whole(&scene);
}
