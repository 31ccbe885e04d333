//! What bg_status says after the server, a background worker or a client program has died, and after a
//! bg_backfill has failed; the next step that it names leads on.

use std::process::{Child, Command, Stdio};

use bluegreen_tests::cluster::{Signal, StopMode};

use crate::story::errand::run_with;
use crate::story::throttled::SLOWLY;
use crate::story::workers::{self, HELPERS, until_copied, until_helped};
use crate::story::{Scene, Stage, new_cluster, own, stage};

static STAGE: Stage = stage!();

const CHANGES: &str = "ADD COLUMN phone text";
const COLUMNS: &str = "id, name, email, created_at";

fn prepare(scene: &Scene) {
    scene.owner().run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
}

/// Nobody works on it, and bg_status says that, why, and what to do; which leads to `ready`.
#[track_caller]
fn assert_told(scene: &Scene, pid: i32) {
    let mut owner = scene.owner();
    let row = owner.rows(
        "SELECT worker_pid, last_error, next_step, waiting_for, bg_progress() FROM bg_status()",
    );
    let [worker, error, step, waiting, line] = &row[0][..] else { panic!("{row:?}") };
    assert_eq!((worker, waiting), (&None, &None), "{row:?}");
    let told = format!("the session with pid {pid}, which was in CALL bg_run, is gone");
    assert!(error.as_ref().is_some_and(|error| error.contains(&told)), "{row:?}");
    assert!(line.as_ref().is_some_and(|line| line.contains("nobody works")), "{row:?}");
    assert_eq!(step.as_deref(), Some("CALL bg_run('public.users')"));
    owner.run(step.as_deref().unwrap());
    let after =
        "SELECT concat_ws(' | ', phase, worker_pid, last_error, next_step) FROM bg_status()";
    assert_eq!(owner.text(after), "ready | SELECT bg_swap('public.users')");
    scene.assert_in_step(COLUMNS);
}

#[test]
fn after_an_immediate_stop_nobody_works_on_it() {
    for phase in ["copying", "indexing"] {
        let scene = Scene::in_cluster(own(new_cluster(&workers::options())));
        scene.add_wide_users(3000);
        let mut gate = None;
        if phase == "indexing" {
            scene.with_gate();
            scene.admin().run("CREATE INDEX users_gate ON users (gate(id, 2500))");
        }
        prepare(&scene);
        let run = if phase == "copying" {
            run_with(&scene, SLOWLY)
        } else {
            gate = Some(scene.close_gate());
            run_with(&scene, "SET bluegreen.copy_workers = 1; SET bluegreen.vacuum = off")
        };
        if gate.is_some() {
            scene.until_at_gate();
        } else {
            scene.until("SELECT rows_copied > 100 FROM bg_status('users')");
        }
        // What a batch has written of it is on disk.
        scene.admin().run("CHECKPOINT");
        assert_eq!(scene.status("phase"), phase);
        let pid = run.pid;
        scene.cluster.stop(StopMode::Immediate).unwrap();
        scene.cluster.restart().unwrap();
        drop(gate);
        assert!(run.result().1.is_err());
        assert_eq!(scene.status("phase"), phase);
        assert_told(&scene, pid);
    }
}

#[test]
fn after_the_kill_of_a_background_worker_nobody_works_on_it() {
    let scene = workers::large(own(new_cluster(&workers::options())));
    prepare(&scene);
    let run = run_with(&scene, workers::SLOWLY);
    let pid = run.pid;
    let workers = until_helped(&scene, &run, 2);
    until_copied(&scene, 10_000);
    scene.admin().run("CHECKPOINT");
    scene.cluster.kill_backend(workers[0], Signal::SIGKILL).unwrap();
    assert!(run.result().1.is_err());
    assert_eq!(scene.admin().list(HELPERS), [""; 0]);
    assert_told(&scene, pid);
}

/// psql as a client program of its own, in CALL bg_run.
fn psql(scene: &Scene, settings: &str) -> Child {
    let mut psql: Command = scene.cluster.command("psql");
    psql.args(["-X", "-q", "-U", "owner", "-d", &scene.database, "-c", settings]);
    psql.args(["-c", "CALL bg_run('users')"]);
    psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("psql")
}

