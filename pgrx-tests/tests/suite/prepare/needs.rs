//! bg_check says in numbers what a deployment will need.

use crate::story::{Stage, stage};

static STAGE: Stage = stage!();

/// The number before a word in a text.
fn number(text: &str, word: &str) -> i64 {
    let (before, _) = text.split_once(word).unwrap_or_else(|| panic!("no {word} in {text}"));
    let number = before.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("no number before {word} in {text}"))
}

#[test]
fn what_it_foretells_is_what_is_written_and_locked() {
    let scene = STAGE.users(20_000);
    scene.table("orders", "id bigint PRIMARY KEY, u bigint REFERENCES users");
    scene.admin().run(
        "CREATE INDEX ON users (name); CREATE VIEW names AS SELECT id, name FROM users;
         CREATE VIEW more AS SELECT * FROM names; CREATE MATERIALIZED VIEW kept AS SELECT id FROM users;
         CREATE POLICY everybody ON users USING (true);
         DO $$ BEGIN FOR i IN 1..20 LOOP
             EXECUTE format('CREATE VIEW v%s AS SELECT id FROM users', i);
             EXECUTE format('CREATE TABLE t%s (u bigint REFERENCES users)', i); END LOOP; END $$",
    );
    let mut owner = scene.owner();
    let told =
        "SELECT message FROM bg_check('users', 'ADD COLUMN phone text') WHERE code = 'needs'";
    let told = owner.text(told);
    let (disk, wal) = (number(&told, " kB in "), number(&told, " kB of WAL"));
    let locks = number(told.rsplit("about ").next().unwrap(), " of ");

    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    let written = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint / 1024";
    let before = scene.admin().int(written);
    owner.run("CALL bg_run('users')");
    let after = scene.admin().int(written);

    let size = scene.admin().int("SELECT pg_total_relation_size('public_blue.users') / 1024");
    assert!(size <= disk + 100 && disk < 2 * size, "{size} kB of: {told}");
    let used = after - before;
    assert!(used < 2 * wal && wal < 2 * used, "{used} kB of WAL: {told}");
    owner.run("BEGIN; SELECT bg_swap('users')");
    let taken = owner.int("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()");
    owner.run("COMMIT");
    assert!(taken <= locks && locks < 2 * taken, "{taken} locks: {told}");
}

#[test]
fn more_locks_than_the_server_has_room_for_are_warned_of() {
    let scene = STAGE.users(1);
    let mut owner = scene.owner();
    let warned = "SELECT count(*) FROM bg_check('users') WHERE code = 'locks'";
    assert_eq!(owner.int(warned), 0);
    let room = owner.int(
        "SELECT current_setting('max_locks_per_transaction')::bigint
                * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint)",
    );
    // Each takes some locks.
    scene.admin().run(&format!(
        "DO $$ BEGIN FOR i IN 1..{} LOOP
             EXECUTE format('CREATE VIEW v%s AS SELECT id FROM users', i);
             IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END $$",
        room / 12 + 10
    ));
    assert_eq!(owner.int(warned), 1);
}
