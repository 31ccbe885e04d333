//! The extension itself: what is installed, and what fails.

use super::STAGE;
use super::{catalogs, fixture};

const UPDATE: &str = "ALTER EXTENSION pg_bluegreen UPDATE TO '0.2.0'";

#[test]
fn an_upgraded_0_1_0_has_exactly_what_a_fresh_installation_has() {
    let fresh = fixture::empty(STAGE.cluster(), "fresh");
    fresh.admin().run("CREATE EXTENSION pg_bluegreen");
    let upgraded = fixture::empty(STAGE.cluster(), "upgraded");
    // The server looks up every C function that the script names.
    upgraded.admin().run("CREATE EXTENSION pg_bluegreen VERSION '0.1.0'");
    let before = catalogs::take(&upgraded);
    upgraded.admin().run(UPDATE);

    let (fresh, upgraded) = (catalogs::take(&fresh), catalogs::take(&upgraded));

    for kind in [
        "member: table",
        "column",
        "index",
        "constraint",
        "sequence",
        "view",
        "function",
        "comment",
        "privilege on",
        "privilege at first",
    ] {
        assert!(fresh.iter().any(|line| line.starts_with(kind)), "nothing said of {kind}");
    }
    assert_ne!(before, upgraded, "the upgrade did nothing that is seen");
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    assert_eq!(only(&fresh, &upgraded), [""; 0], "only a fresh installation has it");
    assert_eq!(only(&upgraded, &fresh), [""; 0], "only an upgraded one has it");
    assert_eq!(fresh.len(), upgraded.len());
}

#[test]
fn the_upgrade_works_where_the_extension_is_in_a_schema_of_its_own() {
    let scene = fixture::empty(STAGE.cluster(), "elsewhere");
    let mut admin = scene.admin();
    admin.run("CREATE SCHEMA tools; CREATE EXTENSION pg_bluegreen VERSION '0.1.0' SCHEMA tools");
    admin.run(UPDATE);
    assert_eq!(admin.int("SELECT count(*) FROM tools.bg_status()"), 0);
    assert_eq!(admin.int("SELECT count(child) FROM tools.bg_misfits()"), 0);
    admin.run("DROP EXTENSION pg_bluegreen");
}

#[test]
fn views_of_users_on_bg_status_are_named_and_those_on_bg_misfits_stay() {
    let scene = fixture::empty(STAGE.cluster(), "views");
    let mut admin = scene.admin();
    admin.run(
        "CREATE EXTENSION pg_bluegreen VERSION '0.1.0';
         CREATE VIEW phases AS SELECT source, phase FROM bg_status();
         CREATE VIEW wrong AS SELECT source, error FROM bg_misfits",
    );

    let refusal = admin.refused(UPDATE);

    assert_eq!(refusal.code, "2BP01", "{refusal:?}");
    assert!(refusal.detail.contains("phases"), "{refusal:?}");
    assert_eq!(
        admin.text("SELECT extversion FROM pg_extension WHERE extname = 'pg_bluegreen'"),
        "0.1.0"
    );
    assert_eq!(admin.int("SELECT count(*) FROM phases"), 0);
    admin.run("DROP VIEW phases");
    admin.run(UPDATE);
    admin.run("CREATE VIEW phases AS SELECT source, phase FROM bg_status()");
    assert_eq!(admin.int("SELECT count(*) FROM phases, wrong"), 0);
}

#[test]
fn what_a_later_version_wrote_is_refused_and_the_library_is_named() {
    let scene = STAGE.users(5);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    let mut admin = scene.admin();
    let versions = "SELECT (plan->>'version') || (progress->>'version') FROM bluegreen.deployment";
    assert_eq!(admin.text(versions), "22");
    for part in ["plan", "progress"] {
        for version in ["3", "\"new\""] {
            admin.run(&format!(
                "UPDATE bluegreen.deployment SET {part} = {part} || '{{\"version\": {version}, \"novel\": {{}}}}'"
            ));
            for call in [
                "SELECT bg_status('users')",
                "SELECT bg_status()",
                "CALL bg_run('users')",
                "SELECT bg_swap('users')",
                "SELECT bg_abort('users')",
                "SELECT bg_prepare('users', 'ADD COLUMN phone text')",
            ] {
                let refusal = owner.refused(call);
                refusal.assert_is("55000", &["public.users", "later version of pg_bluegreen"]);
                assert!(refusal.hint.contains("Update the library"), "{refusal:?}");
            }
            scene.app().run("UPDATE users SET name = 'written' WHERE id = 1");
            admin.run(&format!(
                "UPDATE bluegreen.deployment SET {part} = {part} || '{{\"version\": 2}}'"
            ));
        }
    }
    owner.swap();
}
