//! On a hot standby, and where transactions are READ ONLY, the functions that only read say how it stands, and
//! those that write say why they cannot.

use bluegreen_tests::cluster::{Cluster, Options};

use crate::story::throttled::SLOWLY;
use crate::story::{Errand, Person, Scene, Stage, new_cluster, own, stage};

static STAGE: Stage = stage!();

const CHANGES: &str = "ADD COLUMN phone text";

/// What writes, by its name in messages.
const VERBS: &[(&str, &str)] = &[
    ("bg_check()", "SELECT count(*) FROM bg_check('users', 'ADD COLUMN phone text')"),
    ("bg_prepare()", "SELECT bg_prepare('users', 'ADD COLUMN phone text')"),
    ("bg_backfill()", "SELECT bg_backfill('users')"),
    ("CALL bg_run", "CALL bg_run('users')"),
    ("bg_pause()", "SELECT bg_pause('users')"),
    ("bg_resume()", "SELECT bg_resume('users')"),
    ("bg_swap()", "SELECT bg_swap('users')"),
    ("bg_revert()", "SELECT bg_revert('users')"),
    ("bg_finish()", "SELECT bg_finish('users')"),
    ("bg_abort()", "SELECT bg_abort('users')"),
    ("bg_verify()", "SELECT count(*) FROM bg_verify('users', repair => true)"),
];

/// What only reads.
const LOOKS: &[&str] = &[
    "SELECT count(*) FROM bg_status()",
    "SELECT phase FROM bg_status('users')",
    "SELECT count(*) FROM bg_progress()",
    "SELECT count(*) > 10 FROM bg_help()",
    "SELECT count(*) FROM bg_history()",
    "SELECT count(*) FROM bg_misfits()",
    "SELECT count(*) FROM bg_differences()",
    "SELECT count(*) FROM bg_blockers('users')",
];

/// Waits until a standby has what the primary has written.
fn follow(primary: &Scene) {
    let written = primary.admin().text("SELECT pg_current_wal_insert_lsn()");
    primary.until(&format!("SELECT bool_and(replay_lsn >= '{written}') FROM pg_stat_replication"));
}

fn pair() -> (Scene, Scene) {
    let options = Options::default().set("shared_buffers", "64MB");
    let primary: &'static Cluster = own(new_cluster(&options));
    let scene = Scene::in_cluster(primary);
    let standby = own(primary.standby("reader", &options).expect("a standby"));
    let there = Scene { cluster: standby, database: scene.database.clone() };
    (scene, there)
}

/// The same on both, but that the statement is for the primary.
#[track_caller]
fn assert_same(primary: &Scene, standby: &Scene) {
    follow(primary);
    let facts = "SELECT concat_ws(' | ', id, source, blue, phase, paused, progress, rows_copied, pending_changes,
        misfits, not_valid, worker_pid, restarts, last_error) FROM bg_status('users')";
    assert_eq!(standby.owner().text(facts), primary.owner().text(facts));
    let line = "SELECT split_part(bg_progress(), ', synced', 1)";
    assert_eq!(
        standby.owner().text(line),
        primary.owner().text(line).replace(", nobody works", "")
    );
    let next = primary.owner().text("SELECT next_step FROM bg_status()");
    let there = standby.owner().text("SELECT next_step FROM bg_status()");
    assert_eq!(there, format!("On the primary: {next}"));
    let mut owner = standby.owner();
    for look in LOOKS {
        owner.run(look);
    }
}

#[test]
fn a_hot_standby_says_how_it_stands_and_that_the_primary_leads_on() {
    let (scene, standby) = pair();
    scene.add_users(500);
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    assert_same(&scene, &standby);
    owner.run("CALL bg_run('users')");
    assert_same(&scene, &standby);
    scene.app().run("UPDATE users SET name = 'x' WHERE id <= 7");
    owner.run("SELECT bg_pause('users')");
    assert_same(&scene, &standby);
    owner.run("SELECT bg_resume('users'); SELECT bg_swap('users')");
    assert_same(&scene, &standby);

    let mut there = standby.owner();
    for (name, call) in VERBS {
        let refusal = there.refused(call);
        refusal.assert_is("25006", &[&format!("cannot execute {name} during recovery")]);
        assert!(refusal.hint.contains("primary"), "{refusal:?}");
    }
    there.refused("SELECT * FROM bg_verify('users')").assert_is("25006", &["during recovery"]);
    owner.run("SELECT bg_finish('users')");
    follow(&scene);
    assert_eq!(there.text("SELECT next_step FROM bg_status('users')"), "none");
    assert!(standby.mallory().list("SELECT bg_progress()").is_empty());
}

