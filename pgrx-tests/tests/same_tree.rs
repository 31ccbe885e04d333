//! Definitions whose text names no operator (IS DISTINCT FROM, NULLIF, CASE a WHEN, JOIN USING), for
//! types whose operators are found by the search_path: they mean after each step what they meant
//! before, or are refused by name before anything is copied.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

use story::{Person, Scene};

/// A type with its operators, and literals of it.
struct Type {
    /// Makes it, with the name `kind` for it in the search_path of the scene.
    setup: &'static str,
    /// Its name.
    name: &'static str,
    /// The schemas in which its operators are found.
    path: &'static str,
    /// A value.
    one: &'static str,
    /// The same in other letters.
    equal: &'static str,
    /// Another value.
    other: &'static str,
    /// A third one.
    void: &'static str,
}

const CITEXT: Type = Type {
    setup: "CREATE EXTENSION citext",
    name: "citext",
    path: "public",
    one: "Taken",
    equal: "tAKEN",
    other: "free",
    void: "Void",
};

const CITEXT_APART: Type = Type {
    setup: "CREATE SCHEMA \"My ext\"; CREATE EXTENSION citext SCHEMA \"My ext\";
            GRANT USAGE ON SCHEMA \"My ext\" TO PUBLIC",
    name: "\"My ext\".citext",
    path: "public, \"My ext\"",
    ..CITEXT
};

const HSTORE: Type = Type {
    setup: "CREATE EXTENSION hstore",
    name: "hstore",
    one: "a=>1, b=>2",
    equal: "b=>2,a=>1",
    other: "c=>3",
    void: "v=>0",
    ..CITEXT
};

const LTREE: Type = Type {
    setup: "CREATE SCHEMA trees; CREATE EXTENSION ltree SCHEMA trees;
            GRANT USAGE ON SCHEMA trees TO PUBLIC",
    name: "trees.ltree",
    path: "public, trees",
    one: "a.b",
    equal: "a.b",
    other: "a.c",
    void: "v",
};

/// Without any extension: an enumeration, which the server compares by itself, with an equality of its
/// own, by which words are the same but for the case of their first letter.
const OWN: Type = Type {
    setup: r#"CREATE SCHEMA "O'wn";
        CREATE TYPE "O'wn".kind AS ENUM ('Taken', 'taken', 'free', 'Void', 'void');
        CREATE FUNCTION "O'wn".same("O'wn".kind, "O'wn".kind) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
            AS $$ SELECT pg_catalog.lower($1::text) OPERATOR(pg_catalog.=) pg_catalog.lower($2::text) $$;
        CREATE OPERATOR "O'wn".= (LEFTARG = "O'wn".kind, RIGHTARG = "O'wn".kind, FUNCTION = "O'wn".same,
            COMMUTATOR = OPERATOR("O'wn".=));
        GRANT USAGE ON SCHEMA "O'wn" TO PUBLIC"#,
    name: r#""O'wn".kind"#,
    path: r#"public, "O'wn""#,
    one: "Taken",
    equal: "taken",
    other: "free",
    void: "Void",
};

