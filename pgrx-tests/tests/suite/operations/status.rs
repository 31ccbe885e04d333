//! bg_status says how it stands, in every state, and its `next_step` is a statement that leads on, or what
//! somebody has to decide first.

use crate::story::throttled::SLOWLY;
use crate::story::{Errand, Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

const CHANGES: &str = "ADD COLUMN phone text";

fn next(scene: &Scene) -> String {
    scene.owner().text("SELECT next_step FROM bg_status()")
}

fn last_error(scene: &Scene) -> String {
    scene.owner().text("SELECT last_error FROM bg_status()")
}

/// Does what `next_step` says.
#[track_caller]
fn follow(scene: &Scene, owner: &mut Person, expected: &str) {
    let step = next(scene);
    assert_eq!(step, expected);
    owner.run(&step);
}

#[test]
fn the_next_step_leads_from_phase_to_phase() {
    let scene = STAGE.users(300);
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    follow(&scene, &mut owner, "CALL bg_run('public.users')");
    assert_eq!(scene.status("phase"), "ready");
    follow(&scene, &mut owner, "SELECT bg_swap('public.users')");
    assert_eq!(scene.status("phase"), "swapped");
    let decide = next(&scene);
    for call in ["SELECT bg_finish('public.users')", "SELECT bg_revert('public.users')"] {
        assert!(decide.contains(call), "{decide}");
    }
    assert!(owner.try_run(&decide).is_err(), "it is for somebody to decide: {decide}");
    owner.revert();
    assert_eq!(next(&scene), "SELECT bg_swap('public.users')");
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(owner.text("SELECT next_step FROM bg_status('users')"), "none");
}

#[test]
fn a_backlog_a_pause_and_misfits_come_first() {
    let scene = STAGE.users(2000);
    let mut owner = scene.owner();
    let mut app = scene.app();
    owner.make_ready("ALTER COLUMN name TYPE varchar(40)");
    app.run("DO $$ BEGIN FOR n IN 1 .. 30 LOOP UPDATE users SET name = 'w' || n; END LOOP; END $$");
    owner.run("SELECT bg_pause('users')");
    follow(&scene, &mut owner, "SELECT bg_resume('public.users')");
    follow(&scene, &mut owner, "CALL bg_run('public.users', 'swapped')");
    assert_eq!(scene.status("phase"), "swapped");
    owner.revert();
    app.run("UPDATE users SET name = repeat('x', 41) WHERE id IN (1, 2)");
    owner.sync();
    let correct = next(&scene);
    assert_eq!(
        correct,
        "Correct the rows of bg_misfits() in public.users, then CALL bg_run('public.users')"
    );
    app.run("UPDATE users SET name = 'short' WHERE id IN (1, 2)");
    owner.run("CALL bg_run('public.users')");
    assert_eq!(next(&scene), "SELECT bg_swap('public.users')");
}

#[test]
fn a_run_that_works_and_one_that_was_ended_are_told_apart() {
    let scene = STAGE.wide_users(2000);
    scene.owner().run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    let mut owner = scene.owner();
    owner.run(SLOWLY);
    let run = Errand::start(owner, "CALL bg_run('users')");
    scene.until("SELECT rows_copied > 0 FROM bg_status('users')");
    assert_eq!(next(&scene), format!("none: the session with pid {} is working on it", run.pid));
    assert_eq!(last_error(&scene), "");

    scene.admin().run(&format!("SELECT pg_terminate_backend({})", run.pid));
    let pid = run.pid;
    assert!(run.result().1.is_err());
    scene.until("SELECT worker_pid IS NULL FROM bg_status('users')");
    let error = last_error(&scene);
    assert!(error.contains(&format!("the session with pid {pid}")), "{error}");
    let mut owner = scene.owner();
    owner.run("SELECT bg_backfill('users', '100 ms')");
    assert_eq!(last_error(&scene), "", "another call has worked since");
    follow(&scene, &mut owner, "CALL bg_run('public.users')");
    assert_eq!(scene.status("phase"), "ready");
}

#[test]
fn a_changed_definition_is_told_before_the_next_call() {
    let scene = STAGE.users(50);
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    scene.admin().run("CREATE INDEX users_created ON users (created_at)");
    assert!(last_error(&scene).contains("index users_created"), "{}", last_error(&scene));
    let prepare = "SELECT bg_prepare('public.users', 'ADD COLUMN phone text')";
    follow(&scene, &mut owner, prepare);
    follow(&scene, &mut owner, "CALL bg_run('public.users')");
    follow(&scene, &mut owner, "SELECT bg_swap('public.users')");
    scene.admin().run("ALTER TABLE users ADD COLUMN late int");
    assert!(last_error(&scene).contains("definition of public.users"), "{}", last_error(&scene));
    assert!(next(&scene).starts_with("Undo the change"), "{}", next(&scene));
    scene.admin().run("ALTER TABLE users DROP COLUMN late");
    assert!(last_error(&scene).is_empty() || !next(&scene).is_empty());
}

#[test]
fn what_is_gone_is_ended_by_the_next_step() {
    for (drop, end) in [
        ("DROP TABLE users CASCADE", "SELECT bg_abort(1)"),
        ("DROP TABLE public_blue.users CASCADE", "SELECT bg_abort(1)"),
    ] {
        let scene = STAGE.users(20);
        let mut owner = scene.owner();
        owner.make_ready(CHANGES);
        scene.admin().run(drop);
        assert!(last_error(&scene).contains("no longer exists"), "{drop}");
        follow(&scene, &mut owner, end);
        assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0, "{drop}");
    }
}

