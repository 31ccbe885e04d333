//! Tables that are dropped while their deployment is open, and made anew: there is always a way on.

use crate::story::person::Refusal;
use crate::story::{Person, Scene, stage};

static STAGE: crate::story::Stage = stage!();

/// How far a deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Prepared,
    Copying,
    Indexing,
    Ready,
    Swapped,
    Reverted,
}

use Stage::*;

const STAGES: [Stage; 6] = [Prepared, Copying, Indexing, Ready, Swapped, Reverted];
const CHANGES: &str = "ADD COLUMN phone text";

/// Users with what hangs on them.
fn scene(rows: u32) -> Scene {
    let scene = STAGE.empty();
    make(&scene);
    fill(&scene, rows);
    scene
}

/// What a framework's migrations make.
fn make(scene: &Scene) {
    scene.admin().run(
        "CREATE TABLE users (id bigserial PRIMARY KEY, name text, email text NOT NULL UNIQUE);
         CREATE INDEX users_name ON users (name);
         CREATE STATISTICS users_stats ON name, email FROM users;
         CREATE TABLE posts (id bigint PRIMARY KEY, author bigint REFERENCES users);
         CREATE VIEW names AS SELECT id, name FROM users;
         CREATE FUNCTION label(u users) RETURNS text LANGUAGE sql STABLE AS 'SELECT u.name';
         ALTER TABLE users OWNER TO owner; ALTER TABLE posts OWNER TO owner;
         ALTER VIEW names OWNER TO owner; ALTER FUNCTION label(users) OWNER TO owner;
         GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON users, posts TO app;
         GRANT USAGE ON SEQUENCE users_id_seq TO app",
    );
}

fn fill(scene: &Scene, rows: u32) {
    scene.admin().run(&format!(
        "INSERT INTO users (name, email) SELECT 'name ' || n, n || '@x' FROM generate_series(1, {rows}) n"
    ));
}

/// Drops every table of the application and what hangs on it, as `migrate:fresh` does.
fn drop_all(scene: &Scene) {
    scene.admin().run("DROP TABLE users, posts CASCADE");
    assert_eq!(scene.admin().text("SELECT to_regclass('public.names')"), "");
}

fn bring(scene: &Scene, owner: &mut Person, stage: Stage) {
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    let phase = match stage {
        Prepared => "prepared",
        Copying => "copying",
        Indexing => "indexing",
        Ready | Swapped | Reverted => {
            owner.sync();
            if stage != Ready {
                owner.swap();
            }
            if stage == Reverted {
                owner.revert();
            }
            return;
        }
    };
    while scene.status("phase") != phase {
        owner.run("SELECT bg_backfill('users', '0')");
    }
}

/// What is left in the blue schema, by kind and name.
fn left(scene: &Scene) -> Vec<String> {
    scene.admin().list(
        "SELECT relkind::text || ' ' || relname FROM pg_class
          WHERE relnamespace = to_regnamespace('public_blue') AND relkind IN ('r', 'i', 'S', 'v', 'm')
         UNION ALL SELECT 'f ' || proname FROM pg_proc WHERE pronamespace = to_regnamespace('public_blue')
         UNION ALL SELECT 't ' || stxname FROM pg_statistic_ext WHERE stxnamespace = to_regnamespace('public_blue')
         ORDER BY 1",
    )
}

const KEPT: &[&str] =
    &["i users_email_key_1", "i users_name_1", "i users_pkey_1", "r users_1", "t users_stats_1"];

#[track_caller]
fn assert_ended(scene: &Scene, stage: Stage, told: &[Refusal]) {
    let mut admin = scene.admin();
    let told: Vec<_> = told.iter().map(|notice| notice.message.as_str()).collect();
    let said = told.iter().any(|line| {
        line.contains("ended the deployment of public.users")
            && line.contains("public.users")
            && (stage != Swapped || line.contains("public_blue.users_1"))
    });
    assert!(said, "{stage:?}: {told:?}");
    let history =
        admin.text("SELECT detail FROM bg_history() WHERE deployment = 1 AND step = 'abort'");
    assert_eq!(history.contains("public_blue.users_1"), stage == Swapped, "{stage:?}: {history}");
    assert!(history.contains("public.users"), "{stage:?}: {history}");
    assert_eq!(
        admin.text("SELECT phase FROM bluegreen.deployment WHERE id = 1"),
        "aborted",
        "{stage:?}"
    );
    assert_eq!(admin.int("SELECT count(*) FROM bluegreen.capture WHERE deployment = 1"), 0);
    assert_eq!(admin.text("SELECT to_regclass('bluegreen.forward_1')"), "");
    assert_eq!(admin.text("SELECT to_regnamespace('bluegreen_1')"), "");
}

