//! Sessions that live on with the old row type, and OIDs that are kept outside of the catalogs: foretold, and
//! said by the swap.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use story::{Person, Scene};

const CHANGES: &str = "ADD COLUMN phone text";

/// What bg_check says under a code: objects, in order.
fn foretold(owner: &mut Person, code: &str) -> Vec<String> {
    owner.list(&format!(
        "SELECT object FROM bg_check('users', '{CHANGES}') WHERE code = '{code}' ORDER BY 1"
    ))
}

#[test]
fn a_function_that_uses_the_row_type_is_foretold_and_named_by_the_swap() {
    let scene = Scene::users(10);
    let mut admin = scene.admin();
    for (name, body) in [
        (
            "arrays",
            "DECLARE r users[]; BEGIN SELECT array_agg(u) INTO r FROM users u; RETURN r[1].email; END",
        ),
        ("old_arrays", "DECLARE r public.users ARRAY; BEGIN RETURN r[1].email; END"),
        ("rows", "DECLARE r Users%ROWTYPE; BEGIN RETURN r.email; END"),
        ("declared", "DECLARE \"R\" CONSTANT \"users\" := NULL; BEGIN RETURN 1; END"),
        ("cast_", "BEGIN RETURN (jsonb_populate_record(NULL::users, '{}')).email; END"),
        ("cast_as", "BEGIN RETURN (CAST(NULL AS public.users)).email; END"),
    ] {
        admin.run(&format!(
            "CREATE FUNCTION \"Uses {name}\"() RETURNS text LANGUAGE plpgsql AS $f$ {body} $f$"
        ));
    }
    admin.run(
        "CREATE FUNCTION takes(u users) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN u.name; END $$;
         CREATE FUNCTION only_reads() RETURNS bigint LANGUAGE plpgsql AS
             $$ DECLARE n bigint; BEGIN
                DELETE FROM users; UPDATE users SET id = 1; INSERT INTO users VALUES (1);
                SELECT count(*) INTO n FROM users; TRUNCATE users; LOCK TABLE users; RETURN n; END $$;
         CREATE FUNCTION other_name() RETURNS text LANGUAGE plpgsql AS
             $$ DECLARE r superusers[]; users_of text; BEGIN RETURN NULL::my_users; END $$;",
    );
    let mut owner = scene.owner();

    let found = foretold(&mut owner, "row_type_kept");

    let expected: Vec<String> = ["arrays", "cast_", "cast_as", "declared", "old_arrays", "rows"]
        .iter()
        .map(|name| format!("public.\"Uses {name}\"()"))
        .chain(["public.takes(public.users)".to_owned()])
        .collect();
    assert_eq!(found, expected);
    let said = owner.text(&format!(
        "SELECT message || hint FROM bg_check('users', '{CHANGES}') WHERE object = 'public.\"Uses arrays\"()'"
    ));
    assert!(said.contains("reconnect") && said.contains("DISCARD"), "{said}");
    owner.make_ready(CHANGES);
    owner.notices();
    owner.run("SELECT bg_swap('users')");
    let notices: Vec<_> = owner.notices().into_iter().map(|n| n.message).collect();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(
        notices[0].contains("public.takes(public.users), public.\"Uses arrays\"()"),
        "{notices:?}"
    );
    assert!(notices[0].contains("and 2 more") && notices[0].contains("reconnect"), "{notices:?}");
    owner.run("SELECT bg_revert('users')");
    assert!(owner.notices().iter().any(|n| n.message.contains("have to reconnect")));
}

#[test]
fn reconnecting_is_what_helps_a_session_with_the_old_row_type() {
    let scene = Scene::empty();
    scene.table("users", "id int PRIMARY KEY, nick text, mail text, city text");
    scene.admin().run(
        "INSERT INTO users VALUES (1, 'nick', 'mail', 'city');
         CREATE FUNCTION first_mail() RETURNS text LANGUAGE plpgsql AS
             $$ DECLARE r users[]; BEGIN SELECT array_agg(u) INTO r FROM users u; RETURN r[1].mail; END $$",
    );
    let mut stays = scene.app();
    assert_eq!(stays.text("SELECT first_mail()"), "mail");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('users', 'DROP COLUMN nick, ADD COLUMN phone text')");

    owner.run("CALL bg_run('users', 'swapped')");

    assert!(owner.notices().iter().any(|n| n.message.contains("public.first_mail()")));
    stays.run("DISCARD ALL");
    assert_eq!(stays.text("SELECT first_mail()"), "city", "the warning may be taken back");
    assert_eq!(scene.app().text("SELECT first_mail()"), "mail");
    owner.run("SELECT bg_finish('users')");
    assert_eq!(scene.app().text("SELECT first_mail()"), "mail");
}

#[test]
fn a_table_whose_row_type_nobody_uses_is_swapped_without_a_word() {
    let scene = Scene::users(10);
    let mut owner = scene.owner();
    assert_eq!(foretold(&mut owner, "row_type_kept"), Vec::<String>::new());
    owner.make_ready(CHANGES);
    owner.notices();

    owner.run("SELECT bg_swap('users')");

    assert_eq!(owner.notices(), Vec::new());
}