/// It sees that somebody worked on it when the records were written, and not whether he still does.
#[test]
fn a_hot_standby_does_not_claim_to_know_the_sessions_of_the_primary() {
    let (scene, standby) = pair();
    scene.add_wide_users(2000);
    scene.owner().run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    let mut owner = scene.owner();
    owner.run(SLOWLY);
    let run = Errand::start(owner, "CALL bg_run('users')");
    scene.until("SELECT rows_copied > 0 FROM bg_status('users')");
    follow(&scene);
    let mut there = standby.owner();
    let step = there.text("SELECT next_step FROM bg_status()");
    let expected = format!(
        "On the primary, unless the session with pid {} works on it there: CALL bg_run('public.users')",
        run.pid
    );
    assert_eq!(step, expected);
    assert_eq!(
        there.text("SELECT worker_pid IS NULL AND last_error IS NULL FROM bg_status()"),
        "t"
    );
    let line = there.text("SELECT bg_progress()");
    assert!(line.contains("copying") && !line.contains("nobody"), "{line}");
    scene.admin().run(&format!("SELECT pg_cancel_backend({})", run.pid));
    run.refused();
}

/// What is prepared on the primary holds locks on the standby, too.
#[test]
fn a_hot_standby_waits_for_no_prepared_swap() {
    let (scene, standby) = pair();
    scene.add_users(20);
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    owner.run("BEGIN; SELECT bg_swap('users'); PREPARE TRANSACTION 'deploy'");
    follow(&scene);
    let mut there = standby.owner();
    there.run("SET statement_timeout = '5 s'");
    assert_eq!(there.text("SELECT phase FROM bg_status()"), "ready");
    there.run("SELECT * FROM bg_progress(); SELECT * FROM bg_help(); SELECT * FROM bg_history()");
    owner.run("COMMIT PREPARED 'deploy'");
    follow(&scene);
    assert_eq!(there.text("SELECT phase FROM bg_status()"), "swapped");
}

fn read_only(scene: &Scene) -> Person {
    let mut owner = scene.owner();
    owner.run("SET default_transaction_read_only = on");
    owner
}

#[test]
fn what_writes_says_so_in_a_read_only_transaction_and_the_rest_works() {
    let scene = STAGE.users(300);
    scene.owner().make_ready(CHANGES);
    let mut owner = read_only(&scene);
    for look in LOOKS {
        owner.run(look);
    }
    assert_eq!(owner.text("SELECT next_step FROM bg_status()"), "SELECT bg_swap('public.users')");
    assert!(owner.list("SELECT key FROM bg_verify('users')").is_empty());
    for (name, call) in VERBS {
        let refusal = owner.refused(call);
        let said = format!("cannot execute {name} in a read-only transaction");
        refusal.assert_is("25006", &[&said]);
        assert!(refusal.hint.contains("default_transaction_read_only = off"), "{refusal:?}");
    }
    // What the hint says, and what an explicit transaction says.
    owner.run("BEGIN READ WRITE; SELECT bg_pause('users'); SELECT bg_resume('users'); COMMIT");
    owner.run("SET default_transaction_read_only = off");
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(scene.status("phase"), "swapped");
}

/// The database's setting is not the background workers'.
#[test]
fn a_read_only_database_can_be_worked_on_with_workers() {
    let scene = STAGE.wide_users(3000);
    let mut admin = scene.admin();
    admin.run(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", scene.database));
    admin.run("CREATE INDEX ON users (created_at, name)");
    let mut owner = scene.owner();
    owner.refused("CALL bg_run('users')");
    owner.run("SET default_transaction_read_only = off; SET bluegreen.copy_workers = 3");
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    owner.run("CALL bg_run('users')");
    assert_eq!(owner.text("SELECT phase FROM bg_status()"), "ready");
    let log = std::fs::read_to_string(scene.cluster.log_file()).unwrap();
    // A worker's lines have no database; what is refused by us names a call of ours.
    let failed = log
        .lines()
        .filter(|line| line.contains("in a read-only transaction") && !line.contains("bg_"));
    assert_eq!(failed.collect::<Vec<_>>(), [""; 0]);
    admin.run("SET default_transaction_read_only = off");
    admin.run(&format!("ALTER DATABASE {} RESET default_transaction_read_only", scene.database));
}