#[test]
fn tables_that_are_dropped_and_made_anew_are_prepared_again_in_each_phase() {
    for stage in STAGES {
        let scene = scene(300);
        let mut owner = scene.owner();
        bring(&scene, &mut owner, stage);
        scene.app().run("UPDATE users SET name = 'last' WHERE id = 7");
        drop_all(&scene);
        make(&scene);
        fill(&scene, 5);
        let _ = owner.notices();

        owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));

        assert_ended(&scene, stage, &owner.notices());
        owner.run("CALL bg_run('users', 'finished')");
        assert_eq!(scene.app().int("SELECT count(phone) + count(*) FROM users"), 5, "{stage:?}");
        if stage == Swapped {
            assert_eq!(left(&scene), KEPT);
            let mut admin = scene.admin();
            assert_eq!(admin.int("SELECT count(*) FROM public_blue.users_1"), 300);
            // Who owned it may read it, write to it and drop it.
            owner.run("INSERT INTO public_blue.users_1 (id, email) VALUES (1000, 'x')");
            owner.run("DROP TABLE public_blue.users_1");
        }
        assert!(left(&scene).is_empty(), "{stage:?}: {:?}", left(&scene));
        assert!(scene.inventory().with("bluegreen_").is_empty(), "{stage:?}");
    }
}

#[test]
fn all_of_it_may_be_one_transaction() {
    for stage in [Ready, Swapped] {
        let scene = STAGE.users(50);
        let mut owner = scene.owner();
        bring(&scene, &mut owner, stage);
        scene.admin().run("GRANT CREATE ON SCHEMA public TO owner");

        owner.run(&format!(
            "BEGIN; DROP TABLE users CASCADE; CREATE TABLE users (id int PRIMARY KEY);
             SELECT bg_prepare('users', '{CHANGES}'); COMMIT"
        ));

        assert_ended(&scene, stage, &owner.notices());
        owner.run("CALL bg_run('users', 'finished')");
    }
}

#[test]
fn bg_abort_and_bg_finish_do_the_same() {
    for (stage, call) in STAGES.iter().flat_map(|stage| {
        ["bg_abort('users')", "bg_abort(1)", "bg_finish('users')", "bg_finish(1)"]
            .map(|c| (*stage, c))
    }) {
        let scene = scene(20);
        let mut owner = scene.owner();
        bring(&scene, &mut owner, stage);
        drop_all(&scene);
        make(&scene);
        let status = "SELECT last_error || ' ' || next_step FROM bg_status('users')";
        let status = owner.text(status);
        assert!(status.contains("table public.users no longer exists"), "{status}");
        assert!(status.ends_with("SELECT bg_abort(1)"), "{status}");
        let note = owner.text("SELECT message || ' ' || hint FROM bg_check('users')");
        assert!(note.contains("no longer exists") && note.contains("bg_abort(1)"), "{note}");
        let _ = owner.notices();

        assert_eq!(owner.text(&format!("SELECT {call}")), "aborted", "{stage:?} {call}");

        assert_ended(&scene, stage, &owner.notices());
        let kept: &[&str] = if stage == Swapped { KEPT } else { &[] };
        assert_eq!(left(&scene), kept, "{stage:?} {call}");
        owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    }
}

#[test]
fn what_is_dropped_and_not_made_anew_is_told_and_ended_too() {
    for stage in STAGES {
        let scene = scene(20);
        let mut owner = scene.owner();
        bring(&scene, &mut owner, stage);
        drop_all(&scene);
        let mut rows = owner.rows("SELECT last_error, next_step FROM bg_status()");
        let row: Vec<_> = rows.remove(0).into_iter().flatten().collect();
        assert!(row[0].contains("table public.users no longer exists"), "{row:?}");
        assert!(row[1].contains("bg_abort(1)"), "{row:?}");

        owner.run("SELECT bg_abort(1)");

        let back = scene.admin().text("SELECT to_regclass('public.users')");
        assert_eq!(back, if stage == Swapped { "users" } else { "" }, "{stage:?}");
        assert!(left(&scene).is_empty(), "{stage:?}: {:?}", left(&scene));
    }
}

