//! Whoever has nothing but bg_status and bg_blockers finds what is wrong, and what to do about it.

use crate::story::{Scene, Stage, stage};

static STAGE: Stage = stage!();

const CHANGES: &str = "ADD COLUMN phone text";

fn status(scene: &Scene, column: &str) -> String {
    scene.owner().text(&format!("SELECT {column} FROM bg_status()"))
}

/// What a part of a definition was can be read, so that the change can be undone.
#[test]
fn a_changed_definition_is_shown_as_it_was() {
    let scene = STAGE.users(20);
    let mut owner = scene.owner();
    let mut admin = scene.admin();
    admin.run("DROP INDEX users_name; CREATE INDEX users_name ON users (name) WHERE name <> ''");
    owner.make_ready(CHANGES);
    for (change, undo, told) in [
        (
            "ALTER TABLE users ALTER COLUMN email DROP NOT NULL",
            "ALTER TABLE users ALTER COLUMN email SET NOT NULL",
            "column email: text NOT NULL before, text now.",
        ),
        (
            "GRANT TRUNCATE ON users TO mallory",
            "REVOKE TRUNCATE ON users FROM mallory",
            ",mallory=D/owner} now.",
        ),
        (
            "DROP INDEX users_name",
            "CREATE INDEX users_name ON users (name) WHERE name <> ''",
            "index users_name: CREATE INDEX users_name ON public.users USING btree (name) WHERE (name <> ''::text) before.",
        ),
    ] {
        admin.run(change);
        let said = admin.text("SELECT last_error FROM bg_status()");
        assert!(said.contains(told), "{said}");
        admin.run(undo);
        assert_eq!(
            admin.text("SELECT coalesce(last_error, '') FROM bg_status()"),
            "",
            "after {undo}"
        );
    }
}

#[test]
fn many_waiting_changes_are_estimated() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    owner.make_ready(CHANGES);
    let mut app = scene.app();
    // Places of rows that were brought in and are gone count for nothing.
    app.run("INSERT INTO users SELECT n, 'n', n || '@', now() FROM generate_series(1000, 90000) n");
    owner.sync();
    let mut changes = 0;
    for rows in [90_000, 40_000, 90_000, 90_000, 90_000] {
        app.run(&format!(
            "UPDATE users SET name = name || '+' WHERE id IN (SELECT id FROM users ORDER BY id LIMIT {rows})"
        ));
        changes += rows.min(89_001 + 5);
        let told: i64 = status(&scene, "pending_changes").parse().unwrap();
        if changes < 100_000 {
            assert_eq!(told, changes);
        } else {
            assert!((told - changes).abs() * 20 < changes, "{told} of {changes}");
        }
    }
}

/// The same call again would fail again: what its error asks for comes first.
#[test]
fn what_a_failed_run_asks_for_is_the_next_step() {
    let scene = STAGE.users(50);
    let mut owner = scene.owner();
    scene.app().run("UPDATE users SET name = 'twin' WHERE id IN (3, 4)");
    owner.run("SELECT bg_prepare('users', 'ADD CONSTRAINT once UNIQUE (name)')");
    owner.refused("CALL bg_run('users')").assert_is("23505", &["once"]);
    let step = status(&scene, "next_step");
    assert!(
        step.starts_with("CALL bg_run('public.users') when this is done: Correct the rows"),
        "{step}"
    );
    scene.app().run("UPDATE users SET name = 'four' WHERE id = 4");
    owner.run("CALL bg_run('users')");
    assert_eq!(status(&scene, "next_step"), "SELECT bg_swap('public.users')");

    owner.run("SET bluegreen.retry_for = '300 ms'");
    let mut idle = scene.app();
    idle.run("BEGIN; SELECT count(*) FROM users");
    owner.refused("CALL bg_run('users', 'swapped')").assert_is("55P03", &[]);
    assert_eq!(
        status(&scene, "next_step"),
        "End what SELECT * FROM bg_blockers('public.users') shows, or wait until it has ended, then SELECT bg_swap('public.users')"
    );
    let what = "SELECT what FROM bg_blockers('users')";
    assert_eq!(
        scene.admin().text(what),
        "holds AccessShareLock on public.users; idle in transaction"
    );
    // As pg_stat_activity has it: what another role does is not for everybody.
    assert_eq!(owner.text(what), "holds AccessShareLock on public.users");
    idle.run("COMMIT");
    owner.run("SELECT bg_swap('users')");
}

#[test]
fn deployments_of_other_owners_are_not_passed_over_in_silence() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    let mut app = scene.app();
    let look = "SELECT count(*) FROM bg_status()";
    assert_eq!(app.int(look), 0);
    assert!(app.notices().is_empty(), "there is none");
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    assert_eq!(app.int(look), 0);
    let told = app.notices();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].message.contains("tables that you do not own"), "{told:?}");
    owner.notices();
    assert_eq!(owner.int(look), 1);
    assert!(owner.notices().is_empty());
}
