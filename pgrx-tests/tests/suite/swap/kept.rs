//! Sessions that live on with the old row type, and OIDs that are kept outside of the catalogs: foretold, and
//! said by the swap.

use crate::story::{Person, Stage, stage};

static STAGE: Stage = stage!();

const CHANGES: &str = "ADD COLUMN phone text";

/// What bg_check says under a code: objects, in order.
fn foretold(owner: &mut Person, code: &str) -> Vec<String> {
    owner.list(&format!(
        "SELECT object FROM bg_check('users', '{CHANGES}') WHERE code = '{code}' ORDER BY 1"
    ))
}

#[test]
fn a_function_that_uses_the_row_type_is_foretold_and_named_by_the_swap() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run("CREATE TYPE superusers AS (a int); CREATE TYPE my_users AS (a int)");
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
             $$ DECLARE r superusers[]; users_of text; BEGIN RETURN NULL::my_users; END $$",
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
    let scene = STAGE.empty();
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
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    assert_eq!(foretold(&mut owner, "row_type_kept"), Vec::<String>::new());
    owner.make_ready(CHANGES);
    owner.notices();

    owner.run("SELECT bg_swap('users')");

    let told: Vec<_> = owner.notices().into_iter().map(|notice| notice.message).collect();
    assert_eq!(told.len(), 1, "what comes next: {told:?}");
    assert!(told[0].starts_with("after the swap of public.users") && !told[0].contains("row type"));
}

/// What bg_check says of kept OIDs: severity, object, and what is said of it.
fn kept(owner: &mut Person) -> Vec<(String, String, String)> {
    let rows = owner.rows(&format!(
        "SELECT severity, object, message FROM bg_check('users', '{CHANGES}') WHERE code = 'oid_kept' ORDER BY 2"
    ));
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    rows.iter().map(|row| (text(&row[0]), text(&row[1]), text(&row[2]))).collect()
}

/// Asserts that something is warned of, and what is said of it.
#[track_caller]
fn assert_warned(found: &[(String, String, String)], object: &str, words: &[&str]) {
    let of_it = found.iter().find(|(severity, o, _)| severity == "warning" && o == object);
    let (_, _, message) = of_it.unwrap_or_else(|| panic!("no {object} in {found:?}"));
    for word in words {
        assert!(message.contains(word), "no {word} in {message}");
    }
}

