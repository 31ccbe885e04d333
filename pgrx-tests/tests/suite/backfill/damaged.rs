//! Rows that the server cannot read: the copy names the first, and leaves them out where that is asked for.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};

use bluegreen_tests::cluster::{Options, StopMode};

use crate::story::{Person, Scene, new_cluster, own};

const BLOCK: usize = 8192;

/// `papers` with a page whose header is damaged, and with long values of which some are lost.
fn damaged() -> Scene {
    let cluster = own(new_cluster(&Options::default().set("autovacuum", "off")));
    let scene = Scene::in_cluster(cluster);
    scene.table("papers", "id int PRIMARY KEY, g text, body text");
    let mut admin = scene.admin();
    admin.run(
        "ALTER TABLE papers ALTER COLUMN body SET STORAGE EXTERNAL;
         INSERT INTO papers SELECT n, repeat('g', 100), CASE WHEN n % 10 = 0 THEN repeat(md5(n::text), 100) END
             FROM generate_series(1, 1000) n;
         CREATE TABLE pair (id int PRIMARY KEY, t text); ALTER TABLE pair OWNER TO owner;
         INSERT INTO pair SELECT n, repeat('x', 100) FROM generate_series(1, 100) n;
         CHECKPOINT",
    );
    admin.run("VACUUM ANALYZE pair");
    let path = |relation: &str| {
        let sql = format!("SELECT pg_relation_filepath({relation})");
        cluster.data().join(scene.admin().text(&sql))
    };
    let (heap, pair) = (path("'papers'"), path("'pair'"));
    let long = path("(SELECT reltoastrelid FROM pg_class WHERE oid = 'papers'::regclass)");
    drop(admin);
    cluster.stop(StopMode::Fast).unwrap();
    let damage = [(heap, 3, vec![0xff; 24]), (long, 5, vec![0; BLOCK]), (pair, 0, vec![0xff; 24])];
    for (file, block, bytes) in damage {
        let mut file = OpenOptions::new().write(true).open(file).unwrap();
        file.seek(SeekFrom::Start((block * BLOCK) as u64)).unwrap();
        file.write_all(&bytes).unwrap();
    }
    cluster.restart().unwrap();
    scene.admin().run(
        "CREATE FUNCTION readable(place tid) RETURNS int LANGUAGE plpgsql AS $$
             DECLARE found int;
             BEGIN
                 SELECT id INTO found FROM papers WHERE ctid = place AND length(body || g) IS DISTINCT FROM 0
                     AND papers::text IS NOT NULL;
                 RETURN found;
             EXCEPTION WHEN data_corrupted THEN RETURN NULL; END $$;
         CREATE VIEW readable AS SELECT id FROM (SELECT readable(format('(%s,%s)', b, l)::tid) AS id
             FROM generate_series(0, pg_relation_size('papers') / 8192 - 1) b, generate_series(1, 100) l) r
             WHERE id IS NOT NULL",
    );
    scene
}

/// Ids that a query gives, in order.
fn ids(person: &mut Person, sql: &str) -> Vec<i64> {
    person.list(sql).iter().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_damaged_row_stops_the_copy_with_its_place_and_is_left_out_where_that_is_asked_for() {
    let scene = damaged();
    let mut admin = scene.admin();
    let readable = ids(&mut admin, "SELECT id FROM readable ORDER BY 1");
    assert!((900..990).contains(&readable.len()), "{}", readable.len());
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('papers', 'ADD COLUMN note text')");
    let refusal = owner.refused("CALL bg_run('papers')");
    assert_eq!(refusal.code, "XX001", "{refusal:?}");
    assert!(refusal.detail.contains("public.papers with the key {\"id\": \"110\"}"), "{refusal:?}");
    assert!(refusal.hint.contains("bluegreen.skip_damaged_rows"), "{refusal:?}");
    let status = "SELECT phase || ' ' || misfits FROM bg_status('papers')";
    assert_eq!(owner.text(status), "copying 0");

    owner.run("SET bluegreen.skip_damaged_rows = on");
    owner.run("CALL bg_run('papers')");
    assert_eq!(owner.text(status), "ready 0");
    assert_eq!(ids(&mut admin, "SELECT id FROM public_blue.papers ORDER BY 1"), readable);
    let left_out = ids(
        &mut admin,
        "SELECT key ->> 'id' FROM bg_misfits() WHERE set_aside AND key IS NOT NULL ORDER BY (key ->> 'id')::int",
    );
    let page = "SELECT error FROM bg_misfits() WHERE key IS NULL";
    let error = admin.text(page);
    assert!(error.starts_with("block 3 cannot be read: invalid page"), "{error}");
    // Every row is in the new table, or was left out by its key, or is on that page.
    let on_the_page = 1000 - readable.len() - left_out.len();
    assert!(!left_out.is_empty() && (30..70).contains(&on_the_page), "{left_out:?} {on_the_page}");
    assert!(left_out.iter().all(|id| !readable.contains(id) && id % 10 == 0), "{left_out:?}");

    // One that is mended comes along.
    let mended = left_out[0];
    scene.app().run(&format!("UPDATE papers SET body = 'mended' WHERE id = {mended}"));
    owner.run("CALL bg_run('papers')");
    owner.run("SELECT bg_swap('papers')");
    let seen = format!("SELECT body FROM papers WHERE id = {mended}");
    assert_eq!(scene.app().text(&seen), "mended");
    assert_eq!(admin.int("SELECT count(*) FROM papers"), readable.len() as i64 + 1);
    owner.run("SELECT bg_revert('papers')");
    owner.run("SELECT bg_abort('papers')");
}

/// So small a table would be read whole for each of its blocks.
#[test]
fn the_other_page_of_a_table_of_two_is_copied() {
    let scene = damaged();
    let mut owner = scene.owner();
    owner.run("SET bluegreen.skip_damaged_rows = on");
    owner.run("SELECT bg_prepare('pair', 'ADD COLUMN note text')");
    owner.run("CALL bg_run('pair')");
    let left_out = "SELECT string_agg(left(error, 23), ',') FROM bg_misfits()";
    assert_eq!(scene.admin().text(left_out), "block 0 cannot be read:");
    let copied = scene.admin().int("SELECT count(*) FROM public_blue.pair");
    assert!((20..80).contains(&copied), "{copied}");
}

/// Only what cannot be read is left out: a mapping that raises the same error is none of it.
#[test]
fn an_error_of_a_function_is_no_damage() {
    let scene = damaged();
    scene.admin().run(
        "CREATE FUNCTION picky(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
             BEGIN RAISE 'no picky row is written' USING ERRCODE = 'data_corrupted'; END $$;
         CREATE TABLE sound (id int PRIMARY KEY, t text); ALTER TABLE sound OWNER TO owner;
         INSERT INTO sound SELECT n, 'x' FROM generate_series(1, 10) n",
    );
    let mut owner = scene.owner();
    owner.run("SET bluegreen.skip_damaged_rows = on");
    owner.run(
        "SELECT bg_prepare('sound', 'ADD COLUMN u text', forward => '{\"u\": \"public.picky(t)\"}',
             reverse => '{}')",
    );
    owner.refused("CALL bg_run('sound')").assert_is("XX001", &["picky"]);
    assert_eq!(scene.admin().int("SELECT count(*) FROM bg_misfits()"), 0);
}
