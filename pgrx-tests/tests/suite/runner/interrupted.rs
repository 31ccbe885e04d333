//! What breaks a deployment that runs for long and is interrupted (docs/hazards.md, 27, 33 to 36, 67 to
//! 70): each is a test named after it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use bluegreen_tests::cluster::{Options, StopMode};

use crate::story::person::Refusal;
use crate::story::{Errand, Scene, Stage, new_cluster, own, stage};

static STAGE: Stage = stage!();

const COLUMNS: &str = "id, name, email, created_at";

/// A mapping that takes a millisecond a row, and counts its rows.
fn prepare_slowly(scene: &Scene) {
    scene.admin().run(
        "CREATE SEQUENCE public.calls; GRANT USAGE ON SEQUENCE public.calls TO owner;
         CREATE FUNCTION public.slow(id bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
         BEGIN
             PERFORM pg_catalog.pg_sleep(0.001), pg_catalog.nextval('public.calls');
             RETURN true;
         END $$",
    );
    scene.owner().run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN slow boolean',
            forward => '{"slow": "public.slow(id)"}')"#,
    );
}

#[test]
fn trap_27_run_refuses_where_it_cannot_commit_and_says_what_to_do() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users')");
    scene.admin().run(
        "CREATE PROCEDURE public.wrapped() LANGUAGE plpgsql SET search_path = public
             AS $$ DECLARE p text; BEGIN CALL bg_run('users', phase => p); END $$;
         CREATE PROCEDURE public.definer() LANGUAGE plpgsql SECURITY DEFINER
             AS $$ DECLARE p text; BEGIN CALL bg_run('users', phase => p); END $$;
         CREATE FUNCTION public.called() RETURNS void LANGUAGE plpgsql
             AS $$ DECLARE p text; BEGIN CALL bg_run('users', phase => p); END $$;
         ALTER PROCEDURE public.definer() OWNER TO owner",
    );
    for sql in [
        "BEGIN; CALL bg_run('users')",
        "SELECT 1; CALL bg_run('users')",
        "CALL public.wrapped()",
        "CALL public.definer()",
        "SELECT public.called()",
        "DO $$ DECLARE p text; BEGIN CALL bg_run('users', phase => p);
             EXCEPTION WHEN division_by_zero THEN NULL; END $$",
    ] {
        let mut somebody = scene.owner();
        let refusal = somebody.refused(sql);
        assert!(["2D000", "25001"].contains(&refusal.code.as_str()), "{sql}: {refusal:?}");
        refusal.assert_helps();
        // The message is all that some frameworks show: it has the remedy in it.
        let message = refusal.message.to_lowercase();
        assert!(message.contains("bg_run"), "{sql}: {refusal:?}");
        assert!(
            message.contains("transaction") || message.contains("commit"),
            "{sql}: {refusal:?}"
        );
        assert!(
            message.contains("bg_backfill") || message.contains("outside"),
            "no remedy for {sql}: {refusal:?}"
        );
        let _ = somebody.try_run("ROLLBACK");
    }
    assert_eq!(scene.status("phase"), "prepared");
    // A block without EXCEPTION can commit.
    owner.run("DO $$ DECLARE p text; BEGIN CALL bg_run('users', phase => p); END $$");
    assert_eq!(scene.status("phase"), "ready");
}

