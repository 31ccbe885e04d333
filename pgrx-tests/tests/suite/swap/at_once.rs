//! Two swaps at once, and other verbs beside a swap that waits (docs/hazards.md, 38, 133). Posts have ten
//! rows more than were copied before somebody's snapshot was taken.

use std::time::Duration;

use crate::story::{Errand, Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// Counts the posts, a while after its snapshot was taken for 'slow'.
const POSTS_OF: &str =
    "CREATE FUNCTION posts_of(name text) RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN
    IF name = 'slow' THEN PERFORM pg_sleep(3); END IF;
    RETURN (SELECT count(*) FROM public.posts); END $$";

/// Users and five posts.
fn scene() -> Scene {
    let scene = STAGE.users(5);
    scene.table("posts", "id bigint PRIMARY KEY");
    scene.admin().run(&format!("INSERT INTO posts SELECT generate_series(1, 5); {POSTS_OF}"));
    scene
}

/// Both are ready, and ten posts more are not copied.
fn ready(scene: &Scene) -> Person {
    let mut owner = scene.owner();
    for table in ["users", "posts"] {
        owner.run(&format!("SELECT bg_prepare('{table}', 'ADD COLUMN phone text')"));
        owner.run(&format!("CALL bg_run('{table}')"));
    }
    scene.admin().run("INSERT INTO posts SELECT generate_series(6, 15)");
    owner
}

/// Users, swapped by a statement that goes on to read posts with the snapshot that it began with. It stands
/// in its lock tries; ten posts are copied after it began.
#[test]
fn trap_38_a_swap_within_a_larger_statement_or_call_is_waited_for_by_another() {
    let by = |body: &str| {
        format!(
            "CREATE FUNCTION by_another_way() RETURNS text LANGUAGE plpgsql AS $f$
                 DECLARE phase text; BEGIN {body}; RETURN phase; END $f$"
        )
    };
    let swap = "SELECT bg_swap('users', retry_for => '20 s')";
    for (function, statement) in [
        (
            by(&format!("FOR phase IN {swap} LOOP END LOOP; phase = 'swapped'")),
            "SELECT by_another_way() || posts_of('')",
        ),
        (by("EXECUTE 'EXECUTE p' INTO phase"), "SELECT by_another_way() || posts_of('')"),
        (
            "CREATE FUNCTION by_another_way() RETURNS regclass LANGUAGE plpgsql STABLE AS $f$ BEGIN
                 PERFORM bg_swap('users', retry_for => '20 s');
                 IF posts_of('') <> 15 THEN RAISE 'stale'; END IF;
                 RETURN 'users'; END $f$"
                .to_owned(),
            "SELECT bg_swap(by_another_way()) || 15",
        ),
        (by("phase = ''"), "SELECT bg_swap('users', retry_for => '20 s') || posts_of('')"),
    ] {
        let scene = scene();
        scene.admin().run(&function);
        let mut owner = ready(&scene);
        let mut reader = scene.app();
        reader.run("BEGIN; SELECT FROM users LIMIT 1");
        let mut first = scene.owner();
        first.run(&format!("PREPARE p AS {swap}"));
        let first = Errand::start(first, statement);
        std::thread::sleep(Duration::from_millis(300));
        owner.sync_without_history("posts");
        let refusal = owner.refused("SELECT bg_swap('posts', retry_for => '300 ms')");
        assert_eq!(refusal.code, "55P03", "{statement}: {refusal:?}");
        assert!(refusal.everything().contains(&first.pid.to_string()), "{statement}: {refusal:?}");
        reader.run("COMMIT");
        let (_, said) = first.result();
        assert_eq!(said.unwrap(), [[Some("swapped15".to_owned())]], "{statement}");
        owner.run("SELECT bg_swap('posts')");
    }
}

/// The last drain of users computes values from posts, and takes its time: posts must not be exchanged for
/// a table that its snapshot sees as it was before.
#[test]
fn trap_38_a_swap_that_reads_another_table_in_its_drain_is_waited_for() {
    let scene = scene();
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('users', 'ADD COLUMN posts int', forward => '{"posts": "public.posts_of(name)"}')"#,
    );
    owner.run("SELECT bg_prepare('posts', 'ADD COLUMN phone text')");
    owner.run("CALL bg_run('users')");
    owner.run("CALL bg_run('posts')");
    scene.admin().run("INSERT INTO posts SELECT generate_series(6, 15)");
    scene.app().run("UPDATE users SET name = 'slow' WHERE id = 3");
    let first = scene.send("owner", "SELECT bg_swap('users')");
    std::thread::sleep(Duration::from_secs(1));
    assert!(!first.is_done(), "its drain takes three seconds");
    owner.run("CALL bg_run('posts')");
    owner.run("SELECT bg_swap('posts', retry_for => '20 s')");
    first.done();
    assert_eq!(owner.int("SELECT posts FROM users WHERE id = 3"), 15);
}

/// What a transaction reads after bg_finish is no more left out than that of anybody.
#[test]
fn trap_38_a_transaction_that_ends_a_deployment_and_reads_on_is_waited_for() {
    let scene = scene();
    let mut owner = ready(&scene);
    owner.swap();
    let mut other = scene.owner();
    other.run("BEGIN; SELECT bg_finish('users')");
    let slow = Errand::start(other, "SELECT posts_of('slow')");
    std::thread::sleep(Duration::from_millis(500));
    owner.sync_without_history("posts");
    let refusal = owner.refused("BEGIN; SELECT bg_swap('posts', retry_for => '300 ms')");
    owner.run("ROLLBACK");
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    assert!(refusal.everything().contains(&slow.pid.to_string()), "{refusal:?}");
    let (mut other, said) = slow.result();
    assert_eq!(said.unwrap(), [[Some("15".to_owned())]]);
    other.run("COMMIT");
    owner.run("SELECT bg_swap('posts')");
}

#[test]
fn verbs_that_make_or_drop_a_blue_schema_and_a_swap_that_waits_leave_each_other_alone() {
    let scene = scene();
    let mut owner = ready(&scene);
    let mut admin = scene.admin();
    admin.run("CREATE SCHEMA archive AUTHORIZATION owner");
    owner.run(
        "CREATE TABLE archive.mails (id int PRIMARY KEY); SELECT bg_prepare('archive.mails', '')",
    );
    // Somebody makes the blue schema of another one, and does not commit.
    admin.run("CREATE SCHEMA fresh AUTHORIZATION owner");
    let mut idle = scene.owner();
    idle.run("CREATE TABLE fresh.t (id int PRIMARY KEY)");
    idle.run("BEGIN; SELECT bg_prepare('fresh.t', '')");
    owner.run("SET statement_timeout = '20 s'");
    owner.run("SELECT bg_swap('users', retry_for => '2 s')");
    idle.run("ROLLBACK");
    // A swap waits for somebody's snapshot; another deployment's end still takes its schema away.
    let mut reader = scene.app();
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    owner.sync_without_history("posts");
    let swap = scene.send("owner", "SELECT bg_swap('posts', retry_for => '20 s')");
    std::thread::sleep(Duration::from_millis(300));
    owner.run("SELECT bg_abort('archive.mails')");
    assert!(!swap.is_done());
    assert_eq!(admin.int("SELECT count(*) FROM pg_namespace WHERE nspname = 'archive_blue'"), 0);
    reader.run("COMMIT");
    swap.done();
}