#[test]
fn rows_that_hold_oids_of_the_table_are_foretold_by_table_and_column() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run(
        "CREATE VIEW names AS SELECT id, name FROM users;
         CREATE FUNCTION takes(u users) RETURNS text LANGUAGE sql AS 'SELECT u.name';
         CREATE DOMAIN rel AS regclass; CREATE DOMAIN rels AS regclass[];
         CREATE SCHEMA \"Else where\";
         CREATE TABLE \"Else where\".\"Watch\"\"ed\" (gone int, \"Rel\"\"s\" regclass);
         ALTER TABLE \"Else where\".\"Watch\"\"ed\" DROP COLUMN gone;
         INSERT INTO \"Else where\".\"Watch\"\"ed\" VALUES ('pg_class'), ('users'), ('names'), ('users');
         CREATE TABLE types (t regtype, ts regtype[]);
         INSERT INTO types VALUES ('users', '{int,text}'), ('int', NULL);
         CREATE TABLE many (i regclass[], p regprocedure, n oid, d rel, ds rels, dd rel[], nothing oid, number int);
         INSERT INTO many VALUES ('{users_email_key,NULL}', 'takes(users)', 'users'::regclass, 'users',
             '{names}', '{users_pkey}', 1, 1);
         CREATE MATERIALIZED VIEW copied AS SELECT 'public.users'::text::regclass AS m;
         CREATE MATERIALIZED VIEW empty AS SELECT 'public.users'::text::regclass AS m WITH NO DATA;
         CREATE TABLE parted (rel regclass) PARTITION BY LIST (rel);
         CREATE TABLE part PARTITION OF parted DEFAULT; INSERT INTO parted VALUES ('users');
         CREATE TABLE hidden (rel regclass); INSERT INTO hidden VALUES ('users');
         ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
         ALTER TABLE hidden OWNER TO other_owner;
         CREATE TABLE shut (rel regclass); INSERT INTO shut VALUES ('users');
         ALTER TABLE shut OWNER TO other_owner; REVOKE ALL ON shut FROM other_owner;
         CREATE TABLE large (rel regclass); ALTER TABLE large SET (autovacuum_enabled = off);
         CREATE TABLE large_indexed (rel regclass); ALTER TABLE large_indexed SET (autovacuum_enabled = off);
         INSERT INTO large SELECT 'users' FROM generate_series(1, 100001);
         INSERT INTO large_indexed SELECT CASE n WHEN 77 THEN 'users' ELSE 'pg_class' END::regclass
             FROM generate_series(1, 100001) n;
         CREATE INDEX ON large_indexed (rel); ANALYZE large; ANALYZE large_indexed",
    );
    let mut owner = scene.owner();

    let found = kept(&mut owner);

    assert_warned(
        &found,
        "\"Else where\".\"Watch\"\"ed\".\"Rel\"\"s\"",
        &["table public.users", "view public.names"],
    );
    assert_warned(&found, "public.types.t", &["type public.users"]);
    assert_warned(&found, "public.many.i", &["index public.users_email_key"]);
    assert_warned(&found, "public.many.p", &["function", "takes(public.users)"]);
    assert_warned(&found, "public.many.n", &["table public.users"]);
    assert_warned(&found, "public.many.d", &["table public.users"]);
    assert_warned(&found, "public.many.ds", &["view public.names"]);
    assert_warned(&found, "public.many.dd", &["index public.users_pkey"]);
    assert_warned(&found, "public.copied.m", &["table public.users"]);
    assert_warned(&found, "public.part.rel", &["table public.users"]);
    assert_warned(&found, "public.hidden.rel", &["table public.users"]);
    assert_warned(&found, "public.large_indexed.rel", &["table public.users"]);
    let notes: Vec<_> = found
        .iter()
        .filter(|(severity, ..)| severity == "note")
        .map(|(_, o, m)| (o.as_str(), m))
        .collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].0 == "public.large.rel" && notes[0].1.contains("100000 rows"), "{notes:?}");
    assert!(
        notes[1].0 == "public.shut.rel" && notes[1].1.contains("permission denied"),
        "{notes:?}"
    );
    assert_eq!(found.len(), 14, "{found:?}");
}

#[test]
fn triggers_arguments_and_stored_constants_are_foretold() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    admin.run(
        "CREATE TABLE watched (rel regclass, other oid);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE VIEW is_watched AS SELECT count(*) FROM watched WHERE rel = 'users'::regclass;
         CREATE VIEW any_watched AS SELECT count(*) FROM watched WHERE rel = ANY ('{pg_class,users}'::regclass[]);
         CREATE VIEW of_others AS SELECT count(*) FROM watched WHERE rel = 'watched'::regclass;
         CREATE FUNCTION parsed() RETURNS bigint LANGUAGE sql BEGIN ATOMIC
             SELECT count(*) FROM watched WHERE rel = 'users'::regclass; END;
         DO $$ BEGIN
             EXECUTE format('CREATE VIEW by_number AS SELECT count(*) FROM watched WHERE other = %s::oid', 'users'::regclass::oid);
             EXECUTE format('ALTER TABLE watched ADD CONSTRAINT not_that CHECK (other <> %s::oid)', 'users'::regclass::oid);
             EXECUTE format('ALTER TABLE watched ALTER COLUMN other SET DEFAULT %s::oid', 'users'::regtype::oid);
             EXECUTE format('CREATE INDEX on_that ON watched (rel) WHERE other = %s::oid', 'users'::regclass::oid);
             EXECUTE format('CREATE POLICY p ON watched USING (other = %s::oid)', 'users'::regclass::oid);
             EXECUTE format('CREATE TRIGGER when_that AFTER UPDATE ON watched FOR EACH ROW
                 WHEN (NEW.other = %s::oid) EXECUTE FUNCTION note()', 'users'::regclass::oid);
             EXECUTE format('CREATE TRIGGER tells AFTER UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION note(%L, %L)',
                 'x', 'users'::regclass::oid);
             EXECUTE format('CREATE TRIGGER tells_own AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note(%L)',
                 'users'::regclass::oid);
         END $$",
    );
    let mut owner = scene.owner();

    let found = kept(&mut owner);

    for (object, words) in [
        ("view public.is_watched", ["constant", "table public.users"]),
        ("view public.any_watched", ["constant", "table public.users"]),
        ("view public.by_number", ["constant", "table public.users"]),
        ("function public.parsed()", ["constant", "table public.users"]),
        ("constraint not_that on table public.watched", ["constant", "table public.users"]),
        (
            "default value for column other of table public.watched",
            ["constant", "type public.users"],
        ),
        ("index public.on_that", ["constant", "table public.users"]),
        ("policy p on table public.watched", ["constant", "table public.users"]),
        ("trigger when_that on table public.watched", ["constant", "table public.users"]),
        ("trigger tells on table public.watched", ["argument", "table public.users"]),
        ("trigger tells_own on table public.users", ["argument", "table public.users"]),
    ] {
        assert_warned(&found, object, &words);
    }
    assert_eq!(found.len(), 11, "{found:?}");
}

