//! Keys that another type, collation or length takes for equal: refused, or never merged in silence.

use crate::story::{Scene, Stage, stage};

static STAGE: Stage = stage!();

const CI: &str =
    "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";

/// A table `t` with the key `k` of a type.
fn table(key: &str, setup: &str) -> Scene {
    let scene = STAGE.empty();
    scene.admin().run(&format!("CREATE EXTENSION citext; {CI}; {setup}"));
    scene.table("t", &format!("k {key} PRIMARY KEY, n int"));
    scene
}

/// bg_prepare and bg_check refuse, naming the key and which side is the coarser.
#[track_caller]
fn assert_refused(scene: &Scene, arguments: &str, coarser: &str) {
    let mut owner = scene.owner();
    let refusal = owner.refused(&format!("SELECT bg_prepare('t', {arguments})"));
    refusal.assert_is("55000", &["key (k)", &format!("coarser in the {coarser} table")]);
    assert!(refusal.hint.contains("key =>") && refusal.detail.contains('k'), "{refusal:?}");
    let checked = owner
        .list(&format!("SELECT message FROM bg_check('t', {arguments}) WHERE severity = 'error'"));
    assert!(
        checked.iter().any(|line| line.contains(&format!("coarser in the {coarser} table"))),
        "{arguments}: {checked:?}"
    );
    assert_eq!(scene.admin().int("SELECT count(*) FROM bluegreen.deployment"), 0);
}

#[test]
fn a_key_that_gets_a_coarser_equality_is_refused() {
    for (before, after) in [
        ("text", "citext"),
        ("varchar(10)", "citext"),
        ("text", "text COLLATE ci"),
        ("varchar(10)", "varchar(4)"),
        ("text", "varchar(4)"),
        ("text", "folded"),
    ] {
        let scene = table(before, "CREATE DOMAIN folded AS citext");
        scene.admin().run(
            "GRANT ALL ON SCHEMA public TO owner; INSERT INTO t VALUES ('Bob', 1), ('bob', 2)",
        );
        let change = format!("'ALTER COLUMN k TYPE {after}'");
        assert_refused(&scene, &change, "new");
        scene.owner().run(&format!("CREATE TABLE made (k {after} PRIMARY KEY, n int)"));
        assert_refused(&scene, "target => 'made'", "new");
        assert_eq!(scene.admin().int("SELECT count(*) FROM t"), 2);
    }
}

#[test]
fn a_key_that_loses_a_coarser_equality_is_refused() {
    for (before, after) in
        [("citext", "text"), ("text COLLATE ci", "text COLLATE \"C\""), ("citext", "varchar")]
    {
        let scene = table(before, "");
        scene.admin().run("GRANT ALL ON SCHEMA public TO owner; INSERT INTO t VALUES ('Bob', 1)");
        assert_refused(&scene, &format!("'ALTER COLUMN k TYPE {after}'"), "old");
        scene.owner().run(&format!("CREATE TABLE made (k {after} PRIMARY KEY, n int)"));
        assert_refused(&scene, "target => 'made'", "old");
    }
}

/// An index by another collation than its column's takes more for equal, or less, than a comparison of
/// the column does.
#[test]
fn an_index_with_a_collation_of_its_own_is_looked_at_and_not_its_column() {
    let scene = STAGE.empty();
    scene.admin().run(&format!("{CI}; GRANT ALL ON SCHEMA public TO owner"));
    scene.table("t", "k text NOT NULL, n int");
    scene
        .admin()
        .run("CREATE UNIQUE INDEX t_k ON t (k); INSERT INTO t VALUES ('Bob', 1), ('bob', 2)");
    let mut owner = scene.owner();
    owner.run("CREATE TABLE made (k text NOT NULL, n int); CREATE UNIQUE INDEX made_k ON made (k COLLATE ci)");
    let refusal = owner.refused("SELECT bg_prepare('t', target => 'made')");
    assert_eq!(refusal.code, "55000", "{refusal:?}");

    scene.table("odd", "k text COLLATE ci NOT NULL, n int");
    scene.admin().run("CREATE UNIQUE INDEX odd_k ON odd (k COLLATE \"C\"); INSERT INTO odd VALUES ('Bob', 1), ('bob', 2)");
    let refusal = owner.refused("SELECT bg_prepare('odd', 'ADD COLUMN x int')");
    assert_eq!(refusal.code, "55000", "{refusal:?}");
}

/// ON CONFLICT means every unique index on the column, also the coarser one.
#[test]
fn a_second_index_that_takes_more_for_equal_makes_misfits_and_no_merge() {
    let scene = STAGE.empty();
    scene.admin().run(&format!("{CI}; GRANT ALL ON SCHEMA public TO owner"));
    scene.table("t", "k text PRIMARY KEY, n int");
    scene.admin().run("INSERT INTO t VALUES ('Bob', 1)");
    let mut owner = scene.owner();
    owner.run(
        "CREATE TABLE made (k text PRIMARY KEY, n int); CREATE UNIQUE INDEX made_ci ON made (k COLLATE ci);
         SELECT bg_prepare('t', target => 'made')",
    );
    owner.run("CALL bg_run('t')");
    scene.app().run("INSERT INTO t VALUES ('bob', 2)");
    owner.run("CALL bg_run('t')");

    assert_eq!(scene.admin().text("SELECT misfits FROM bg_status('t')"), "1");
    assert_eq!(scene.admin().text("SELECT string_agg(k || n, ' ') FROM public_blue.t"), "Bob1");
}

