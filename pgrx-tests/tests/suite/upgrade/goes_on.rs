//! Deployments that 0.1.0 has begun: with its SQL still there, and after the upgrade to the end.

use bluegreen_tests::cluster::Cluster;

use super::STAGE;
use super::fixture;
use crate::story::{Person, Scene};

const UPDATE: &str = "ALTER EXTENSION pg_bluegreen UPDATE TO '0.2.0'";
/// Columns that both tables have.
const COLUMNS: &str = "id, name, email, shouted";
/// Every open deployment, with its phase and what was written while the fixture was taken.
const OPEN: &[&str] =
    &["prepared", "copying", "indexing", "misfit", "ready", "swapped", "reverted"];

/// Whether all rows are there: each insertion of the fixtures and of [`write`] comes with a deletion.
const IS_WHOLE: &str =
    "SELECT count(*) IN (40, 2000) AND count(*) = count(DISTINCT email) FROM users";

fn phase_of(fixture: &str) -> &str {
    match fixture {
        "misfit" | "reverted" => "ready",
        phase => phase,
    }
}

/// What clients do, whatever the phase.
fn write(scene: &Scene, mark: &str) {
    scene.app().run(&format!(
        "UPDATE users SET name = '{mark}' WHERE id = 2;
         INSERT INTO users (name, email) VALUES ('{mark}', '{mark}@example.org');
         DELETE FROM users WHERE id = (SELECT max(id) FROM users WHERE id BETWEEN 20 AND 39);
         UPDATE users SET email = '{mark}-' || email WHERE id = 4"
    ));
}

/// A fixture, upgraded with writes before and after it.
fn upgraded(cluster: &'static Cluster, fixture: &str, database: &str) -> Scene {
    let scene = fixture::load_as(cluster, fixture, database);
    write(&scene, "before");
    scene.admin().run(UPDATE);
    write(&scene, "after");
    assert_eq!(scene.status("phase"), phase_of(fixture));
    scene
}

/// Both tables have the same rows, and the live one those that were written.
fn assert_right(scene: &Scene, when: &str) {
    println!("{when}");
    scene.assert_in_step(COLUMNS);
    let mut admin = scene.admin();
    assert_eq!(admin.text(IS_WHOLE), "t", "{when}");
    assert_eq!(admin.text("SELECT name FROM users WHERE id = 3"), "waits", "{when}");
    assert_eq!(
        admin.int("SELECT count(*) FROM users WHERE email = 'after@example.org'"),
        1,
        "{when}"
    );
    assert_eq!(
        admin.text("SELECT email FROM users WHERE id = 4"),
        "after-before-user4@example.org",
        "{when}"
    );
    assert_eq!(admin.int("SELECT count(*) FROM users WHERE shouted <> upper(email)"), 0, "{when}");
}