#[test]
fn what_planning_a_look_at_a_users_table_runs_of_the_users_code_runs_as_that_user() {
    let scene = STAGE.users(10);
    let mut admin = scene.admin();
    // Sequences: what is looked at is rolled back.
    admin.run(
        "CREATE SEQUENCE ran_as_mallory; CREATE SEQUENCE ran_as_another;
         GRANT ALL ON SEQUENCE ran_as_mallory, ran_as_another TO PUBLIC;
         GRANT CREATE ON SCHEMA public TO mallory",
    );
    scene.person("mallory").run(
        "CREATE FUNCTION spring(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             PERFORM nextval(CASE current_user WHEN 'mallory' THEN 'public.ran_as_mallory'
                 ELSE 'public.ran_as_another' END::text::regclass);
             RETURN n; END $$;
         CREATE FUNCTION shows(r regclass) RETURNS boolean LANGUAGE plpgsql AS
             $$ BEGIN PERFORM public.spring(1); RETURN true; END $$;
         CREATE TABLE trap (rel regclass, n int); INSERT INTO trap VALUES ('users', 1);
         CREATE INDEX ON trap ((n + public.spring(1)));
         ALTER TABLE trap ENABLE ROW LEVEL SECURITY; ALTER TABLE trap FORCE ROW LEVEL SECURITY;
         CREATE POLICY p ON trap USING (shows(rel));
         CREATE DOMAIN sprung AS oid CHECK (public.spring(1) = 1);
         CREATE TABLE trap2 (d sprung); INSERT INTO trap2 VALUES (1)",
    );
    admin.run("SELECT setval('ran_as_mallory', 1, false), setval('ran_as_another', 1, false)");

    let found = kept(&mut scene.owner());

    assert_warned(&found, "public.trap.rel", &["table public.users"]);
    assert_eq!(admin.text("SELECT is_called FROM ran_as_mallory"), "t", "the trap did not spring");
    assert_eq!(admin.text("SELECT is_called FROM ran_as_another"), "f");
}

#[test]
fn a_trigger_that_writes_by_a_kept_oid_is_told_why_it_is_refused() {
    let scene = STAGE.users(10);
    scene.table("orders", "id int PRIMARY KEY");
    scene.admin().run(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
             EXECUTE format('UPDATE %s SET name = $1 WHERE id = 1', TG_ARGV[0]::oid::regclass) USING 'touched';
             RETURN NULL; END $$;
         DO $$ BEGIN EXECUTE format('CREATE TRIGGER touch AFTER INSERT ON orders EXECUTE FUNCTION touch(%L)',
             'users'::regclass::oid); END $$",
    );
    let mut owner = scene.owner();
    let mut app = scene.app();
    app.run("INSERT INTO orders VALUES (1)");
    assert_warned(&kept(&mut owner), "trigger touch on table public.orders", &["argument"]);
    owner.make_ready(CHANGES);
    owner.swap();

    let refusal = app.refused("INSERT INTO orders VALUES (2)");

    assert_eq!(refusal.code, "25006", "{refusal:?}");
    assert!(
        refusal.hint.contains("trigger's argument") && refusal.hint.contains("OID"),
        "{refusal:?}"
    );
    owner.revert();
    app.run("INSERT INTO orders VALUES (2)");
}