#[test]
fn a_prepared_swap_is_named() {
    let scene = STAGE.users(20);
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    owner.run("BEGIN; SELECT bg_swap('users'); PREPARE TRANSACTION 'deploy'");
    let step = next(&scene);
    assert!(step.contains("COMMIT PREPARED 'deploy' or ROLLBACK PREPARED 'deploy'"), "{step}");
    owner.run("COMMIT PREPARED 'deploy'");
    assert_eq!(scene.status("phase"), "swapped");
}

/// What bg_prepare cannot follow is for somebody to undo; and whoever looks keeps no lock.
#[test]
fn a_changed_offline_table_is_told_and_looking_locks_nothing() {
    let scene = STAGE.users(20);
    scene
        .admin()
        .run("CREATE VIEW names AS SELECT name FROM users; ALTER VIEW names OWNER TO owner");
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    let mut watcher = scene.owner();
    watcher.run("BEGIN");
    assert_eq!(watcher.text("SELECT next_step FROM bg_status()"), "SELECT bg_swap('public.users')");
    owner.run("SELECT bg_swap('users', retry_for => '1 s')");
    watcher.run("COMMIT");
    owner.revert();
    scene.admin().run("GRANT SELECT ON public_blue.users TO mallory");
    let step = next(&scene);
    assert!(step.starts_with("Undo the change") && step.contains("SELECT bg_abort(1)"), "{step}");
    let mut repeatable = scene.owner();
    repeatable.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    repeatable.text("SELECT next_step FROM bg_status()");
    repeatable.run("COMMIT");
    scene.admin().run("REVOKE SELECT ON public_blue.users FROM mallory");
    assert_eq!(next(&scene), "SELECT bg_swap('public.users')");
}

/// Somebody has locked the table: who it is can be found out all the same, at once.
#[test]
fn status_and_blockers_wait_for_nobody() {
    let scene = STAGE.users(20);
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    let mut holder = scene.owner();
    holder.run("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
    let look = Errand::start(
        scene.owner(),
        "SET statement_timeout = '2 s';
         SELECT (SELECT phase FROM bg_status('users')), (SELECT phase FROM bg_status()),
                (SELECT string_agg(pid::text, ',') FROM bg_blockers('users'))",
    );
    let (_, said) = look.result();
    let said = said.unwrap();
    let said: Vec<_> = said[0].iter().flatten().collect();
    assert_eq!(said, ["ready", "ready", &holder.pid().to_string()]);
    holder.run("ROLLBACK");
}

#[test]
fn a_line_says_how_it_stands() {
    let scene = STAGE.wide_users(1500);
    let mut owner = scene.owner();
    assert_eq!(owner.list("SELECT bg_progress()"), [""; 0]);
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    assert_eq!(
        owner.text("SELECT bg_progress('users')"),
        "public.users prepared [....................] 0%, nobody works"
    );
    owner.run("SET bluegreen.batch_time = '2ms'; SELECT bg_backfill('users', '20 ms')");
    let copying = owner.text("SELECT bg_progress()");
    assert!(copying.contains("copying") && copying.contains(" rows/s"), "{copying}");
    owner.sync();
    scene.app().run("UPDATE users SET name = 'x' WHERE id <= 7");
    let ready = owner.text("SELECT bg_progress()");
    assert!(ready.starts_with("public.users ready [####################] 100%, 7 changes wait"));
    let long = "SELECT max(length(line)) <= 110 FROM bg_progress() line";
    assert_eq!(owner.text(long), "t");
    assert!(scene.mallory().list("SELECT bg_progress()").is_empty());
}

#[test]
fn help_has_every_call_and_the_next_step() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    // What is public in the extension's schema, but these, is explained.
    let missing = owner.list(
        "SELECT DISTINCT proname FROM pg_proc p
          WHERE proname LIKE 'bg\\_%' AND pronamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM bg_help() h
                             WHERE h.statement || h.purpose LIKE '%' || p.proname || '%')
          ORDER BY 1",
    );
    assert_eq!(missing, ["bg_backfill", "bg_help"]);
    assert_eq!(
        owner.text(
            "SELECT statement FROM bg_help() WHERE purpose LIKE 'the next step of public.users%'"
        ),
        "CALL bg_run('public.users')"
    );
}
