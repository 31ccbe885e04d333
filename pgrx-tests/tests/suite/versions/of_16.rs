//! What PostgreSQL 16 brought goes over. On 15 its statements are errors, and there is nothing to carry.

use super::round_trip::RoundTrip;
use crate::story::{Major, Stage, major, stage};

static STAGE: Stage = stage!();

#[test]
fn storage_that_a_column_is_created_with_goes_over() {
    let scene = STAGE.users(20);
    let live = "ALTER TABLE users ADD COLUMN bio text STORAGE EXTERNAL";
    if major() < Major::V16 {
        assert_eq!(scene.admin().refused(live).code, "42601");
        return;
    }
    scene.admin().run(live);
    let look = "SELECT attname || ' ' || attstorage::text FROM pg_attribute
                 WHERE attrelid = 'users'::regclass AND attnum > 0 AND atttypid = 'text'::regtype ORDER BY 1";
    let trip = RoundTrip { scene: &scene, look };
    assert_eq!(trip.seen(), ["bio e", "email x", "name x"]);
    trip.assert(
        "ADD COLUMN story text STORAGE MAIN, ALTER COLUMN name SET STORAGE PLAIN, ALTER COLUMN bio SET STORAGE DEFAULT",
        &["bio x", "email x", "name p", "story m"],
    );
}

#[test]
fn rules_of_an_icu_collation_order_the_new_table_and_its_indexes() {
    let scene = STAGE.users(0);
    let mut admin = scene.admin();
    let collation =
        "CREATE COLLATION w_is_v (provider = icu, locale = 'und', rules = '&V << w <<< W')";
    if major() < Major::V16 {
        assert_eq!(admin.refused(collation).code, "42601");
        return;
    }
    admin.run(collation);
    admin.run(
        "ALTER TABLE users ALTER COLUMN name TYPE text COLLATE w_is_v;
         INSERT INTO users (name, email) SELECT n, n FROM unnest('{wa,va,Wb,vz,wz}'::text[]) n;
         ANALYZE users",
    );
    let look = "SELECT string_agg(name, ' ') FROM (SELECT name FROM users ORDER BY name) u
                UNION ALL SELECT pg_get_indexdef('users_name'::regclass)
                UNION ALL SELECT attname || ' ' || attcollation::regcollation FROM pg_attribute
                    WHERE attrelid = 'users'::regclass AND attcollation = 'w_is_v'::regcollation";
    let trip = RoundTrip { scene: &scene, look };
    let index = "CREATE INDEX users_name ON public.users USING btree (name)";
    assert_eq!(trip.seen(), ["va wa Wb vz wz", index, "name w_is_v"]);
    trip.assert(
        "ADD COLUMN other text COLLATE w_is_v",
        &["va wa Wb vz wz", index, "name w_is_v", "other w_is_v"],
    );
    let mut app = scene.app();
    app.run("SET enable_seqscan = off");
    assert_eq!(app.int("SELECT count(*) FROM users WHERE name < 'vb'"), 2, "by the index");
}

/// A member has the rights of a role only where the grant lets them be inherited, and need not be able to become it.
#[test]
fn members_of_the_owner_deploy_as_their_grants_say() {
    let scene = STAGE.users(20);
    let mut admin = scene.admin();
    if major() < Major::V16 {
        assert_eq!(admin.refused("GRANT owner TO app WITH INHERIT FALSE").code, "42601");
        return;
    }
    admin.run(
        "CREATE ROLE heir LOGIN; GRANT owner TO heir WITH INHERIT TRUE, SET FALSE;
         CREATE ROLE actor LOGIN; GRANT owner TO actor WITH INHERIT FALSE, SET TRUE",
    );
    let prepare = "SELECT bg_prepare('users', 'ADD COLUMN phone text')";
    let mut actor = scene.person("actor");
    actor.refused(prepare).assert_is("42501", &["users"]);
    actor.run("SET ROLE owner");
    actor.run(prepare);
    actor.run("SELECT bg_abort('users'); RESET ROLE");

    let mut heir = scene.person("heir");
    heir.run(prepare);
    heir.run("CALL bg_run('users', 'swapped')");
    actor.refused("SELECT bg_revert('users')").assert_is("42501", &["users"]);
    heir.run("CALL bg_run('users', 'reverted')");
    heir.run("CALL bg_run('users', 'finished')");
    assert_eq!(
        admin.text("SELECT relowner::regrole FROM pg_class WHERE oid = 'users'::regclass"),
        "owner"
    );
    assert_eq!(heir.int("SELECT count(phone) FROM users"), 0);
}
