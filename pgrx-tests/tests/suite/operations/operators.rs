//! What operators ask: a failover, a full disk, the removal of the extension, in the middle of it.

use std::fs;
use std::os::unix::fs::symlink;

use bluegreen_tests::cluster::{Cluster, Options, StopMode};

use crate::story::errand::run_with;
use crate::story::{Scene, Stage, new_cluster, own, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

/// A copy of some seconds.
const SLOWLY: &str = "SET bluegreen.copy_workers = 1; SET bluegreen.batch_time = '2ms';
    SET bluegreen.nice = 10; SET bluegreen.vacuum = off";

fn prepared(cluster: &'static Cluster, rows: u32) -> Scene {
    let scene = Scene::in_cluster(cluster);
    scene.add_wide_users(rows);
    scene.owner().run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    scene
}

#[test]
fn a_standby_that_is_promoted_in_the_middle_of_a_copy_goes_on_with_it() {
    let options = Options::default().set("shared_buffers", "64MB");
    let primary = own(new_cluster(&options));
    let scene = prepared(primary, 3000);
    let standby = own(primary.standby("next", &options).expect("a standby"));
    let run = run_with(&scene, SLOWLY);
    scene.until("SELECT rows_copied > 500 FROM bg_status('users')");
    scene.app().run(
        "UPDATE users SET name = 'before' WHERE id % 100 = 1; DELETE FROM users WHERE id % 100 = 2",
    );
    scene.until(
        "SELECT bool_and(replay_lsn >= pg_current_wal_flush_lsn()) FROM pg_stat_replication",
    );
    primary.stop(StopMode::Immediate).unwrap();
    assert!(run.result().1.is_err());

    standby.psql("SELECT pg_promote()").unwrap();
    let scene = Scene { cluster: standby, database: scene.database.clone() };
    assert_eq!(scene.status("phase"), "copying");
    assert_eq!(scene.status("worker_pid"), "");
    let copied: i64 = scene.status("rows_copied").parse().unwrap();
    assert!((1..3000).contains(&copied), "{copied}");
    scene.app().run("UPDATE users SET name = 'after' WHERE id % 100 IN (1, 3)");
    let mut owner = scene.owner();
    owner.run("CALL bg_run('users', 'swapped')");
    scene.app().run("UPDATE users SET phone = '1' WHERE id = 1");
    scene.assert_in_step(COLUMNS);
    owner.revert();
    owner.sync();
    scene.assert_in_step(COLUMNS);
    assert_eq!(owner.int("SELECT count(*) FROM users WHERE name = 'after'"), 60);
    assert_eq!(owner.int("SELECT count(*) FROM users"), 2970);
    owner.run("SELECT bg_abort('users')");
    assert!(scene.inventory().with("_blue").is_empty());
}

/// The new table's file stands on a disk that is full: /dev/full takes no byte.
#[test]
fn a_disk_that_is_full_stops_the_copy_and_nothing_else() {
    let scene = prepared(STAGE.cluster(), 1000);
    let file = scene.admin().text("SELECT pg_relation_filepath('public_blue.users')");
    let file = scene.cluster.data().join(file);
    let aside = file.with_extension("aside");
    fs::rename(&file, &aside).unwrap();
    symlink("/dev/full", &file).unwrap();
    let mut owner = scene.owner();
    owner.run("SET bluegreen.vacuum = off");
    let refusal = owner.refused("CALL bg_run('users')");
    fs::rename(&aside, &file).unwrap();
    assert_eq!(refusal.code, "53100", "{refusal:?}");
    assert!(refusal.message.contains("could not extend file"), "{refusal:?}");
    assert!(!refusal.hint.is_empty(), "{refusal:?}");
    assert_eq!(scene.status("phase"), "copying");
    assert!(scene.status("last_error").contains("could not extend file"));
    assert_eq!(scene.status("worker_pid"), "");
    // The application notices nothing.
    scene.app().run(
        "UPDATE users SET name = 'x' WHERE id = 1000; INSERT INTO users (email) VALUES ('new')",
    );

    scene.owner().run("CALL bg_run('users', 'swapped')");
    assert_eq!(scene.status("last_error"), "");
    scene.assert_in_step(COLUMNS);
    assert_eq!(scene.owner().int("SELECT count(*) FROM users"), 1001);
}

#[test]
fn the_extension_cannot_be_dropped_while_a_deployment_is_open() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    scene.owner().make_ready("ADD COLUMN phone text");
    let refusal = admin.refused("DROP EXTENSION pg_bluegreen");
    assert_eq!(refusal.code, "2BP01", "{refusal:?}");
    assert!(refusal.detail.contains("on table users"), "{refusal:?}");
    scene.owner().swap();
    let refusal = admin.refused("DROP EXTENSION pg_bluegreen");
    assert!(refusal.detail.contains("on table users"), "{refusal:?}");
    scene.owner().run("SELECT bg_finish('users')");
    admin.run("DROP EXTENSION pg_bluegreen");
    assert_eq!(admin.int("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%blue%'"), 0);
    admin.run("CREATE EXTENSION pg_bluegreen");
}

#[test]
fn what_a_dropped_extension_leaves_is_named_by_the_next_deployment() {
    let scene = STAGE.users(10);
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    owner.make_ready("ADD COLUMN phone text");
    admin.run("DROP EXTENSION pg_bluegreen CASCADE; CREATE EXTENSION pg_bluegreen");
    // The application goes on as if there had been nothing.
    scene.app().run("UPDATE users SET email = 'new' WHERE id = 1");
    let found = "SELECT message FROM bg_check('users') WHERE severity = 'error'";
    assert!(owner.text(found).contains("public_blue"), "{}", owner.text(found));
    let refusal = owner.refused("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    assert_eq!(refusal.code, "42P07", "{refusal:?}");
    assert!(refusal.hint.contains("DROP TABLE public_blue.users"), "{refusal:?}");
    // It can be the target of the next one, where it is.
    admin.run("TRUNCATE public_blue.users; GRANT USAGE ON SCHEMA public_blue TO owner");
    owner.run("SELECT bg_prepare('users', target => 'public_blue.users')");
    owner.run("SELECT bg_abort('users')");
    admin.run("DROP TABLE public_blue.users");
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    assert_eq!(owner.text("SELECT email FROM users WHERE id = 1"), "new");
}
