//! What PostgreSQL 17 brought goes over. Before it its statements are errors, and there is nothing to carry.

use bluegreen_tests::cluster::{Cluster, Options};

use super::round_trip::RoundTrip;
use crate::story::{Major, Scene, Stage, major, new_cluster, own, stage};

static STAGE: Stage = stage!();

fn has_17() -> bool {
    major() >= Major::V17
}

#[test]
fn the_right_to_maintain_goes_over() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    let grant = "GRANT MAINTAIN ON users TO mallory WITH GRANT OPTION";
    if !has_17() {
        assert_eq!(admin.refused(grant).code, "42601");
        return;
    }
    admin.run(grant);
    let look = "SELECT privilege_type || ' ' || grantee::regrole || ' ' || is_grantable
                  FROM pg_class, aclexplode(relacl)
                 WHERE oid = 'users'::regclass AND grantee = 'mallory'::regrole";
    let trip = RoundTrip { scene: &scene, look };
    assert_eq!(trip.seen(), ["MAINTAIN mallory true"]);
    trip.assert("ADD COLUMN phone text", &["MAINTAIN mallory true"]);
    let mut mallory = scene.mallory();
    mallory.run("ANALYZE users");
    assert_eq!(mallory.notices(), []);
}

#[test]
fn collations_of_the_builtin_provider_order_the_new_table() {
    let scene = STAGE.users(0);
    let mut admin = scene.admin();
    let collation = "CREATE COLLATION code_points (provider = builtin, locale = 'C.UTF-8')";
    if !has_17() {
        assert_eq!(admin.refused(collation).code, "42P17");
        return;
    }
    admin.run(collation);
    admin.run(
        "ALTER TABLE users ALTER COLUMN name TYPE text COLLATE code_points;
         INSERT INTO users (name, email) SELECT n, n FROM unnest('{b,A,a,B}'::text[]) n",
    );
    let look = "SELECT string_agg(name, ' ') FROM (SELECT name FROM users ORDER BY name) u
                UNION ALL SELECT attname || ' ' || attcollation::regcollation FROM pg_attribute
                    WHERE attrelid = 'users'::regclass AND attcollation = 'code_points'::regcollation";
    let trip = RoundTrip { scene: &scene, look };
    assert_eq!(trip.seen(), ["A B a b", "name code_points"]);
    trip.assert(
        "ADD COLUMN other text COLLATE code_points",
        &["A B a b", "name code_points", "other code_points"],
    );
}

/// Two names that only one collation takes for different ones. Each version prints such a constraint in its own words.
#[test]
fn exclusion_constraints_keep_the_collation_of_each_element() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    admin.run(
        "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         ALTER TABLE users ADD CONSTRAINT one EXCLUDE USING btree (name COLLATE caseless WITH =)",
    );
    let look = "SELECT conname || ' ' || (SELECT string_agg(c::regcollation::text, ' ') FROM unnest(i.indcollation) c)
                  FROM pg_constraint k JOIN pg_index i ON i.indexrelid = k.conindid
                 WHERE k.conrelid = 'users'::regclass AND k.contype = 'x' ORDER BY 1";
    let trip = RoundTrip { scene: &scene, look };
    assert_eq!(trip.seen(), ["one caseless"]);
    trip.assert(
        "ADD COLUMN nick text, ADD CONSTRAINT two EXCLUDE USING btree (nick COLLATE caseless WITH =)",
        &["one caseless", "two caseless"],
    );
    let mut app = scene.app();
    let taken = app.refused("INSERT INTO users (name, email) VALUES ('FIRST last3', 'x')");
    assert_eq!(taken.code, "23P01", "{taken:?}");
}