#[test]
fn trap_33_a_caller_whose_isolation_is_serializable_by_default_is_told_so() {
    let scene = STAGE.users(100);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users')");
    for level in ["serializable", "repeatable read"] {
        let mut strict = scene.owner();
        strict.run(&format!("SET default_transaction_isolation = '{level}'"));

        match strict.try_run("CALL bg_run('users')") {
            // It set READ COMMITTED in each of its transactions itself.
            Ok(()) => scene.assert_in_step(COLUMNS),
            Err(refusal) => {
                refusal.assert_helps();
                let text = refusal.everything().to_lowercase();
                assert!(text.contains("read committed"), "{refusal:?}");
            }
        }
    }
    owner.sync();
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_34_an_unlogged_table_and_its_copy_are_emptied_by_the_same_crash() {
    let cluster = own(new_cluster(&Options::default()));
    let scene = Scene::in_cluster(cluster);
    scene.admin().run(
        "CREATE UNLOGGED TABLE users (id bigint PRIMARY KEY, name text);
         ALTER TABLE users OWNER TO owner;
         INSERT INTO users SELECT n, 'n' FROM generate_series(1, 100) n",
    );
    scene.owner().make_ready("ADD COLUMN phone text");
    assert_eq!(
        scene.admin().list(
            "SELECT relpersistence FROM pg_class WHERE oid IN ('users'::regclass,
                 'public_blue.users'::regclass)"
        ),
        ["u", "u"]
    );

    cluster.stop(StopMode::Immediate).unwrap();
    cluster.restart().unwrap();

    assert_eq!(scene.admin().int("SELECT count(*) FROM users"), 0);
    scene.admin().run("INSERT INTO users VALUES (1, 'after')");
    let mut owner = scene.owner();
    match owner.try_run("CALL bg_run('users')") {
        Ok(()) => {
            scene.assert_in_step("id, name");
            owner.swap();
            assert_eq!(owner.int("SELECT count(*) FROM users"), 1);
        }
        Err(refusal) => {
            refusal.assert_is("55000", &["users"]);
            assert_eq!(owner.text("SELECT bg_abort('users')"), "aborted");
        }
    }
}

#[test]
fn trap_35_a_subscriptions_target_is_refused_by_name() {
    let scene = STAGE.users(10);
    scene.admin().run(
        "CREATE SUBSCRIPTION from_elsewhere CONNECTION 'host=nowhere' PUBLICATION p
             WITH (connect = false);
         INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
             SELECT oid, 'users'::regclass, 'r' FROM pg_subscription
             WHERE subname = 'from_elsewhere'",
    );
    let before = scene.inventory();

    let refusal = scene.owner().refused("SELECT bg_prepare('users')");

    assert!(["55000", "0A000"].contains(&refusal.code.as_str()), "{refusal:?}");
    refusal.assert_names(&["users", "from_elsewhere"]);
    refusal.assert_helps();
    before.assert_same(&scene.inventory());
    let mut admin = scene.admin();
    admin.run(
        "DELETE FROM pg_subscription_rel; ALTER SUBSCRIPTION from_elsewhere SET (slot_name = NONE);
         DROP SUBSCRIPTION from_elsewhere",
    );
}

