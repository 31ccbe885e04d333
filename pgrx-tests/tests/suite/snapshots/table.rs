//! The table that is deployed, `entries`; beside it `control` and `bump`, which are not, and tell a reader
//! in which state of its writers its snapshot has to see the table.
//!
//! Numbers of writers: [`STILL`] has rows that never change; from 1 on those who write rows of their own
//! (see the ledger); from [`COUNTERS`] on rows whose value is the number of their rows in `bump`; from
//! [`NEWBORNS`] on those who change rows that they have just made; [`PAIR`] has two rows, of which one at
//! least is 1.

use crate::story::Scene;

pub const STILL: i32 = 0;
pub const COUNTERS: i32 = 100;
pub const NEWBORNS: i32 = 200;
pub const PAIR: i32 = 300;

/// How many counters there are.
pub const COUNTER_COUNT: i32 = 6;
/// The two rows of [`PAIR`].
pub const PAIR_IDS: [i64; 2] = [300_000_001, 300_000_002];

/// What a reader reads first.
pub const CONTROL: &str = "SELECT -1::int8, writer, seq, 0, 0::int8, '', '', true FROM control
     UNION ALL SELECT -1, counter, count(*), 0, 0, '', '', true FROM bump GROUP BY counter
     UNION ALL SELECT -3, 0, 0, 0, 0, to_regclass('public.entries')::oid::text, '', true";

/// Which table it is, by now.
pub const WHICH: &str =
    "SELECT -3::int8, 0, 0, 0, 0, to_regclass('public.entries')::oid::text, '', true";

/// The id of a counter's row.
pub fn counter_id(counter: i32) -> i64 {
    i64::from(counter) * 1_000_000
}

/// What a reader reads then, from the table or from one that stands for it.
pub fn rows_of(table: &str) -> String {
    format!(
        "SELECT id, writer, seq, nth, value::int8, code, origin,
             body IS NOT DISTINCT FROM body_of(origin) FROM {table} WHERE writer > 0
         UNION ALL SELECT -2, 0, count(*), 0, coalesce(sum(id), 0)::int8, '', '', true
             FROM {table} WHERE writer = 0
         UNION ALL SELECT -3, 0, 0, 0, 0, to_regclass('public.entries')::oid::text, '', true"
    )
}

/// Only what the index `entries_state` has.
pub const ROWS_OF_INDEX: &str =
    "SELECT id, writer, NULL, NULL, NULL, code, NULL, true FROM entries WHERE writer > 0
     UNION ALL SELECT -2, 0, count(*), 0, coalesce(sum(id), 0)::int8, '', '', true
         FROM entries WHERE writer = 0
     UNION ALL SELECT -3, 0, 0, 0, 0, to_regclass('public.entries')::oid::text, '', true";

/// What is read without it.
pub const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off";

/// Makes the tables, with so many rows that never change.
pub fn furnish(scene: &Scene, still: u32) {
    scene.table(
        "entries",
        "id bigint PRIMARY KEY, writer int NOT NULL, seq bigint NOT NULL DEFAULT 0,
         nth int NOT NULL DEFAULT 0, value int NOT NULL DEFAULT 0, code text NOT NULL UNIQUE,
         origin text NOT NULL, body text",
    );
    scene.table("control", "writer int PRIMARY KEY, seq bigint NOT NULL");
    scene.table("bump", "counter int NOT NULL");
    scene.table("notes", "entry bigint NOT NULL REFERENCES entries");
    // A body follows from its row's origin, whose last character says how it is stored: as NULL, short,
    // compressed, long as it is, long and compressed.
    let noise = noise(9000);
    scene.admin().run(&format!(
        "CREATE FUNCTION body_of(origin text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
             SELECT CASE right(origin, 1)
                 WHEN '0' THEN NULL
                 WHEN '1' THEN origin || ' is short'
                 WHEN '2' THEN repeat(origin || ' again ', 400)
                 WHEN '3' THEN origin || substr('{noise}', 1 + (hashtext(origin) & 4095), 4800)
                 ELSE origin || repeat(substr('{noise}', 1 + (hashtext(origin) & 4095), 3000), 6)
             END $$;
         CREATE INDEX entries_state ON entries (writer, id) INCLUDE (code);
         CREATE INDEX entries_lower ON entries (lower(code));
         CREATE INDEX entries_long ON entries (origin) WHERE right(origin, 1) >= '3';
         CREATE INDEX entries_hash ON entries USING hash (origin);
         CREATE INDEX entries_gin ON entries USING gin (string_to_array(origin, '.'));
         CREATE INDEX entries_brin ON entries USING brin (writer);"
    ));
    scene.admin().run(&format!(
        "INSERT INTO entries (id, writer, code, origin, body)
             SELECT n, {STILL}, 'S' || n, o, body_of(o)
             FROM (SELECT n, '0.' || n || '.0.' || n % 2 AS o FROM generate_series(1, {still}) n) s;
         INSERT INTO entries (id, writer, code, origin)
             SELECT ({COUNTERS} + n) * 1000000::int8, {COUNTERS} + n, 'N' || n, 'n.0.0.0'
             FROM generate_series(0, {COUNTER_COUNT} - 1) n;
         INSERT INTO entries (id, writer, value, code, origin)
             SELECT id, {PAIR}, 1, 'P' || id, 'p.0.0.0' FROM unnest(ARRAY[{}, {}]) id;
         CREATE FUNCTION look_after(nap float8)
             RETURNS TABLE (id int8, writer int, seq int8, nth int, value int8, code text, origin text,
                 sound boolean) LANGUAGE plpgsql STABLE AS $$
             #variable_conflict use_column
             BEGIN
                 RETURN QUERY {CONTROL};
                 PERFORM pg_sleep(nap);
                 RETURN QUERY {};
             END $$;
         ANALYZE",
        PAIR_IDS[0],
        PAIR_IDS[1],
        rows_of("entries"),
    ));
}

/// Letters that cannot be compressed, the same each time: a body of them costs no more than to cut it out.
fn noise(length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    // Numerical Recipes' linear congruential generator; its low bits are poor.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(LETTERS[(state >> 16) as usize % LETTERS.len()])
    };
    (0..length).map(|_| next()).collect()
}

/// `f_entries` and so on: the tables as others see them through a server that leads back here.
pub fn with_foreign_tables(scene: &Scene) {
    let host = scene.admin().text("SHOW unix_socket_directories");
    let (port, database) = (scene.admin().text("SHOW port"), &scene.database);
    scene.admin().run(&format!(
        "CREATE EXTENSION postgres_fdw;
         CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw
             OPTIONS (host '{host}', port '{port}', dbname '{database}');
         CREATE USER MAPPING FOR app SERVER here OPTIONS (user 'app', password_required 'false');
         CREATE FOREIGN TABLE f_entries (id bigint, writer int, seq bigint, nth int, value int, code text,
             origin text, body text) SERVER here OPTIONS (schema_name 'public', table_name 'entries');
         CREATE FOREIGN TABLE f_control (writer int, seq bigint) SERVER here
             OPTIONS (schema_name 'public', table_name 'control');
         CREATE FOREIGN TABLE f_bump (counter int) SERVER here
             OPTIONS (schema_name 'public', table_name 'bump');
         GRANT SELECT, INSERT, UPDATE, DELETE ON f_entries, f_control, f_bump TO app"
    ));
}