#[test]
fn after_the_kill_of_the_client_program_nobody_works_on_it() {
    let scene = STAGE.wide_users(3000);
    prepare(&scene);
    let mut client = psql(&scene, SLOWLY);
    scene.until("SELECT rows_copied > 0 AND worker_pid IS NOT NULL FROM bg_status('users')");
    let pid: i32 = scene.status("worker_pid").parse().unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    scene.until("SELECT worker_pid IS NULL FROM bg_status('users')");
    assert_ne!(scene.status("phase"), "ready", "too fast for the test");
    assert_told(&scene, pid);
}

/// Its transaction is rolled back, and with it whatever it has written.
#[test]
fn a_failed_backfill_leaves_its_error() {
    let scene = STAGE.users(20);
    scene.table("users_new", "LIKE users INCLUDING IDENTITY INCLUDING DEFAULTS");
    scene.admin().run(
        "UPDATE users SET name = 'twin' WHERE id IN (3, 5);
         ALTER TABLE users_new ADD PRIMARY KEY (id);
         CREATE UNIQUE INDEX one_name ON users_new (name)",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', target => 'users_new')");
    let refusal = owner.refused("SELECT bg_backfill('users', '1 min')");
    assert_eq!(refusal.code, "23505", "{refusal:?}");
    let told = scene.status("last_error");
    assert!(told.contains("one_name") && told.contains("(name)=(twin)"), "{told}");
    assert_eq!(scene.status("worker_pid"), "");
    let noted = "SELECT error FROM bg_history() WHERE step = 'backfill'";
    assert!(owner.text(noted).contains("one_name"));
    // A whole transaction of a framework, and a failure that is caught in it.
    owner.run("BEGIN; SAVEPOINT s");
    owner.refused("SELECT bg_backfill('users', '1 min')");
    owner.run("ROLLBACK TO s; SELECT count(*) FROM users; COMMIT");
    assert!(scene.status("last_error").contains("one_name"));

    scene.app().run("UPDATE users SET name = 'other' WHERE id = 5");
    assert_eq!(owner.text("SELECT bg_backfill('users', '1 min')"), "ready");
    assert_eq!(scene.status("last_error"), "");
    assert_eq!(scene.status("next_step"), "SELECT bg_swap('public.users')");
}

#[test]
fn a_failure_of_a_deployment_that_nobody_else_sees_yet_waits_for_nobody() {
    let scene = STAGE.users(20);
    scene.table("users_new", "LIKE users INCLUDING IDENTITY INCLUDING DEFAULTS");
    scene.admin().run(
        "UPDATE users SET name = 'twin' WHERE id IN (3, 5);
         ALTER TABLE users_new ADD PRIMARY KEY (id);
         CREATE UNIQUE INDEX one_name ON users_new (name)",
    );
    let mut owner = scene.owner();
    // Nobody else sees the deployment, and nobody may wait for its transaction.
    let begin = std::time::Instant::now();
    owner.run("BEGIN; SELECT bg_prepare('users', target => 'users_new')");
    let refusal = owner.refused("SELECT bg_backfill('users', '1 min')");
    assert_eq!(refusal.code, "23505", "{refusal:?}");
    owner.run("ROLLBACK");
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
}

#[test]
fn a_cancelled_backfill_leaves_its_error() {
    let scene = STAGE.users(20);
    scene.with_gate();
    scene.admin().run("CREATE INDEX users_gate ON users (gate(id, 10))");
    prepare(&scene);
    let gate = scene.close_gate();
    let busy = scene.send("owner", "SELECT bg_backfill('users', '1 min')");
    scene.until_at_gate();
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", busy.pid));
    assert_eq!(busy.refused().code, "57014");
    drop(gate);
    assert_eq!(scene.status("last_error"), "canceling statement due to user request");
    let step = scene.status("next_step");
    assert!(
        step.starts_with("CALL bg_run('public.users') -- after SET statement_timeout"),
        "{step}"
    );
    scene.owner().run(&step);
    assert_eq!(scene.status("phase"), "ready");
}