/// A table `users` of `owner`'s with the type in column `state`, and everything on it whose text names no
/// operator. A column is dropped, so that the copy's have other numbers.
fn scene(of: &Type) -> Scene {
    let scene = Scene::empty();
    let mut admin = scene.admin();
    let Type { setup, name, path, one, equal, other, void } = of;
    admin.run(setup);
    admin.run(&format!("SET search_path = {path}"));
    admin.run(&format!(
        "CREATE TABLE users (gone int, id int PRIMARY KEY, name text, seat int, room int, state {name},
             hit boolean DEFAULT ('{one}'::{name} IS NOT DISTINCT FROM '{equal}'::{name}),
             made boolean GENERATED ALWAYS AS (state IS NOT DISTINCT FROM '{equal}') STORED,
             CONSTRAINT no_void CHECK (state IS DISTINCT FROM '{void}'));
         ALTER TABLE users DROP COLUMN gone;
         CREATE UNIQUE INDEX one_name ON users (name) WHERE state IS NOT DISTINCT FROM '{equal}';
         CREATE UNIQUE INDEX one_seat ON users ((CASE state WHEN '{equal}' THEN seat END));
         ALTER TABLE users ADD CONSTRAINT apart EXCLUDE USING btree (room WITH =)
             WHERE (NULLIF(state, '{equal}') IS NULL);
         INSERT INTO users VALUES (1, 'a', 1, 1, '{one}'), (2, 'b', 2, 1, '{other}');
         ALTER TABLE users ADD CONSTRAINT seated
             CHECK (NOT (name = 'nobody' AND state IS NOT DISTINCT FROM '{equal}')) NOT VALID;
         ALTER TABLE users OWNER TO owner;
         GRANT SELECT, INSERT ON users TO PUBLIC;

         CREATE TABLE marks (state {name}, mark text); INSERT INTO marks VALUES ('{equal}', 'marked');
         CREATE TABLE heard (what text); GRANT ALL ON heard, marks TO PUBLIC;
         CREATE VIEW nulled AS SELECT id, NULLIF(state, '{equal}') IS NULL AS hit FROM users;
         CREATE VIEW joined AS SELECT id, mark FROM users JOIN marks USING (state);
         CREATE VIEW natural_joined AS SELECT n.id, m.mark
             FROM (SELECT u.id, u.state FROM users u) n NATURAL JOIN marks m;
         CREATE MATERIALIZED VIEW cased AS
             SELECT id, CASE state WHEN '{equal}' THEN 'hit' ELSE 'miss' END AS c FROM users;
         CREATE UNIQUE INDEX cased_one ON cased (c, id) WHERE c IS DISTINCT FROM 'none';
         CREATE FUNCTION how_many() RETURNS bigint BEGIN ATOMIC
             SELECT count(*) FROM users WHERE state IS NOT DISTINCT FROM '{equal}'; END;
         CREATE RULE told AS ON INSERT TO users
             WHERE new.state IS NOT DISTINCT FROM '{equal}'
             DO ALSO INSERT INTO heard VALUES ('by the rule');
         CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO public.heard VALUES ('by the trigger'); RETURN NULL; END $$;
         CREATE TRIGGER heard AFTER INSERT ON users FOR EACH ROW
             WHEN (new.state IS NOT DISTINCT FROM '{equal}') EXECUTE FUNCTION hear();
         CREATE POLICY hide ON users FOR SELECT TO PUBLIC USING (state IS DISTINCT FROM '{equal}');
         CREATE POLICY let_in ON users FOR INSERT TO PUBLIC WITH CHECK (true);
         ALTER TABLE users ENABLE ROW LEVEL SECURITY;

         CREATE TABLE others (id int); INSERT INTO others VALUES (1), (2); GRANT ALL ON others TO PUBLIC;
         ALTER TABLE others ENABLE ROW LEVEL SECURITY;
         CREATE POLICY far ON others USING (id IN (
             SELECT v.id FROM nulled v WHERE v.hit) AND EXISTS (
             SELECT FROM joined j WHERE j.id = others.id) AND NOT EXISTS (
             SELECT FROM users t WHERE t.id = others.id AND t.state IS NOT DISTINCT FROM '{equal}'
                 AND t.name IS NULL));
         CREATE TABLE bells (n int); INSERT INTO bells VALUES (0); GRANT ALL ON bells TO PUBLIC;
         CREATE RULE ring AS ON UPDATE TO bells DO ALSO INSERT INTO heard
             SELECT 'of ' || id FROM users WHERE state IS NOT DISTINCT FROM '{equal}';
         GRANT SELECT ON nulled, joined, natural_joined, cased TO PUBLIC"
    ));
    scene
}

/// What all definitions mean, by what they do. Rows that it adds are taken away again.
fn assert_meant(scene: &Scene, of: &Type, when: &str) {
    let Type { one, other, void, .. } = of;
    let mut admin = scene.admin();
    // As in a session of the application's: nothing of it is found by the path.
    admin.run("SET search_path = public");
    let mut app = scene.app();
    assert_eq!(app.list("SELECT id FROM users ORDER BY id"), ["2"], "policy, {when}");
    assert_eq!(app.list("SELECT id FROM others ORDER BY id"), ["1"], "policy of another, {when}");
    let mut list = |sql: &str| admin.list(sql);
    assert_eq!(list("SELECT id FROM nulled WHERE hit"), ["1"], "NULLIF, {when}");
    assert_eq!(list("SELECT id FROM joined"), ["1"], "USING, {when}");
    assert_eq!(list("SELECT id FROM natural_joined"), ["1"], "NATURAL, {when}");
    assert_eq!(list("SELECT c FROM cased ORDER BY id"), ["hit", "miss"], "CASE, {when}");
    assert_eq!(list("SELECT how_many()"), ["1"], "function, {when}");
    assert_eq!(list("SELECT made FROM users ORDER BY id"), ["t", "f"], "generated, {when}");

    let code = |admin: &mut Person, values: &str| {
        let sql = format!("BEGIN; INSERT INTO users VALUES {values}; ROLLBACK");
        let refused = admin.refused(&sql);
        admin.run("ROLLBACK");
        format!("{} {}", refused.code, refused.message)
    };
    for (values, wanted, name) in [
        (format!("(9, 'a', 9, 9, '{one}')"), "23505", "one_name"),
        (format!("(9, 'z', 1, 9, '{one}')"), "23505", "one_seat"),
        (format!("(9, 'z', 9, 1, '{one}')"), "23P01", "apart"),
        (format!("(9, 'z', 9, 9, '{void}')"), "23514", "no_void"),
        (format!("(9, 'nobody', 9, 9, '{one}')"), "23514", "seated"),
    ] {
        let found = code(&mut admin, &values);
        assert!(found.starts_with(wanted) && found.contains(name), "{found}, {when}");
    }
    admin.run("BEGIN");
    // What is not the one is not touched by any of them.
    admin.run(&format!("INSERT INTO users VALUES (9, 'a', 1, 1, '{other}')"));
    assert_eq!(admin.int("SELECT count(*) FROM heard"), 0, "{when}");
    admin.run(&format!("INSERT INTO users VALUES (8, 'x', 8, 8, '{one}'); UPDATE bells SET n = 1"));
    assert_eq!(
        admin.list("SELECT what FROM heard ORDER BY what"),
        ["by the rule", "by the trigger", "of 1", "of 8"],
        "{when}"
    );
    assert_eq!(admin.list("SELECT hit FROM users WHERE id = 8"), ["t"], "default, {when}");
    admin.run("ROLLBACK");
}