#[test]
fn a_key_that_is_the_same_bits_or_the_same_number_may_change_its_type() {
    for (before, after, more) in [
        ("integer", "bigint", ""),
        ("bigint", "smallint", ""),
        ("text", "varchar", ""),
        ("varchar(10)", "text", ""),
        ("varchar(4)", "varchar(10)", ""),
        ("text", "text COLLATE \"C\"", ""),
        ("citext", "citext", ", ADD COLUMN x int"),
        ("text COLLATE ci", "text COLLATE ci", ", ADD COLUMN x int"),
        ("char(5)", "char(5)", ", ADD COLUMN x int"),
        ("numeric", "numeric", ", ADD COLUMN x int"),
        ("numeric(10,2)", "numeric", ""),
        ("uuid", "uuid", ", ADD COLUMN x int"),
        ("tag", "tag", ", ADD COLUMN x int"),
        ("tag", "varchar(8)", ""),
    ] {
        let scene = table(before, "CREATE DOMAIN tag AS varchar(4)");
        let mut owner = scene.owner();
        let call = format!("SELECT bg_prepare('t', 'ALTER COLUMN k TYPE {after}{more}')");
        match owner.try_run(&call) {
            Ok(()) => {}
            // The way back rounds.
            Err(refusal) if before == "numeric(10,2)" => assert_eq!(refusal.code, "55000"),
            Err(refusal) => panic!("{before} to {after}: {refusal:?}"),
        }
    }
}

#[test]
fn another_key_of_the_table_that_is_exact_is_taken_by_itself() {
    let scene = STAGE.empty();
    scene.admin().run("CREATE EXTENSION citext");
    scene.table("t", "k text PRIMARY KEY, n int NOT NULL UNIQUE");
    scene.admin().run("INSERT INTO t VALUES ('Bob', 1)");
    let mut owner = scene.owner();
    owner.run("SELECT bg_prepare('t', 'ALTER COLUMN k TYPE citext')");
    owner.run("CALL bg_run('t')");
    scene.app().run("INSERT INTO t VALUES ('bob', 2)");
    owner.run("CALL bg_run('t')");

    assert_eq!(scene.admin().text("SELECT misfits FROM bg_status('t')"), "1");
    owner.refused("SELECT bg_swap('t')").assert_is("55000", &["1 row of", "public.t"]);
}

/// The way back cuts blanks off: what would be cut stays a misfit.
#[test]
fn a_longer_key_never_becomes_another_one_on_the_way_back() {
    for (before, after) in
        [("varchar(4)", "varchar(10)"), ("varchar(4)", "text"), ("tag", "varchar(10)")]
    {
        let scene = table(before, "CREATE DOMAIN tag AS varchar(4)");
        scene.admin().run("INSERT INTO t VALUES ('aa', 1), ('aa  ', 2)");
        let mut owner = scene.owner();
        owner.run(&format!("SELECT bg_prepare('t', 'ALTER COLUMN k TYPE {after}')"));
        owner.run("CALL bg_run('t', 'swapped')");
        scene.app().run("INSERT INTO t VALUES ('aa   ', 3), ('bb   ', 4), ('cc  ', 5); UPDATE t SET n = 22 WHERE k = 'aa  '");
        owner.run("CALL bg_run('t', 'swapped')");

        let misfits =
            "SELECT string_agg((key->>'k') || sqlstate, ',' ORDER BY key->>'k') FROM bg_misfits()";
        assert_eq!(owner.text(misfits), "aa   22001,bb   22001", "{before}");
        let old = "SELECT string_agg(k || n, ',' ORDER BY n) FROM public_blue.t";
        assert_eq!(scene.admin().text(old), "aa1,cc  5,aa  22");
        assert_eq!(scene.admin().list("SELECT problem FROM bg_verify('t')"), [""; 0]);
        owner.refused("SELECT bg_revert('t')").assert_is("55000", &["2 rows"]);
        owner.run("SELECT bg_revert('t', misfits => 'set_aside')");
        let live = "SELECT string_agg(k || n, ',' ORDER BY n) FROM t";
        assert_eq!(scene.admin().text(live), "aa1,cc  5,aa  22");
        owner.run("CALL bg_run('t')");
        assert_eq!(scene.admin().list("SELECT problem FROM bg_verify('t')"), [""; 0]);
    }
}

/// Expressions of the user's are trusted; a merge is found before the swap.
#[test]
fn two_rows_that_an_expression_makes_one_are_found_by_the_verification_before_the_swap() {
    let scene = STAGE.empty();
    scene.table("t", "id int PRIMARY KEY, v text");
    scene.admin().run("INSERT INTO t SELECT n * 2, 'x' FROM generate_series(1, 20) n");
    let mut owner = scene.owner();
    owner.run(
        r#"SELECT bg_prepare('t', 'ADD COLUMN note text', forward => '{"id": "id / 2"}', reverse => '{"id": "id * 2"}')"#,
    );
    owner.run("CALL bg_run('t')");
    scene.app().run("INSERT INTO t VALUES (5, 'x')");
    owner.run("CALL bg_run('t')");
    assert_eq!(scene.admin().text("SELECT misfits FROM bg_status('t')"), "0");

    let refusal = owner.refused("CALL bg_run('t', 'swapped')");

    refusal.assert_is("55000", &["1 row ", "public.t"]);
    assert_eq!(owner.list("SELECT key::text FROM bg_differences()"), [r#"{"id": 5}"#]);
    assert_eq!(scene.admin().int("SELECT count(*) FROM t"), 21);
}
