//! What goes wrong beside background workers: one dies, the runner dies or is cancelled, there are no
//! slots, the rows break an index. Nothing is lost and nothing comes twice, and none is left behind.

use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Options, Signal};

use crate::story::errand::run_with;
use crate::story::workers::{
    Account, FAST, HELPERS, NONE_LEFT, SLOWLY, STEADILY, assert_done, large, options, prepare,
    until_copied, until_helped,
};
use crate::story::{Stage, new_cluster, own, stage};

static STAGE: Stage = stage!(new_cluster(&options()));

#[test]
fn a_worker_that_is_terminated_gives_its_part_back() {
    let scene = large(STAGE.cluster());
    let account = Account::open(&scene);
    prepare(&scene, "ADD COLUMN phone text");
    let run = run_with(&scene, STEADILY);
    let mut admin = scene.admin();
    for copied in [10_000, 40_000] {
        until_helped(&scene, &run, 1);
        until_copied(&scene, copied);
        if let Some(victim) = admin.list(HELPERS).first() {
            admin.run(&format!("SELECT pg_terminate_backend({victim})"));
        }
    }
    run.done();
    account.check(&scene);
}

#[test]
fn a_worker_that_is_killed_takes_the_server_down_and_bg_run_goes_on_after_it() {
    let scene = large(own(new_cluster(&options())));
    let account = Account::open(&scene);
    prepare(&scene, "ADD COLUMN phone text");
    let run = run_with(&scene, SLOWLY);
    let workers = until_helped(&scene, &run, 2);
    until_copied(&scene, 30_000);
    scene.cluster.kill_backend(workers[0], Signal::SIGKILL).unwrap();
    let (_, ended) = run.result();
    assert!(ended.is_err());

    let run = run_with(&scene, FAST);
    run.done();
    account.check(&scene);
}

#[test]
fn workers_end_within_seconds_after_their_runner_was_terminated() {
    let scene = large(STAGE.cluster());
    let account = Account::open(&scene);
    prepare(&scene, "ADD COLUMN phone text");
    let run = run_with(&scene, SLOWLY);
    until_helped(&scene, &run, 2);
    until_copied(&scene, 20_000);
    scene.admin().run(&format!("SELECT pg_terminate_backend({})", run.pid));
    let (_, ended) = run.result();
    assert!(ended.is_err());

    let killed = Instant::now();
    scene.until(NONE_LEFT);
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    assert_eq!(scene.status("phase"), "copying", "too fast for the test");
    assert_eq!(scene.status("worker_pid IS NULL"), "t");
    run_with(&scene, FAST).done();
    account.check(&scene);
}

/// A statement that is cancelled leaves its session: the workers must not take that for a runner.
#[test]
fn workers_end_within_seconds_after_bg_run_was_cancelled() {
    let scene = large(STAGE.cluster());
    prepare(&scene, "ADD COLUMN phone text");
    let run = run_with(&scene, SLOWLY);
    until_helped(&scene, &run, 2);
    until_copied(&scene, 20_000);
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    let (session, ended) = run.result();
    assert_eq!(ended.expect_err("a cancelled statement").code, "57014");

    let cancelled = Instant::now();
    scene.until(NONE_LEFT);
    let took = cancelled.elapsed();
    let left =
        scene.admin().int("SELECT sum(\"end\" - next) FROM bluegreen.piece WHERE kind = 'b'");
    assert!(
        left > 0 && took < Duration::from_secs(5),
        "they went on for {took:?}, until {left} blocks were left"
    );
    // Another session may go on.
    run_with(&scene, FAST).done();
    drop(session);
    assert_done(&scene);
}

#[test]
fn bg_run_works_alone_and_says_so_once_where_no_worker_can_be_started() {
    for slots in ["0", "1"] {
        let cluster = own(new_cluster(&Options::default().set("max_worker_processes", slots)));
        let scene = large(cluster);
        scene.admin().run("CREATE INDEX ON users (name); CREATE INDEX ON users (created_at)");
        prepare(&scene, "ADD COLUMN phone text");
        let mut session = run_with(&scene, FAST).done();

        let said: Vec<_> = session.notices().into_iter().map(|n| n.message).collect();
        let alone: Vec<_> =
            said.iter().filter(|line| line.contains("background workers")).collect();
        assert!(
            matches!(alone.as_slice(), [line] if line.contains("0 of 2") && line.contains("max_worker_processes")),
            "{slots} slots: {said:#?}"
        );
        assert_done(&scene);
        let built = "SELECT count(*) FROM bg_history() WHERE detail = 'by a background worker'";
        assert_eq!(scene.admin().int(built), 0);
    }
}

#[test]
fn bg_abort_ends_a_copy_with_workers_and_leaves_nothing() {
    let scene = large(STAGE.cluster());
    let empty = scene.inventory();
    prepare(&scene, "ADD COLUMN phone text");
    let run = run_with(&scene, SLOWLY);
    until_helped(&scene, &run, 2);
    until_copied(&scene, 20_000);

    let asked = Instant::now();
    assert_eq!(scene.owner().text("SELECT bg_abort('users')"), "aborted");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    run.refused().assert_is("55000", &["aborted"]);
    scene.until(NONE_LEFT);
    empty.assert_same(&scene.inventory());
    assert_eq!(scene.admin().int("SELECT count(*) FROM bluegreen.piece"), 0);
}

/// Of two indexes the first is slow, so that a worker gets the second, which the rows break.
#[test]
fn a_unique_index_that_the_rows_break_stops_bg_run_also_when_a_worker_meets_it() {
    let scene = large(STAGE.cluster());
    let mut admin = scene.admin();
    scene.app().run("UPDATE users SET name = 'twin' WHERE id IN (5, 100000)");
    scene.table("users_new", "LIKE users INCLUDING IDENTITY INCLUDING DEFAULTS");
    admin.run(
        "CREATE FUNCTION public.slow(id bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN IF id % 200 = 0 THEN PERFORM pg_catalog.pg_sleep(0.001); END IF; RETURN id; END $$;
         ALTER TABLE users_new ADD PRIMARY KEY (id), ADD UNIQUE (email);
         CREATE INDEX a_slow ON users_new (public.slow(id));
         CREATE UNIQUE INDEX b_unique ON users_new (name)",
    );
    let pieces = "SELECT count(*) FROM bg_history() WHERE step LIKE 'index %'";
    scene.owner().run("SELECT bg_prepare('users', target => 'users_new')");
    let run = run_with(&scene, FAST);
    let runner = run.pid;
    let refusal = run.refused();

    assert_eq!(refusal.code, "23505", "{refusal:?}");
    assert!(refusal.everything().contains("(name)=(twin)"), "{refusal:?}");
    assert!(scene.status("last_error").contains("(name)=(twin)"));
    assert_eq!(scene.status("phase"), "indexing");
    assert!(admin.int(pieces) >= 1);
    let log = std::fs::read_to_string(scene.cluster.log_file()).unwrap();
    let met =
        log.lines().filter(|line| line.contains("could not create unique index \"b_unique\""));
    let by_worker = met.filter(|line| !line.contains(&format!("[{runner}]"))).count();
    assert!(by_worker >= 1, "no worker met it");
    scene.until(NONE_LEFT);

    scene.app().run("UPDATE users SET name = 'other twin' WHERE id = 5");
    run_with(&scene, FAST).done();
    assert_done(&scene);
    assert_eq!(scene.status("last_error IS NULL"), "t");
}