/// All operators that all definitions use, by the trees that the server keeps.
fn operators(scene: &Scene) -> Vec<String> {
    scene.admin().list(
        "SELECT name || ' ' || coalesce(string_agg(op[1], ' ' ORDER BY i), '') FROM (
             SELECT 'policy ' || polname AS name, polqual::text AS tree
                 FROM pg_policy JOIN pg_class c ON c.oid = polrelid
                 WHERE c.relnamespace = 'public'::regnamespace
             UNION ALL SELECT 'trigger ' || tgname, tgqual::text FROM pg_trigger
                 WHERE tgrelid = 'public.users'::regclass AND tgqual IS NOT NULL
             UNION ALL SELECT 'rule ' || rulename || ' ' || c.relname, ev_qual::text || ev_action::text
                 FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class
                 WHERE c.relnamespace = 'public'::regnamespace
             UNION ALL SELECT 'function ' || proname, prosqlbody::text FROM pg_proc
                 WHERE pronamespace = 'public'::regnamespace AND prosqlbody IS NOT NULL
             UNION ALL SELECT 'index ' || c.relname, concat(indexprs::text, indpred::text)
                 FROM pg_index JOIN pg_class c ON c.oid = indexrelid
                 WHERE c.relnamespace = 'public'::regnamespace
             UNION ALL SELECT 'constraint ' || conname || convalidated, conbin::text FROM pg_constraint
                 WHERE conrelid = 'public.users'::regclass AND conbin IS NOT NULL
             UNION ALL SELECT 'default ' || adnum, adbin::text FROM pg_attrdef
                 WHERE adrelid = 'public.users'::regclass AND adbin::text LIKE '%DISTINCT%') d
         LEFT JOIN LATERAL regexp_matches(tree, ':opno (\\d+)', 'g') WITH ORDINALITY m(op, i) ON true
         GROUP BY name ORDER BY name",
    )
}

/// Without the numbers of columns, which a dropped column moves.
fn plain(operators: Vec<String>) -> Vec<String> {
    operators
        .into_iter()
        .map(|line| match line.strip_prefix("default ") {
            Some(rest) => {
                format!("default{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            None => line,
        })
        .collect()
}

fn everything_means_the_same(of: &Type) {
    let scene = scene(of);
    let before = plain(operators(&scene));
    assert_meant(&scene, of, "before");
    let mut owner = scene.owner();
    assert_eq!(
        owner.list("SELECT message FROM bg_check('users') WHERE severity = 'error'"),
        [""; 0]
    );
    owner.run("SELECT bg_prepare('users')");
    assert_meant(&scene, of, "prepared");
    owner.sync();
    assert_meant(&scene, of, "ready");
    owner.swap();
    assert_eq!(plain(operators(&scene)), before, "swapped");
    assert_meant(&scene, of, "swapped");
    owner.revert();
    assert_eq!(plain(operators(&scene)), before, "reverted");
    assert_meant(&scene, of, "reverted");
    owner.swap();
    owner.run("SELECT bg_revert('users'); SELECT bg_abort('users')");
    assert_eq!(plain(operators(&scene)), before, "aborted");
    assert_meant(&scene, of, "aborted");
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(plain(operators(&scene)), before, "finished");
    assert_meant(&scene, of, "finished");
}

#[test]
fn a_case_insensitive_type_beside_the_table() {
    everything_means_the_same(&CITEXT);
}

#[test]
fn a_case_insensitive_type_in_a_schema_of_its_own() {
    everything_means_the_same(&CITEXT_APART);
}

#[test]
fn a_type_without_a_cast_to_text() {
    everything_means_the_same(&HSTORE);
}

#[test]
fn a_type_without_a_cast_to_text_in_a_schema_of_its_own() {
    everything_means_the_same(&LTREE);
}

#[test]
fn a_type_of_nobodys_with_operators_of_its_own() {
    everything_means_the_same(&OWN);
}
