//! Limits of time that a database or a role sets for its sessions end none of our work.

use bluegreen_tests::cluster::SUPERUSER;

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

/// Goes through a deployment under limits that `ALTER whose SET …` sets, for whoever connects after it was prepared.
fn deploy_under_limits(whose: impl Fn(&str) -> Vec<String>) {
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
        for whose in whose(&scene.database).iter().filter(|_| version >= *since) {
            admin.run(&format!("ALTER {whose} SET {limit} = '400 ms'"));
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
    // The first session of the superuser has no limits.
    let rows = admin.int("SELECT count(*) FROM users");
    for until in ["reverted", "swapped", "finished"] {
        owner.run(&format!("CALL bg_run('users', '{until}')"));
        assert_eq!(admin.int("SELECT count(*) FROM users"), rows, "{until}");
    }
    assert_eq!(owner.list("SELECT error FROM bg_history() WHERE error IS NOT NULL"), [""; 0]);
    assert_eq!(owner.text("SHOW lock_timeout"), "400ms", "it is the caller's again");
    if version >= 170_000 {
        assert_eq!(owner.text("SHOW transaction_timeout"), "400ms", "it is the caller's again");
    }
}

#[test]
fn limits_of_the_database_end_neither_workers_nor_an_index_build() {
    deploy_under_limits(|database| vec![format!("DATABASE {database}")]);
}

/// The run is a session of the owner's, its workers are sessions of the superuser's.
#[test]
fn limits_of_roles_end_neither_workers_nor_an_index_build() {
    deploy_under_limits(|database| {
        ["owner", SUPERUSER].map(|role| format!("ROLE {role} IN DATABASE {database}")).to_vec()
    });
}