/// What hangs on the table is there, on the live one.
fn assert_hangs_on_it(admin: &mut Person, when: &str) {
    assert_eq!(admin.int("SELECT count(*) FROM names"), 40, "{when}");
    assert_eq!(admin.text("SELECT label(u) FROM users u WHERE id = 2"), "after", "{when}");
    for (what, sql) in [
        ("foreign key", "SELECT count(*) FROM pg_constraint WHERE contype = 'f'
            AND (conrelid, confrelid) IN (('orders'::regclass, 'users'::regclass),
                ('users'::regclass, 'teams'::regclass))"),
        ("owned sequences", "SELECT count(*) FROM (VALUES
            (pg_get_serial_sequence('users', 'id')), (pg_get_serial_sequence('users', 'number'))) s (n)
            WHERE n IN ('public.users_id_seq', 'public.users_number_seq')"),
        ("trigger and policy", "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname = 'own'
            AND tgrelid = 'users'::regclass AND tgenabled = 'O')
            + (SELECT count(*) FROM pg_policy WHERE polname = 'everybody'
            AND polrelid = 'users'::regclass)"),
    ] {
        assert_eq!(admin.int(sql), 2, "{when}: {what}");
    }
    assert_eq!(
        admin.list("SELECT schemaname || '.' || tablename FROM pg_publication_tables"),
        ["public.users"],
        "{when}"
    );
}

fn assert_nothing_left(scene: &Scene) {
    assert_eq!(scene.inventory().with("_blue"), [""; 0]);
    assert_eq!(scene.inventory().with("bluegreen_1"), [""; 0]);
    assert_eq!(scene.admin().int("SELECT count(*) FROM pg_trigger WHERE tgname ~ '^bluegreen'"), 0);
}

/// Between the package's upgrade and ALTER EXTENSION.
#[test]
fn calls_work_while_the_sql_is_that_of_0_1_0() {
    if !fixture::goes_on_here() {
        return;
    }
    for fixture in OPEN {
        println!("{fixture}");
        let scene = fixture::load_as(STAGE.cluster(), fixture, &format!("{fixture}_old_sql"));
        let mut owner = scene.owner();
        let said =
            owner.rows("SELECT source, green, blue, phase, paused, next_step FROM bg_status()");
        let said: Vec<_> = said[0].iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
        let phase = phase_of(fixture);
        assert_eq!(said[..5], ["public.users", "public.users", "public_blue.users", phase, "f"]);
        // Every column can be read.
        owner.rows("SELECT * FROM bg_status('users')");
        owner.rows("SELECT * FROM bg_history");
        owner.rows("SELECT * FROM bg_misfits");
        owner.rows("SELECT * FROM bg_blockers('users')");
        let side = if phase == "swapped" { "reverse" } else { "forward" };
        let logged = format!("SELECT count(*) FROM bluegreen.{side}_1");
        let waiting = scene.admin().int(&logged);
        write(&scene, "before");
        assert_eq!(scene.admin().int(&logged), waiting + 4, "{fixture}");
        write(&scene, "after");

        if phase != "swapped" && *fixture != "misfit" {
            owner.run("CALL bg_run('users', 'swapped')");
        }
        if *fixture != "misfit" {
            owner.run("CALL bg_run('users', 'swapped')");
            assert_right(&scene, fixture);
            let refusal = owner.refused("SELECT bg_revert('users', 'set_aside_with_children')");
            refusal.assert_is("55000", &["older than its library"]);
            assert!(refusal.hint.contains("ALTER EXTENSION pg_bluegreen UPDATE"), "{refusal:?}");
            owner.revert();
        }
        scene.admin().run(UPDATE);
        assert_eq!(scene.status("restarts"), "0", "{fixture}");
        owner.run("SELECT bg_abort('users')");
        assert_nothing_left(&scene);
    }
}

#[test]
fn a_deployment_of_0_1_0_goes_on_to_the_end_after_the_upgrade() {
    if !fixture::goes_on_here() {
        return;
    }
    for fixture in OPEN.iter().filter(|fixture| **fixture != "misfit") {
        println!("{fixture}");
        let scene = upgraded(STAGE.cluster(), fixture, &format!("{fixture}_on"));
        let (mut owner, mut admin) = (scene.owner(), scene.admin());
        let has_more = ["ready", "swapped", "reverted"].contains(fixture);
        if *fixture != "swapped" {
            owner.run("CALL bg_run('users')");
            assert_eq!(scene.status("phase"), "ready");
            assert_right(&scene, &format!("{fixture}, ready"));
            owner.swap();
        }
        owner.run("CALL bg_run('users', 'swapped')");
        assert_right(&scene, &format!("{fixture}, swapped"));
        if has_more {
            assert_hangs_on_it(&mut admin, &format!("{fixture}, swapped"));
        }
        scene.app().run("UPDATE users SET phone = '110' WHERE id = 6");
        owner.revert();
        owner.sync();
        assert_right(&scene, &format!("{fixture}, reverted"));
        if has_more {
            assert_hangs_on_it(&mut admin, &format!("{fixture}, reverted"));
        }
        owner.swap();
        owner.run("CALL bg_run('users', 'swapped')");
        assert_right(&scene, &format!("{fixture}, swapped again"));
        assert_eq!(owner.text("SELECT phone FROM users WHERE id = 6"), "110", "{fixture}");
        if ["swapped", "reverted"].contains(fixture) {
            assert_eq!(owner.text("SELECT phone FROM users WHERE id = 5"), "+49 30", "{fixture}");
        }
        assert_eq!(owner.text("SELECT bg_finish('users')"), "finished");
        assert_eq!(admin.text(IS_WHOLE), "t");
        if has_more {
            assert_hangs_on_it(&mut admin, &format!("{fixture}, finished"));
            assert_eq!(admin.int("SELECT count(*) FROM pg_constraint WHERE NOT convalidated"), 0);
        }
        assert_nothing_left(&scene);
        // The state was written in the present form meanwhile, and a new deployment begins with it.
        owner.run("SELECT bg_prepare('users', 'ADD COLUMN later int')");
        owner.run("CALL bg_run('users', 'finished')");
        assert_eq!(admin.text(IS_WHOLE), "t");
    }
}

#[test]
fn a_deployment_of_0_1_0_is_aborted_or_finished_right_after_the_upgrade() {
    for fixture in OPEN {
        println!("{fixture}");
        let scene = upgraded(STAGE.cluster(), fixture, &format!("{fixture}_end"));
        let mut owner = scene.owner();
        let end = if *fixture == "swapped" { "bg_finish" } else { "bg_abort" };
        owner.run(&format!("SELECT {end}('users')"));
        assert_nothing_left(&scene);
        let mut admin = scene.admin();
        assert_eq!(admin.text(IS_WHOLE), "t", "{fixture}");
        assert_eq!(admin.text("SELECT name FROM users WHERE id = 2"), "after", "{fixture}");
        if ["ready", "swapped", "reverted"].contains(fixture) {
            assert_hangs_on_it(&mut admin, fixture);
        }
        let step = end.trim_start_matches("bg_");
        assert_eq!(
            owner.int(&format!("SELECT count(*) FROM bg_history() WHERE step = '{step}'")),
            1,
            "{fixture}"
        );
    }
}

#[test]
fn a_misfit_that_0_1_0_found_goes_when_it_is_corrected() {
    if !fixture::goes_on_here() {
        return;
    }
    let scene = upgraded(STAGE.cluster(), "misfit", "misfit_corrected");
    let mut owner = scene.owner();
    assert_eq!(owner.text("SELECT key::text FROM bg_misfits()"), "{\"id\": 7}");
    assert_eq!(owner.text("SELECT child FROM bg_misfits()"), "");
    owner.sync();
    assert_eq!(scene.status("misfits"), "1");
    owner.refused("SELECT bg_swap('users')").assert_is("55000", &["1 row of", "public.users"]);
    scene.app().run("UPDATE users SET name = 'short' WHERE id = 7");
    owner.sync();
    assert_eq!(scene.status("misfits"), "0");
    assert_right(&scene, "corrected");
    owner.swap();
    owner.run("CALL bg_run('users', 'swapped')");
    assert_right(&scene, "swapped");
    owner.revert();
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(owner.text("SELECT name FROM users WHERE id = 7"), "short");
    assert_nothing_left(&scene);
}

#[test]
fn a_deployment_begins_and_ends_while_the_sql_is_that_of_0_1_0() {
    let scene = fixture::load_as(STAGE.cluster(), "ended", "ended_old_sql");
    let mut owner = scene.owner();
    assert_eq!(owner.int("SELECT count(*) FROM bg_check('users', 'ADD COLUMN later int') WHERE severity = 'error'"), 0);
    for call in [
        "SELECT bg_prepare('users', 'ADD COLUMN later int')",
        "SELECT bg_backfill('users')",
        "SELECT bg_pause('users')",
        "SELECT bg_resume('users')",
        "CALL bg_run('users')",
        "SELECT bg_swap('users')",
        "CALL bg_run('users', 'swapped')",
        "SELECT bg_revert('users')",
        "CALL bg_run('users', 'swapped')",
    ] {
        owner.run(call);
    }
    write(&scene, "before");
    write(&scene, "after");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.assert_in_step(COLUMNS);
    owner.run("SELECT bg_finish('users')");
    assert_eq!(scene.admin().text(IS_WHOLE), "t");
    assert_nothing_left(&scene);
    scene.admin().run(UPDATE);
    assert_eq!(scene.status("phase"), "finished");
}

#[test]
fn deployments_that_0_1_0_ended_are_in_the_history() {
    let scene = fixture::load(STAGE.cluster(), "ended");
    let steps = |history: &str| {
        format!(
            "SELECT string_agg(deployment || ' ' || step, ', ' ORDER BY id) FROM {history}
              WHERE step IN ('prepare', 'abort', 'swap', 'finish')"
        )
    };
    let before = scene.owner().text(&steps("bg_history"));
    assert_eq!(before, "1 prepare, 1 abort, 2 prepare, 2 swap, 2 finish");
    scene.admin().run(UPDATE);
    let mut owner = scene.owner();
    assert_eq!(owner.text(&steps("bg_history()")), before);
    assert_eq!(scene.status("phase"), "finished");
    assert_eq!(scene.status("source"), "public.users");
    assert_eq!(owner.int("SELECT count(*) FROM bg_status()"), 0);
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN later int')");
    assert_eq!(scene.status("id"), "3");
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(owner.int("SELECT count(*) FROM users"), 40);
}

/// bg_prepare again compares what it would record now with what 0.1.0 recorded, which is less.
#[test]
fn the_offline_table_of_0_1_0_is_brought_up_to_date_by_bg_prepare() {
    if !fixture::goes_on_here() {
        return;
    }
    for fixture in ["prepared", "indexing", "ready"] {
        println!("{fixture}");
        let scene = upgraded(STAGE.cluster(), fixture, &format!("{fixture}_updated"));
        let (mut owner, mut admin) = (scene.owner(), scene.admin());
        admin.run(
            "CREATE INDEX users_later ON users (email, name); COMMENT ON TABLE users IS 'people'",
        );
        let prepare = "SELECT bg_prepare('users', 'ADD COLUMN phone text')";
        owner.run(prepare);
        let said = owner.notices();
        assert!(said.iter().any(|n| n.message.contains("users_later was added")), "{said:?}");
        owner.run("CALL bg_run('users', 'swapped')");
        owner.run("CALL bg_run('users', 'swapped')");
        assert_right(&scene, fixture);
        let indexes = "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes
                        WHERE schemaname = 'public' AND tablename = 'users'";
        assert_eq!(
            admin.text(indexes),
            "users_email_key users_later users_name users_pkey",
            "{fixture}"
        );
        assert_eq!(admin.text("SELECT obj_description('users'::regclass)"), "people");
        owner.run("SELECT bg_finish('users')");
        assert_nothing_left(&scene);
    }
}