#[test]
fn schemas_that_are_dropped_with_all_that_is_in_them_leave_nothing_behind() {
    for stage in STAGES {
        for dropped in ["shop", "shop_blue", "shop, shop_blue"] {
            let scene = STAGE.empty();
            let mut admin = scene.admin();
            let make = "CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO owner;
                        CREATE TABLE shop.users (id int PRIMARY KEY, name text);
                        ALTER TABLE shop.users OWNER TO owner;
                        INSERT INTO shop.users SELECT n, n FROM generate_series(1, 20) n";
            admin.run(make);
            let mut owner = scene.owner();
            owner.run("SET search_path = shop, public");
            bring_in_shop(&mut owner, stage);
            admin.run(&format!("DROP SCHEMA {dropped} CASCADE"));
            if dropped != "shop_blue" {
                admin.run(make);
            } else if stage == Swapped {
                assert_eq!(owner.text("SELECT bg_finish('users')"), "finished");
                owner.run("ALTER TABLE users DROP COLUMN phone");
            }

            owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));

            owner.run("CALL bg_run('users', 'finished')");
            assert_eq!(admin.int("SELECT count(*) FROM shop.users"), 20, "{stage:?} {dropped}");
            let kept = stage == Swapped && dropped == "shop";
            let there = admin.text("SELECT to_regclass('shop_blue.users_1')");
            assert_eq!(there.is_empty(), !kept, "{stage:?} {dropped}: {there}");
        }
    }
}

fn bring_in_shop(owner: &mut Person, stage: Stage) {
    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));
    match stage {
        Prepared => {}
        Copying | Indexing => owner.run("SELECT bg_backfill('users', '0')"),
        Ready => owner.sync(),
        Swapped => owner.swap(),
        Reverted => {
            owner.swap();
            owner.revert();
        }
    }
}

#[test]
fn an_offline_table_that_was_dropped_is_made_again_by_bg_prepare() {
    for stage in [Prepared, Copying, Indexing, Ready, Reverted] {
        let scene = STAGE.users(50);
        let mut owner = scene.owner();
        bring(&scene, &mut owner, stage);
        scene.admin().run("DROP TABLE public_blue.users CASCADE");
        let status = scene.status("last_error || ' ' || next_step");
        assert!(
            status.contains(
                "table public_blue.users, the offline one of public.users, no longer exists"
            ),
            "{status}"
        );
        let _ = owner.notices();

        owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}, ADD COLUMN fax text')"));

        let told = owner.notices();
        assert!(
            told.iter().any(|n| n.message.contains("ended the deployment of public.users")),
            "{told:?}"
        );
        owner.run("CALL bg_run('users', 'finished')");
        assert_eq!(
            scene.app().int("SELECT count(*) FROM users WHERE fax IS NULL"),
            50,
            "{stage:?}"
        );
    }
}

#[test]
fn whoever_made_the_new_table_must_own_the_deployment_of_the_old_one_too() {
    for stage in [Ready, Swapped] {
        let scene = STAGE.users(20);
        let mut owner = scene.owner();
        bring(&scene, &mut owner, stage);
        scene.admin().run(
            "DROP TABLE users CASCADE; CREATE TABLE users (id int PRIMARY KEY);
             ALTER TABLE users OWNER TO other_owner",
        );
        let mut other = scene.person("other_owner");
        let calls =
            ["bg_prepare('users')", "bg_abort('users')", "bg_finish('users')", "bg_abort(1)"];
        for call in calls {
            let refusal = other.refused(&format!("SELECT {call}"));
            assert_eq!(refusal.code, "42501", "{call}: {refusal:?}");
            refusal.assert_helps();
            refusal.assert_names(&["users"]);
        }
        assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 20);

        // The old one's owner, who does not own the new table, and the superuser can.
        if stage == Ready {
            assert_eq!(owner.text("SELECT bg_abort(1)"), "aborted");
        } else {
            assert_eq!(scene.admin().text("SELECT bg_abort('users')"), "aborted");
        }
        other.run("SELECT bg_prepare('users'); SELECT bg_abort('users')");
    }
}

