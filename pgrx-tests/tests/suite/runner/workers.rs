//! Background workers that copy and build indexes beside CALL bg_run: nothing is lost and nothing
//! comes twice, and they never run an owner's code as anybody but him. What goes wrong beside them is
//! in `workers_faults.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::story::errand::run_with;
use crate::story::workers::{
    Account, COLUMNS, FAST, HELPERS, NONE_LEFT, SLOWLY, STEADILY, add_large, assert_done, large,
    options, prepare, until_copied, until_helped,
};
use crate::story::{Errand, Stage, new_cluster, stage};

static STAGE: Stage = stage!(new_cluster(&options()));

#[test]
fn workers_copy_and_build_indexes_beside_writers() {
    let scene = large(STAGE.cluster());
    let mut admin = scene.admin();
    // Slow enough that several are under way at the same time.
    admin.run(
        "CREATE FUNCTION public.slow(id bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN IF id % 400 = 0 THEN PERFORM pg_catalog.pg_sleep(0.001); END IF; RETURN id; END $$;
         CREATE INDEX a ON users (public.slow(id)); CREATE INDEX b ON users (public.slow(id), name);
         CREATE INDEX c ON users (name, public.slow(id))",
    );
    let account = Account::open(&scene);
    prepare(&scene, "ADD COLUMN pid int DEFAULT pg_backend_pid()");
    // Rests would let the writers win.
    let settings = SLOWLY.replace("nice = 25", "nice = 5");
    let run = run_with(&scene, &settings);

    let (mut copying, mut indexing) = (BTreeSet::new(), BTreeSet::new());
    while !run.is_done() {
        let phase = scene.status("phase");
        let pids = admin.list(HELPERS);
        if phase == "copying" {
            copying.extend(pids);
        } else if phase == "indexing" && scene.status("phase") == "indexing" {
            indexing.extend(pids);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    let runner = run.pid;
    run.done();

    assert_eq!(copying.len(), 2, "{copying:?}");
    assert!(!indexing.is_empty(), "no worker built indexes");
    let wrote = admin.list("SELECT DISTINCT pid FROM public_blue.users WHERE pid IS NOT NULL");
    assert!(
        copying.iter().chain([&runner.to_string()]).all(|pid| wrote.contains(pid)),
        "{copying:?} and {runner} did not all copy: {wrote:?}"
    );
    let built = "SELECT count(*) FROM bg_history() WHERE step LIKE 'index %' AND detail";
    assert!(admin.int(&format!("{built} = 'by a background worker'")) >= 2);
    assert_eq!(admin.int("SELECT count(*) FROM bg_history() WHERE step LIKE 'index %'"), 5);
    assert_eq!(
        admin.int("SELECT count(*) FROM pg_index WHERE indrelid = 'public_blue.users'::regclass AND indisvalid"),
        5
    );
    account.check(&scene);
}

#[test]
fn a_rewrite_of_the_live_table_begins_the_copy_again() {
    let scene = large(STAGE.cluster());
    // Room at the front: the rewrite moves rows over blocks that were copied already.
    scene.app().run("DELETE FROM users WHERE id % 4 = 0");
    let account = Account::open(&scene);
    prepare(&scene, "ADD COLUMN phone text");
    let run = run_with(&scene, STEADILY);
    until_helped(&scene, &run, 2);
    until_copied(&scene, 20_000);
    scene.owner().run("VACUUM FULL users");
    run.done();

    let again = "SELECT count(*) FROM bg_history() WHERE step = 'copy again'";
    assert_eq!(scene.admin().int(again), 1);
    account.check(&scene);
}

#[test]
fn two_tables_are_deployed_at_the_same_time_with_workers_each() {
    let scene = large(STAGE.cluster());
    add_large(&scene, "orders");
    prepare(&scene, "ADD COLUMN pid int DEFAULT pg_backend_pid()");
    scene.owner().run(
        "SELECT bg_prepare('orders', 'SET (fillfactor = 90), ADD COLUMN pid int DEFAULT pg_backend_pid()')",
    );
    let one = run_with(&scene, SLOWLY);
    let mut owner = scene.owner();
    owner.run(SLOWLY);
    let other = Errand::start(owner, "CALL bg_run('orders')");
    until_helped(&scene, &one, 4);
    // Keys that go into the log meanwhile.
    scene.app().run(
        "UPDATE users SET name = 'changed' WHERE id % 100 = 0; DELETE FROM orders WHERE id % 100 = 0",
    );
    one.done();
    other.done();

    scene.owner().run("CALL bg_run('orders')");
    let mut admin = scene.admin();
    for table in ["users", "orders"] {
        scene.assert_same(
            &format!("SELECT {COLUMNS} FROM {table}"),
            &format!("SELECT {COLUMNS} FROM public_blue.{table}"),
        );
        let pids = admin.int(&format!("SELECT count(DISTINCT pid) FROM public_blue.{table}"));
        assert!(pids >= 3, "{table}: {pids}");
    }
    scene.until(NONE_LEFT);
}

#[test]
fn an_owners_code_runs_as_the_owner_in_every_process() {
    let scene = large(STAGE.cluster());
    let mut admin = scene.admin();
    // Fails where it is a superuser who evaluates it, and where it could become one.
    admin.run(
        "CREATE FUNCTION public.who(id bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
                 RAISE 'evaluated by the superuser %', current_user;
             END IF;
             RETURN id;
         END $$;
         CREATE FUNCTION public.become() RETURNS text LANGUAGE plpgsql AS $$
         DECLARE way text;
         BEGIN
             FOREACH way IN ARRAY ARRAY['SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION postgres',
                 'RESET SESSION AUTHORIZATION', 'SELECT set_config(''role'', ''none'', true)'] LOOP
                 BEGIN
                     EXECUTE way;
                     IF current_user <> 'owner' THEN RETURN way; END IF;
                 EXCEPTION WHEN OTHERS THEN NULL;
                 END;
             END LOOP;
             RETURN current_user;
         END $$;
         CREATE INDEX ON users (public.who(id)); CREATE INDEX ON users (name) WHERE public.who(id) > 0;
         CREATE INDEX ON users (email, public.who(id))",
    );
    scene.owner().run(
        r#"SELECT bg_prepare('users', 'SET (fillfactor = 90), ADD COLUMN pid int DEFAULT pg_backend_pid(),
             ADD COLUMN name_of name DEFAULT current_user, ADD COLUMN mapped bigint,
             ADD COLUMN became text, ADD CHECK (public.who(id) > 0),
             ADD COLUMN made bigint GENERATED ALWAYS AS (public.who(id)) STORED',
             forward => '{"mapped": "public.who(id)", "became": "CASE WHEN id % 1000 = 0 THEN public.become() END"}')"#,
    );
    run_with(&scene, FAST).done();

    assert_done(&scene);
    assert!(admin.int("SELECT count(DISTINCT pid) FROM public_blue.users") >= 3);
    assert_eq!(admin.list("SELECT DISTINCT name_of FROM public_blue.users"), ["owner"]);
    assert_eq!(
        admin.list("SELECT DISTINCT became FROM public_blue.users WHERE id % 1000 = 0"),
        ["owner"]
    );
    let built = "SELECT count(*) FROM bg_history() WHERE detail = 'by a background worker'";
    assert!(admin.int(built) >= 1);
}

/// A deferred trigger fires at the commit, outside of the batch: in a worker, which is the
/// superuser's. It can come in when a batch has looked at blue already and waits for its lock.
#[test]
fn a_deferred_trigger_that_ambushes_a_worker_does_not_fire_as_its_superuser() {
    let scene = large(STAGE.cluster());
    let mut admin = scene.admin();
    admin.run("CREATE SCHEMA lair AUTHORIZATION owner");
    scene.owner().run(
        "CREATE TABLE lair.seen (who name, pid int);
         CREATE FUNCTION lair.up() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO lair.seen SELECT current_user, pg_backend_pid()
                 WHERE NOT EXISTS (SELECT FROM lair.seen WHERE who = current_user);
             RETURN NULL;
         END $$",
    );
    prepare(&scene, "ADD COLUMN phone text");
    let run = run_with(&scene, SLOWLY);
    until_helped(&scene, &run, 2);
    until_copied(&scene, 20_000);
    let mut ambush = scene.owner();
    ambush.run(
        "BEGIN; CREATE CONSTRAINT TRIGGER t AFTER INSERT ON public_blue.users
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lair.up()",
    );
    // The runner and both workers.
    scene.until_queued(3);
    ambush.run("COMMIT");
    let refusal = run.refused();
    scene.until(NONE_LEFT);

    let who = admin.list("SELECT DISTINCT who FROM lair.seen");
    assert!(who.iter().all(|who| who == "owner"), "it fired as {who:?}");
    // The server itself refuses it. The runner gives up then, and ends those that have not come to it.
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    let log = std::fs::read_to_string(scene.cluster.log_file()).unwrap();
    let refused = log.matches("cannot fire deferred trigger within security-restricted operation");
    assert!(refused.count() >= 1, "{refusal:?}");
}

#[test]
fn trap_81_workers_help_an_owner_who_cannot_log_in() {
    let scene = large(STAGE.cluster());
    let mut admin = scene.admin();
    admin.run(
        "DROP ROLE IF EXISTS asleep; CREATE ROLE asleep NOLOGIN; ALTER TABLE users OWNER TO asleep",
    );
    admin.run("SELECT bg_prepare('users', 'ADD COLUMN pid int DEFAULT pg_backend_pid()')");
    admin.run(SLOWLY);
    let run = Errand::start(admin, "CALL bg_run('users')");
    let helpers = until_helped(&scene, &run, 2);
    run.done();
    let wrote = scene.admin().list("SELECT DISTINCT pid FROM public_blue.users");
    assert!(helpers.iter().all(|pid| wrote.contains(&pid.to_string())), "{helpers:?} {wrote:?}");
    assert_done(&scene);
}
