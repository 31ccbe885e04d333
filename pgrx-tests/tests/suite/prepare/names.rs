//! Names that two objects would have in one schema.

use crate::story::{Stage, stage};

static STAGE: Stage = stage!();

/// Two deployments that would build an index of one name in one schema.
#[test]
fn an_index_name_of_another_deployment_is_refused() {
    let scene = STAGE.empty();
    scene.table("one", "id int PRIMARY KEY, n int");
    scene.table("two", "id int PRIMARY KEY, n int");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('one', 'ADD CONSTRAINT n_key UNIQUE (n)')");
    let refusal = owner.refused("SELECT bg_prepare('two', 'ADD CONSTRAINT n_key UNIQUE (n)')");
    refusal.assert_is("42P07", &["n_key", "public.one"]);
    owner.run("SELECT bg_prepare('two', 'ADD CONSTRAINT two_n_key UNIQUE (n)')");
    owner.run("CALL bg_run('one', 'finished')");
    owner.run("CALL bg_run('two', 'finished')");
}

/// Extended statistics need not be in the schema of their table; their copies come to one schema.
#[test]
fn statistics_of_one_name_in_two_schemas_are_refused_by_name() {
    let scene = STAGE.empty();
    scene.table("points", "id int PRIMARY KEY, a int, b int, c int");
    scene.admin().run(
        "CREATE SCHEMA \"it's\"; CREATE STATISTICS pair ON a, b FROM points;
         CREATE STATISTICS \"it's\".pair ON b, c FROM points",
    );
    let before = scene.inventory();
    let mut owner = scene.owner();
    let refusal = owner.refused("SELECT bg_prepare('points')");
    refusal.assert_is("42710", &["public.pair", "it's", "points"]);
    before.assert_same(&scene.inventory());
    let told = "SELECT object FROM bg_check('points') WHERE code = 'statistics_name'";
    assert!(owner.text(told).contains("it's"));
    scene.admin().run("ALTER STATISTICS \"it's\".pair RENAME TO other");
    owner.run("SELECT bg_prepare('points')");
    owner.run("CALL bg_run('points', 'swapped')");
    let places =
        "SELECT string_agg(stxnamespace::regnamespace || '.' || stxname, ' ' ORDER BY stxname)
                    FROM pg_statistic_ext WHERE stxrelid = 'points'::regclass";
    assert_eq!(owner.text(places), "\"it's\".other public.pair");
    owner.run("SELECT bg_revert('points')");
    assert_eq!(owner.text(places), "\"it's\".other public.pair");
}

/// Two tables of one schema whose statistics are in different schemas, under one name.
#[test]
fn statistics_of_two_deployments_do_not_meet_in_the_blue_schema() {
    let scene = STAGE.empty();
    scene.table("one", "id int PRIMARY KEY, a int, b int");
    scene.table("two", "id int PRIMARY KEY, a int, b int");
    scene.admin().run(
        "CREATE SCHEMA there; CREATE STATISTICS pair ON a, b FROM one;
         CREATE STATISTICS there.pair ON a, b FROM two",
    );
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('one')");
    let refusal = owner.refused("SELECT bg_prepare('two')");
    refusal.assert_is("42710", &["pair", "public.two", "public_blue"]);
    refusal.assert_helps();
    // Also when those of the first are live, and their originals in the blue schema.
    owner.run("CALL bg_run('one', 'swapped')");
    owner.refused("SELECT bg_prepare('two')").assert_is("42710", &["pair", "public.two"]);
    owner.run("SELECT bg_finish('one')");
    owner.run("SELECT bg_prepare('two')");
    owner.run("CALL bg_run('two', 'finished')");
}

/// The server calls the array type of `users` `_users` where no other type has that name.
#[test]
fn a_type_that_has_the_usual_name_of_an_array_type_is_in_nobodys_way() {
    let scene = STAGE.users(20);
    scene.table("_users", "id int PRIMARY KEY");
    scene.admin().run(
        "CREATE TYPE _names AS ENUM ('taken');
         CREATE VIEW names AS SELECT id, name FROM users; ALTER VIEW names OWNER TO owner",
    );
    let arrays = "SELECT string_agg(r.typname || ' ' || a.typname, ', ' ORDER BY r.typname)
                    FROM pg_type r JOIN pg_type a ON a.oid = r.typarray
                   WHERE r.typnamespace = 'public'::regnamespace AND r.typrelid <> 0
                     AND r.typname IN ('users', '_users', 'names')";
    let before = scene.admin().text(arrays);
    // How it is called instead depends on the version.
    assert!(!before.contains("names _names,") && !before.ends_with("users _users"), "{before}");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    // Its copy has the name that the array type of the other copy would have.
    owner.run("SELECT bg_prepare('_users', 'ADD COLUMN x int')");
    owner.run("CALL bg_run('_users')");
    for until in ["swapped", "reverted", "swapped", "finished"] {
        owner.run(&format!("CALL bg_run('users', '{until}')"));
        assert_eq!(scene.admin().text(arrays), before, "{until}");
    }
    owner.run("CALL bg_run('_users', 'finished')");
    assert_eq!(scene.admin().text(arrays), before);
    assert_eq!(owner.int("SELECT count(*) FROM names"), 20);
}

/// A type that is made later gets the name, and the live table's array type another one.
#[test]
fn a_type_that_takes_the_name_of_an_array_type_during_a_deployment_is_in_nobodys_way() {
    let scene = STAGE.users(20);
    scene
        .admin()
        .run("CREATE VIEW names AS SELECT id, name FROM users; ALTER VIEW names OWNER TO owner");
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    scene.admin().run("CREATE TYPE _users AS ENUM ('x'); CREATE TYPE _names AS ENUM ('y')");
    owner.run("CALL bg_run('users', 'swapped')");
    let mut admin = scene.admin();
    admin.run("DROP TYPE _users");
    admin.run("CREATE TABLE _users (id int)");
    owner.run("CALL bg_run('users', 'reverted')");
    owner.run("CALL bg_run('users', 'swapped')");
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(owner.int("SELECT count(*) FROM names"), 20);
}