#[test]
fn names_that_are_long_or_taken_are_found_another() {
    let long = "ü".repeat(31);
    let scene = STAGE.empty();
    let mut admin = scene.admin();
    let make = format!(
        "CREATE TABLE \"{long}\" (id int PRIMARY KEY, \"Mixed \"\"case\" text UNIQUE);
         ALTER TABLE \"{long}\" OWNER TO owner"
    );
    admin.run(&make);
    let mut owner = scene.owner();
    owner.run(&format!("SELECT bg_prepare('\"{long}\"', '')"));
    owner.run(&format!("CALL bg_run('\"{long}\"', 'swapped')"));
    let kept = format!("{}_1", "ü".repeat(30));
    admin.run(&format!(
        "CREATE TYPE public_blue.\"{kept}\" AS ENUM ('taken'); DROP TABLE \"{long}\" CASCADE; {make}"
    ));

    owner.run(&format!("SELECT bg_prepare('\"{long}\"', '')"));

    let kept = format!("{}_1_2", "ü".repeat(29));
    let told = owner.notices();
    assert!(told.iter().any(|notice| notice.message.contains(&kept)), "{told:?}");
    assert_eq!(admin.int(&format!("SELECT count(*) FROM public_blue.\"{kept}\"")), 0);
    owner.run(&format!("CALL bg_run('\"{long}\"', 'finished')"));
}

#[test]
fn what_others_made_over_the_old_views_and_functions_stays_with_them() {
    let scene = scene(20);
    let mut owner = scene.owner();
    bring(&scene, &mut owner, Swapped);
    scene.admin().run(
        "CREATE SCHEMA reports;
         CREATE VIEW reports.over AS SELECT count(*) FROM public_blue.names;
         CREATE VIEW reports.labels AS SELECT public_blue.label(u) FROM public_blue.users u;
         DROP TABLE users, posts CASCADE",
    );
    make(&scene);

    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));

    let mut admin = scene.admin();
    assert_eq!(admin.int("SELECT * FROM reports.over"), 20);
    assert_eq!(admin.int("SELECT count(*) FROM reports.labels"), 20);
    let there = left(&scene);
    assert!(there.contains(&"v names_1".to_owned()), "{there:?}");
    assert!(there.contains(&"f label_1".to_owned()), "{there:?}");
    owner.run("CALL bg_run('users', 'finished')");
}

#[test]
fn a_blue_schema_that_other_deployments_use_stays_with_what_is_theirs() {
    let scene = STAGE.users(20);
    scene.table("orders", "id int PRIMARY KEY, note text");
    scene.app().run("INSERT INTO orders VALUES (1, 'x')");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('orders', 'ADD COLUMN n int'); ");
    owner.run("CALL bg_run('orders', 'swapped')");
    bring(&scene, &mut owner, Swapped);
    scene.admin().run("DROP TABLE users CASCADE");
    scene.add_users(3);

    owner.run(&format!("SELECT bg_prepare('users', '{CHANGES}')"));

    scene.app().run("UPDATE orders SET note = 'y'");
    owner.run("CALL bg_run('orders', 'swapped')");
    assert_eq!(owner.text("SELECT bg_revert('orders')"), "ready");
    assert_eq!(scene.app().text("SELECT note FROM orders"), "y");
    owner.run("CALL bg_run('users', 'finished'); ");
}

#[test]
fn a_table_that_was_renamed_is_not_gone() {
    let scene = STAGE.users(20);
    let mut owner = scene.owner();
    bring(&scene, &mut owner, Ready);
    scene.admin().run("ALTER TABLE users RENAME TO people; CREATE TABLE users (id int PRIMARY KEY); ALTER TABLE users OWNER TO owner");

    let refusal = owner.refused("SELECT bg_prepare('users')");

    refusal.assert_is("55000", &["the deployment of another table", "users"]);
    assert_eq!(scene.admin().int("SELECT count(*) FROM public_blue.users"), 20);
    owner.run("SELECT bg_abort(1); SELECT bg_prepare('users')");
    assert_eq!(scene.admin().int("SELECT count(*) FROM people"), 20);
}