#[test]
fn partitions_with_an_identity_are_refused_by_name() {
    let scene = STAGE.empty();
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE parted (id int GENERATED ALWAYS AS IDENTITY, name text) PARTITION BY LIST (name);
         CREATE TABLE part_a PARTITION OF parted FOR VALUES IN ('a');
         ALTER TABLE parted OWNER TO owner; ALTER TABLE part_a OWNER TO owner",
    );
    let of_part = "SELECT count(*) FROM pg_attribute
        WHERE attrelid = 'part_a'::regclass AND attidentity <> ''";
    assert_eq!(admin.int(of_part), i64::from(has_17()));
    let mut owner = scene.owner();
    for table in ["parted", "part_a"] {
        let call = format!("SELECT bg_prepare('{table}', 'ADD COLUMN x int')");
        owner.refused(&call).assert_is("0A000", &[table]);
    }
}

/// A deployment makes indexes, and makes none anew.
#[test]
fn event_triggers_on_reindex_do_not_see_a_deployment() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    admin.run(
        "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql
         AS $$ BEGIN RAISE EXCEPTION 'no %', tg_tag; END $$",
    );
    let trigger = "CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('REINDEX')
                       EXECUTE FUNCTION forbid()";
    if !has_17() {
        assert_eq!(admin.refused(trigger).code, "0A000");
        return;
    }
    admin.run(trigger);
    assert_eq!(admin.refused("REINDEX TABLE users").message, "no REINDEX");
    let look = "SELECT count(*) FROM pg_index WHERE indrelid = 'users'::regclass";
    RoundTrip { scene: &scene, look }.assert("ADD COLUMN phone text UNIQUE", &["4"]);
}

/// The pages that the copy writes, and what a swap makes of the tables, are in what an incremental backup takes to be
/// changed.
#[test]
fn an_open_deployment_comes_back_from_incremental_backups() {
    let options = Options::default();
    let summaries = options.clone().set("summarize_wal", "on");
    if !has_17() {
        assert!(Cluster::start(&summaries).is_err(), "an unknown setting");
        return;
    }
    let scene = Scene::in_cluster(own(new_cluster(&summaries)));
    scene.add_wide_users(400);
    let mut owner = scene.owner();
    let mut backups = vec![scene.cluster.backup(None).unwrap()];
    let mut back_up = || {
        let since = backups.last();
        let backup = scene.cluster.backup(since).unwrap();
        backups.push(backup);
    };
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.run("SELECT bg_backfill('users', '1 us')");
    assert_eq!(scene.status("phase"), "copying");
    back_up();
    owner.sync();
    scene.app().run("UPDATE users SET name = 'waits' WHERE id <= 10");
    back_up();
    owner.run("CALL bg_run('users', 'swapped')");
    scene.app().run("UPDATE users SET phone = 'later' WHERE id <= 20");
    back_up();

    let restored = own(Cluster::combined(&backups, &options).unwrap());
    let there = Scene { cluster: restored, database: scene.database.clone() };
    const ROWS: &str = "SELECT md5(u::text) FROM users u ORDER BY id";
    assert_eq!(there.admin().list(ROWS), scene.admin().list(ROWS));
    let mut owner = there.owner();
    assert_eq!(there.status("phase"), "swapped");
    owner.run("CALL bg_run('users', 'swapped')");
    there.assert_in_step("id, name, email, created_at");
    owner.run("CALL bg_run('users', 'reverted')");
    owner.run("CALL bg_run('users', 'swapped')");
    owner.run("SELECT bg_finish('users')");
    assert_eq!(owner.int("SELECT count(*) FROM users WHERE phone = 'later'"), 20);
    // The two backups in the middle, each as it was.
    for (taken, phase) in [(2, "copying"), (3, "ready")] {
        let restored = own(Cluster::combined(&backups[..taken], &options).unwrap());
        let there = Scene { cluster: restored, database: scene.database.clone() };
        assert_eq!(there.status("phase"), phase);
        let mut owner = there.owner();
        owner.run("CALL bg_run('users', 'swapped')");
        there.assert_in_step("id, name, email, created_at");
    }
}
