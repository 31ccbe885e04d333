//! The settings before the library is loaded, and what loads it (docs/operators.md, "Settings and the library").

use crate::story::{Stage, stage};

static STAGE: Stage = stage!();

const LOAD: &str = "SELECT count(*) FROM bg_help()";

#[test]
fn a_session_that_preloads_the_library_knows_its_settings_from_the_first_statement() {
    let scene = STAGE.users(5);
    let mut admin = scene.admin();
    let database = &scene.database;
    admin.run(&format!("ALTER DATABASE {database} SET session_preload_libraries = 'pg_bluegreen'"));
    let mut owner = scene.owner();
    assert_eq!(owner.text("SHOW bluegreen.nice"), "0");
    let refusal = owner.refused("SET bluegreen.nixe = 1");
    assert_eq!(refusal.code, "42602", "{refusal:?}");
    assert_eq!(owner.refused("SET bluegreen.nice = 'very'").code, "22023");
    owner.run(&format!("ALTER ROLE owner IN DATABASE {database} SET bluegreen.nice = 3"));
    assert_eq!(scene.owner().text("SHOW bluegreen.nice"), "3");
    assert_eq!(scene.app().text("SHOW bluegreen.nice"), "0");
    scene.owner().make_ready("ADD COLUMN phone text");
}

#[test]
fn a_role_stores_a_setting_once_a_function_of_ours_has_loaded_the_library() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    let store =
        format!("ALTER ROLE owner IN DATABASE {} SET bluegreen.batch_time = '7ms'", scene.database);
    assert_eq!(owner.refused("SHOW bluegreen.batch_time").code, "42704");
    assert_eq!(owner.refused(&store).code, "42501");
    owner.run(LOAD);
    owner.run(&store);
    // It counts for a session that has not loaded the library, and from the moment that it does.
    let mut next = scene.owner();
    assert_eq!(next.text("SHOW bluegreen.batch_time"), "7ms");
    next.run(LOAD);
    assert_eq!(next.text("SHOW bluegreen.batch_time"), "7ms");
    // Every function of ours that is written in C does it, and those over them.
    for call in ["SELECT * FROM bg_status()", "SELECT bg_progress()", "SELECT bg_prepare('users')"]
    {
        let mut person = scene.owner();
        assert_eq!(person.refused("SHOW bluegreen.nice").code, "42704", "{call}");
        person.run(call);
        assert_eq!(person.text("SHOW bluegreen.nice"), "0", "{call}");
    }
    // Those that only read our tables do not need it.
    for call in ["SELECT * FROM bg_history()", "SELECT * FROM bg_misfits()"] {
        let mut person = scene.owner();
        person.run(call);
        assert_eq!(person.refused("SHOW bluegreen.nice").code, "42704", "{call}");
    }
}

#[test]
fn what_was_mistyped_before_the_library_was_loaded_is_told_when_it_is() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    owner.run(
        "SET bluegreen.nixe = 1; SET bluegreen.nice = 'very'; SET bluegreen.batch_time = '7ms'",
    );
    owner.notices();
    owner.run(LOAD);
    let told: Vec<_> = owner.notices().into_iter().map(|notice| notice.message).collect();
    assert!(told.iter().any(|line| line.contains("bluegreen.nixe")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("bluegreen.nice")), "{told:?}");
    assert_eq!(owner.text("SHOW bluegreen.nice"), "0");
    assert_eq!(owner.text("SHOW bluegreen.batch_time"), "7ms");
    assert_eq!(owner.refused("SHOW bluegreen.nixe").code, "42704");
}

/// Whatever the server's environment says.
#[test]
fn no_error_has_a_backtrace() {
    let scene = crate::story::Scene::in_cluster(crate::story::own(crate::story::new_cluster(
        &bluegreen_tests::cluster::Options::default(),
    )));
    scene.add_users(5);
    scene.cluster.restart_with(&[("RUST_BACKTRACE", "1"), ("RUST_LIB_BACKTRACE", "full")]).unwrap();
    let mut owner = scene.owner();
    for call in [
        "SELECT bg_swap('users')",
        "SELECT bg_prepare('users', 'ADD COLUMN name text')",
        "SELECT bg_prepare('users', 'ADD CHECK (nothing > 0)')",
        "SELECT bg_prepare('users', forward => '[]')",
        "CALL bg_run('users', 'nowhere')",
    ] {
        let refusal = owner.refused(call);
        for word in ["pgrx", "backtrace", ".rs:", "0:"] {
            assert!(!refusal.detail.contains(word), "{call}: {refusal:?}");
        }
    }
    let log = std::fs::read_to_string(scene.cluster.log_file()).unwrap();
    assert!(!log.contains("std::backtrace") && !log.contains("pgrx"), "{log}");
}
