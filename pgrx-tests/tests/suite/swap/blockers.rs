//! Who stands in the way of a swap, and what becomes of them (docs/hazards.md, 29, 38, 43, 44, 47, 66).
//! Each is a test named after it.

use std::time::Duration;

use bluegreen_tests::cluster::Options;

use crate::story::{Person, Scene, Stage, longest_wait_of_a_reader, new_cluster, own, stage};

static STAGE: Stage = stage!();

/// `lock_timeout` is 200 ms; a reader may wait that long, and a loaded machine adds to it.
const SHORT: Duration = Duration::from_secs(1);

fn ready(scene: &Scene) -> Person {
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    owner
}

#[test]
fn trap_29_whoever_holds_blue_stops_neither_green_nor_is_waited_for_without_end() {
    let scene = STAGE.users(100);
    let mut owner = ready(&scene);
    let mut holder = scene.admin();
    // What a vacuum against wraparound would hold.
    holder.run("BEGIN; LOCK TABLE public_blue.users IN SHARE UPDATE EXCLUSIVE MODE");
    let holder_pid = holder.pid().to_string();

    let mut refusal = None;
    let longest = longest_wait_of_a_reader(&scene, "users", || {
        refusal = Some(owner.refused("SELECT bg_swap('users', retry_for => '2 s')"));
    });
    let refusal = refusal.unwrap();
    refusal.assert_is("55P03", &["users"]);
    assert!(refusal.everything().contains(&holder_pid), "{refusal:?}");
    assert!(longest < SHORT, "a reader of green waited {longest:?}");
    let refusal = owner.refused("SET bluegreen.retry_for = '1 s'; SELECT bg_abort('users')");
    refusal.assert_is("55P03", &["users"]);
    assert_eq!(scene.status("phase"), "ready");

    holder.run("COMMIT");
    owner.swap();
}

#[test]
fn trap_29_autovacuum_leaves_blue_alone_until_the_swap_and_then_does_what_it_did() {
    let scene = STAGE.users(100);
    let options =
        "SELECT coalesce(array_to_string(reloptions, ' '), '') FROM pg_class WHERE oid = ";
    let mut admin = scene.admin();
    admin.run("ALTER TABLE users SET (fillfactor = 70, autovacuum_vacuum_threshold = 77)");
    let first = admin.text(&format!("{options} 'users'::regclass"));
    let mut owner = ready(&scene);

    let blue = admin.text(&format!("{options} 'public_blue.users'::regclass"));
    assert!(blue.contains("autovacuum_enabled=false"), "{blue}");
    assert!(blue.contains("fillfactor=70"), "{blue}");
    owner.swap();
    assert_eq!(admin.text(&format!("{options} 'users'::regclass")), first);
    owner.revert();
    assert_eq!(admin.text(&format!("{options} 'users'::regclass")), first);
}

#[test]
fn trap_47_a_client_that_reads_blue_first_and_green_second_is_never_the_victim() {
    let scene = STAGE.users(100);
    let _owner = ready(&scene);
    let mut app = scene.app();
    app.run("BEGIN; SELECT count(*) FROM public_blue.users");

    let swap = scene.send("owner", "SELECT bg_swap('users', retry_for => '20 s')");
    scene.until_queued(1);
    for _ in 0..20 {
        // In whichever state the swap's try is.
        app.run("SELECT count(*) FROM users");
        std::thread::sleep(Duration::from_millis(15));
        app.run("COMMIT; BEGIN; SELECT count(*) FROM public_blue.users");
        if swap.is_done() {
            break;
        }
    }
    app.run("COMMIT");
    swap.done();

    assert_eq!(scene.status("phase"), "swapped");
}

