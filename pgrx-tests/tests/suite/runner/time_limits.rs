//! Limits of time that a database sets for its clients end none of our work.

use crate::story::workers::{self, FAST};
use crate::story::{Stage, new_cluster, stage};

static STAGE: Stage = stage!(new_cluster(&workers::options()));

/// Each is shorter than an index build, a vacuum or the copy takes here.
const LIMITS: &[(i64, &str)] = &[
    (0, "statement_timeout"),
    (0, "lock_timeout"),
    (0, "idle_in_transaction_session_timeout"),
    (170_000, "transaction_timeout"),
];

#[test]
fn limits_of_the_database_end_neither_workers_nor_an_index_build() {
    let scene = workers::large(STAGE.cluster());
    let mut admin = scene.admin();
    let version = admin.int("SELECT current_setting('server_version_num')");
    admin.run(
        "CREATE FUNCTION slow(name text) RETURNS text IMMUTABLE LANGUAGE plpgsql SET search_path = pg_catalog
         AS $$ BEGIN IF name = 'First Last7' THEN PERFORM pg_sleep(1); END IF; RETURN name; END $$;
         CREATE INDEX users_slow ON users (slow(name))",
    );
    workers::prepare(&scene, "");
    for (since, limit) in LIMITS {
        if version >= *since {
            admin.run(&format!("ALTER DATABASE {} SET {limit} = '400 ms'", scene.database));
        }
    }
    let mut owner = scene.owner();
    assert_eq!(owner.text("SHOW lock_timeout"), "400ms");
    owner.run("SET statement_timeout = 0");
    owner.run(FAST);
    owner.run("CALL bg_run('users', 'swapped')");
    let vacuumed = owner.list("SELECT detail FROM bg_history() WHERE step = 'vacuum'");
    assert_eq!(vacuumed.len(), 1, "{vacuumed:?}");
    // Pages that a process has added and not filled are among those of the next one.
    let visible: i64 = vacuumed[0].split(' ').next().unwrap().parse().unwrap();
    assert!(visible > 1000, "{vacuumed:?}");
    assert_eq!(owner.list("SELECT error FROM bg_history() WHERE error IS NOT NULL"), [""; 0]);
    if version >= 170_000 {
        assert_eq!(owner.text("SHOW transaction_timeout"), "400ms", "it is the caller's again");
    }
}