#[test]
fn trap_36_a_dump_restored_in_the_middle_can_be_written_and_cleaned() {
    let scene = STAGE.users(50);
    scene.owner().make_ready("ADD COLUMN phone text");
    let copy = Scene { cluster: scene.cluster, database: format!("{}_restored", scene.database) };
    scene.admin().run(&format!("CREATE DATABASE {}", copy.database));

    let mut dump = scene
        .cluster
        .command("pg_dump")
        .args(["-d", &scene.database])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let restored = scene
        .cluster
        .command("psql")
        .args(["-X", "-q", "-d", &copy.database])
        .stdin(dump.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(dump.wait().unwrap().success());
    println!("{}", String::from_utf8_lossy(&restored.stderr));

    // Writers go on, whatever became of the capture.
    let mut app = copy.app();
    app.run(
        "INSERT INTO users (email) VALUES ('in the copy');
         UPDATE users SET name = 'x' WHERE id = 1; DELETE FROM users WHERE id = 2",
    );
    assert_eq!(app.int("SELECT count(*) FROM users"), 50);
    // The deployment can be ended, and another one made.
    let mut owner = copy.owner();
    assert_eq!(owner.text("SELECT bg_abort('users')"), "aborted");
    assert!(copy.inventory().with("_blue").is_empty(), "{:?}", copy.inventory().with("_blue"));
    let ours = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'users'::regclass";
    assert!(owner.list(ours).is_empty());
    owner.make_ready("ADD COLUMN phone text");
    copy.assert_in_step(COLUMNS);
    // Nothing of this touched the first one.
    scene.owner().sync();
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_67_a_second_runner_is_told_who_the_first_one_is() {
    let scene = STAGE.users(1000);
    scene.with_gate();
    scene.owner().run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN passed boolean',
            forward => '{"passed": "public.gate(id, 500)"}')"#,
    );
    let gate = scene.close_gate();
    let first = scene.send("owner", "CALL bg_run('users')");
    scene.until_at_gate();

    let seconds =
        ["CALL bg_run('users')", "SELECT bg_backfill('users')", "SELECT bg_swap('users')"]
            .map(|sql| scene.send("owner", sql));
    for second in seconds {
        let refusal = second.refused();
        assert!(["55P03", "55006"].contains(&refusal.code.as_str()), "{refusal:?}");
        refusal.assert_helps();
        assert!(refusal.everything().contains(&first.pid.to_string()), "{refusal:?}");
    }
    drop(gate);
    let mut first = first.done();
    // Nothing that a pooler's next client would inherit.
    assert_eq!(
        first.int(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
        ),
        0
    );
    scene.owner().sync();
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_67_a_run_that_fails_while_another_call_goes_on_gives_the_deployment_back() {
    let scene = STAGE.users(1000);
    scene.with_gate();
    scene.owner().run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN passed boolean',
            forward => '{"passed": "public.gate(id, 500)"}')"#,
    );
    let gate = scene.close_gate();
    let run = scene.send("owner", "CALL bg_run('users')");
    scene.until_at_gate();
    // Nobody writes the state for a while; the next one waits for the run's batch.
    let mut admin = scene.admin();
    admin.run("BEGIN; SELECT FROM bluegreen.deployment FOR UPDATE");
    let next = scene.send("owner", "SELECT bg_backfill('users', '1 ms')");
    scene.until("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'object' AND NOT granted)");

    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    // It has read that the run drives the deployment, and stands in the middle of its batch.
    let at_gate = format!(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = {})",
        next.pid
    );
    scene.until(&at_gate);
    std::thread::sleep(Duration::from_millis(300));
    drop(gate);
    let waits = format!(
        "SELECT wait_event_type = 'Lock' AND NOT ({}) FROM pg_stat_activity WHERE pid = {}",
        at_gate, next.pid
    );
    scene.until(&waits);
    admin.run("COMMIT");
    assert_eq!(run.refused().code, "57014");
    next.done();
    assert_eq!(scene.status("worker_pid IS NULL"), "t");
    let errors = "SELECT count(*) FROM bg_history() WHERE step = 'run' AND error LIKE 'canceling%'";
    assert_eq!(scene.owner().int(errors), 1);
    scene.owner().run("CALL bg_run('users')");
    scene.owner().sync();
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_67_a_runner_notices_that_the_deployment_was_aborted_between_its_batches() {
    let scene = STAGE.wide_users(3000);
    prepare_slowly(&scene);
    let mut runner = scene.owner();
    runner.run("SET bluegreen.batch_time = '50ms'");
    let run = Errand::start(runner, "CALL bg_run('users')");
    scene.until("SELECT rows_copied > 100 FROM bg_status('users')");

    // The lock is free only between batches: abort has to try more than once, or wait.
    let mut owner = scene.owner();
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(refusal) = owner.try_run("SELECT bg_abort('users')") {
        assert!(["55P03", "55006"].contains(&refusal.code.as_str()), "{refusal:?}");
        if Instant::now() > deadline {
            // Then it names the runner, who can be ended.
            assert!(refusal.everything().contains(&run.pid.to_string()), "{refusal:?}");
            scene.admin().run(&format!("SELECT pg_terminate_backend({})", run.pid));
            owner.run("SELECT bg_abort('users')");
            break;
        }
    }
    let (_, result) = run.result();

    match result {
        Ok(rows) => assert_eq!(rows[0][0].as_deref(), Some("aborted"), "it noticed nothing"),
        Err(refusal) => {
            let told = refusal.everything();
            assert!(told.contains("abort") || refusal.code == "57P01", "{refusal:?}");
        }
    }
    assert!(scene.inventory().with("_blue").is_empty());
}