#[test]
fn trap_43_an_autovacuum_in_the_way_is_cancelled_within_the_tries() {
    let cluster = own(new_cluster(&Options::default().set("autovacuum_naptime", "1s")));
    let scene = Scene::in_cluster(cluster);
    scene.add_users(5000);
    // A page in a tenth of a second: it would take ten seconds and more.
    scene.admin().run(
        "ALTER TABLE users SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
             autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)",
    );
    let at_work = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE a.backend_type = 'autovacuum worker' AND l.relation = 'public.users'::regclass
            AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted)";
    let mut owner = scene.owner();

    scene.app().run("UPDATE users SET name = 'dead'");
    scene.until(at_work);
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.sync();
    scene.app().run("UPDATE users SET name = 'dead again'");
    owner.sync();
    scene.until(at_work);
    owner.run("SELECT bg_swap('users', retry_for => '5 s')");

    assert_eq!(scene.status("phase"), "swapped");
}

#[test]
fn trap_66_events_that_the_callers_transaction_has_deferred_are_told_with_a_remedy() {
    let scene = STAGE.empty();
    scene.table("users", "id bigint PRIMARY KEY, n int UNIQUE DEFERRABLE INITIALLY DEFERRED");
    scene.app().run("INSERT INTO users VALUES (1, 1), (2, 2)");
    let mut owner = ready(&scene);

    // A possible conflict is looked at again at the end of the transaction.
    owner.run("BEGIN; UPDATE users SET n = 3 - n");
    let refusal = owner.refused("SELECT bg_swap('users')");
    assert_eq!(refusal.code, "55006", "{refusal:?}");
    refusal.assert_names(&["users"]);
    refusal.assert_helps();
    owner.run("ROLLBACK");
    owner.run("BEGIN; UPDATE users SET n = 3 - n; SET CONSTRAINTS ALL IMMEDIATE");
    // It wrote the table itself: that is in the log, and not committed.
    if owner.try_run("SELECT bg_swap('users')").is_ok() {
        owner.run("COMMIT");
        assert_eq!(owner.text("SELECT string_agg(n::text, ' ' ORDER BY id) FROM users"), "2 1");
        owner.run("SELECT phone FROM users");
    }
}

#[test]
fn trap_66_a_prepared_transaction_is_named() {
    let scene = STAGE.users(10);
    let mut owner = ready(&scene);
    let mut app = scene.app();
    app.run("BEGIN; UPDATE users SET name = 'prepared' WHERE id = 1");
    let gid = format!("waiting in {}", scene.database);
    app.run(&format!("PREPARE TRANSACTION '{gid}'"));

    let blockers = owner.list("SELECT b::text FROM bg_blockers('users') b");
    assert_eq!(blockers.len(), 1, "{blockers:?}");
    assert!(blockers[0].contains(&gid), "{blockers:?}");
    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '500 ms')");
    refusal.assert_is("55P03", &["users"]);
    assert!(refusal.everything().contains(&gid), "{refusal:?}");

    app.run(&format!("COMMIT PREPARED '{gid}'"));
    owner.swap();
    assert_eq!(owner.text("SELECT name FROM users WHERE id = 1"), "prepared");
}

/// The lock of a deployment, not of its tables.
#[test]
fn trap_66_a_call_in_a_prepared_transaction_is_named() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    let gid = format!("copied in {}", scene.database);
    owner.run(&format!("BEGIN; SELECT bg_backfill('users'); PREPARE TRANSACTION '{gid}'"));

    for call in ["SELECT bg_backfill('users')", "CALL bg_run('users')"] {
        let mut person = scene.owner();
        person.run("SET statement_timeout = '40 s'");
        let refusal = person.refused(call);
        refusal.assert_is("55P03", &["the deployment of public.users", &gid]);
        assert!(refusal.hint.contains("ROLLBACK PREPARED"), "{refusal:?}");
    }

    owner.run(&format!("COMMIT PREPARED '{gid}'"));
    owner.sync();
    scene.assert_in_step("id, name, email, created_at");
}