#[test]
fn trap_67_a_run_whose_client_was_killed_ends_soon() {
    let scene = STAGE.wide_users(3000);
    prepare_slowly(&scene);
    let mut client = scene
        .cluster
        .command("psql")
        .args(["-X", "-U", "owner", "-d", &scene.database])
        .args(["-c", "SET bluegreen.batch_time = '50ms'", "-c", "CALL bg_run('users')"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    scene.until("SELECT rows_copied > 100 FROM bg_status('users')");

    client.kill().unwrap();
    client.wait().unwrap();

    let copied = scene.status("rows_copied");
    let start = Instant::now();
    scene.until(
        "SELECT count(*) = 0 FROM pg_stat_activity
         WHERE query ILIKE 'CALL bg_run%' AND datname = current_database()",
    );
    println!(
        "{copied} rows were copied when the client was killed, {} after {:?}, when its session ended",
        scene.status("rows_copied"),
        start.elapsed()
    );
    // The copy alone would have taken three seconds or more.
    assert_eq!(scene.status("phase"), "copying", "it ran on to the end");
}

#[test]
fn trap_68_a_statement_timeout_keeps_what_was_committed_and_says_how_to_go_on() {
    let scene = STAGE.wide_users(3000);
    prepare_slowly(&scene);
    let mut owner = scene.owner();
    owner.run("SET bluegreen.batch_time = '50ms'; SET statement_timeout = '2s'");

    let refusal = owner.refused("CALL bg_run('users')");

    assert_eq!(refusal.code, "57014", "{refusal:?}");
    let copied: i64 = scene.status("rows_copied").parse().unwrap();
    assert!(copied > 200, "{copied} rows of 3000 in a second at a millisecond a row");
    let notices: String = owner.notices().iter().map(Refusal::everything).collect();
    let told = format!("{} {notices}", refusal.everything());
    assert!(told.contains("bg_run"), "says nowhere how to resume: {told}");

    owner.run("SET statement_timeout = 0");
    owner.sync();
    let calls = scene.admin().int("SELECT last_value FROM public.calls");
    assert!(calls < 3000 + copied / 2, "it copied everything again: {copied}, {calls}");
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_69_what_stopped_a_run_is_recorded() {
    let scene = STAGE.users(100);
    scene.app().run("UPDATE users SET name = 'twice' WHERE id IN (7, 8)");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD CONSTRAINT one_name UNIQUE (name)')");

    let refusal = owner.refused("CALL bg_run('users')");

    assert_eq!(refusal.code, "23505", "{refusal:?}");
    let last_error = scene.status("last_error");
    assert!(last_error.contains("one_name") && last_error.contains("twice"), "{last_error}");
    let history = "SELECT count(*) FROM bluegreen.history WHERE error LIKE '%one_name%'";
    assert_eq!(scene.admin().int(history), 1);
    // Mended, it goes on, and the error is history.
    scene.app().run("UPDATE users SET name = 'once' WHERE id = 8");
    owner.sync();
    assert_eq!(scene.status("phase"), "ready");
    assert_eq!(scene.status("coalesce(last_error, '')"), "");
    scene.assert_in_step(COLUMNS);
}

#[test]
fn trap_70_a_deployment_whose_table_was_dropped_or_renamed_can_be_aborted_by_its_number() {
    let scene = STAGE.empty();
    let before = scene.inventory();
    scene.add_users(100);
    scene.owner().make_ready("ADD COLUMN phone text");
    let id = scene.status("id");
    // Anybody's DROP in the middle; where our trigger or a view needs CASCADE, so be it.
    scene.owner().run("DROP TABLE users CASCADE");

    let mut owner = scene.owner();
    assert_eq!(owner.text(&format!("SELECT bg_abort({id})")), "aborted");
    before.assert_same(&scene.inventory());

    scene.add_users(100);
    let plain = scene.inventory();
    owner.make_ready("ADD COLUMN phone text");
    let id = scene.status("id");
    scene.admin().run("ALTER TABLE users RENAME TO people");
    scene.app().run("UPDATE people SET name = 'x' WHERE id = 1");
    let refusal = owner.refused("SELECT bg_swap('people')");
    refusal.assert_helps();
    assert_eq!(owner.text(&format!("SELECT bg_abort({id})")), "aborted");
    scene.admin().run("ALTER TABLE people RENAME TO users");
    plain.assert_same(&scene.inventory());
}