#[test]
fn trap_66_somebody_idle_in_a_transaction_is_named_and_left_alone() {
    let scene = STAGE.users(10);
    let mut owner = ready(&scene);
    let mut idle = scene.app();
    idle.run("SET application_name = 'forgotten window'");
    idle.run("BEGIN; UPDATE users SET name = 'idle' WHERE id = 1");
    let pid = idle.pid().to_string();

    let blockers = owner.list("SELECT b::text FROM bg_blockers('users') b");
    assert_eq!(blockers.len(), 1, "{blockers:?}");
    for word in [pid.as_str(), "app", "forgotten window"] {
        assert!(blockers[0].contains(word), "no {word} in {blockers:?}");
    }
    let refusal = owner.refused("SELECT bg_swap('users', retry_for => '500 ms')");
    refusal.assert_is("55P03", &["users"]);
    assert!(refusal.everything().contains(&pid), "{refusal:?}");

    idle.run("COMMIT");
    owner.swap();
    assert_eq!(owner.text("SELECT name FROM users WHERE id = 1"), "idle");
}

#[test]
fn trap_44_somebody_who_holds_the_log_does_not_make_the_swap_hold_the_live_table() {
    let scene = STAGE.users(60_000);
    let mut owner = ready(&scene);
    // A log of more than a few pages.
    for _ in 0..2 {
        scene.app().run("UPDATE users SET name = 'x'");
        owner.sync();
    }
    let mut watcher = scene.admin();
    watcher.run("BEGIN");
    for log in watcher.list(
        "SELECT oid::regclass FROM pg_class WHERE relnamespace = 'bluegreen'::regnamespace
             AND relkind = 'r' AND relname ~ '^(forward|reverse)_'",
    ) {
        watcher.run(&format!("LOCK TABLE {log} IN ACCESS SHARE MODE"));
    }

    for (call, until) in [
        ("SELECT bg_swap('users', retry_for => '2 s')", "swapped"),
        ("SET bluegreen.retry_for = '2s'; SELECT bg_finish('users')", "finished"),
    ] {
        let mut result = Ok(());
        let longest = longest_wait_of_a_reader(&scene, "users", || {
            let errand = scene.send("owner", call);
            let deadline = std::time::Instant::now() + Duration::from_secs(8);
            while !errand.is_done() && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            assert!(errand.is_done(), "{call} waits for the log without end");
            result = errand.result().1.map(|_| ());
        });
        assert!(longest < SHORT, "{call}: a reader waited {longest:?}");
        if let Err(refusal) = result {
            assert_eq!(refusal.code, "55P03", "{call}: {refusal:?}");
            watcher.run("COMMIT");
            owner.run(&format!("CALL bg_run('users', '{until}')"));
            watcher.run("BEGIN");
        }
    }
}

#[test]
fn trap_38_a_writer_elsewhere_does_not_make_every_young_snapshot_an_old_one() {
    let scene = STAGE.users(10);
    scene.table("other", "id int");
    let mut owner = ready(&scene);
    // It has a transaction id, and no snapshot, for as long as it likes.
    let mut writer = scene.app();
    writer.run("BEGIN; INSERT INTO other VALUES (1)");
    scene.app().run("UPDATE users SET name = 'x'");
    owner.sync();

    let stop = std::sync::atomic::AtomicBool::new(false);
    let swapped = std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                let mut busy = scene.app();
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    busy.run("SELECT pg_sleep(0.02)");
                }
            });
        }
        std::thread::sleep(Duration::from_millis(100));
        let swapped = owner.try_run("SELECT bg_swap('users', retry_for => '5 s')");
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        swapped
    });

    if let Err(refusal) = swapped {
        panic!("the swap is impossible beside a long writer: {refusal:?}");
    }
}

#[test]
fn two_who_prepare_at_once_do_not_get_the_servers_own_errors() {
    let scene = STAGE.users(10);
    scene.table("accounts", "id bigint PRIMARY KEY");
    let mut first = scene.owner();
    first.run("BEGIN; SELECT bg_prepare('users')");
    let mut second = scene.owner();
    second.run("SET bluegreen.retry_for = '1s'");

    // Both need the blue schema, which is not there yet.
    let start = std::time::Instant::now();
    let refusal = second.refused("SELECT bg_prepare('accounts')");
    refusal.assert_is("55P03", &["public"]);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let same = scene.send("owner", "SELECT bg_prepare('users')");
    std::thread::sleep(Duration::from_millis(300));
    first.run("COMMIT");
    // The same call twice: done already.
    same.done();
    second.run("SELECT bg_prepare('accounts')");
}
