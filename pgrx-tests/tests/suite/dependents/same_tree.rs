//! Definitions whose text names no operator (IS DISTINCT FROM, NULLIF, CASE a WHEN, JOIN USING), for
//! types whose operators are found by the search_path: they mean after each step what they meant
//! before, or are refused by name before anything is copied.

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

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
    let scene = STAGE.empty();
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
fn everything_means_the_same_with_a_case_insensitive_type() {
    everything_means_the_same(&CITEXT);
}

#[test]
fn everything_means_the_same_with_a_case_insensitive_type_in_a_schema_of_its_own() {
    everything_means_the_same(&CITEXT_APART);
}

#[test]
fn everything_means_the_same_with_a_type_without_a_cast_to_text() {
    everything_means_the_same(&HSTORE);
}

#[test]
fn everything_means_the_same_with_such_a_type_in_a_schema_of_its_own() {
    everything_means_the_same(&LTREE);
}

#[test]
fn everything_means_the_same_with_a_type_of_nobodys() {
    everything_means_the_same(&OWN);
}

/// `users (id, state, flag)` of `owner`'s; three rows, the third without a state.
fn simple(of: &Type) -> (Scene, Person) {
    let scene = STAGE.empty();
    let Type { setup, name, path, one, other, .. } = of;
    scene.admin().run(setup);
    scene.table("users", &format!("gone int, id int PRIMARY KEY, state {name}, flag boolean"));
    scene.admin().run(&format!(
        "ALTER TABLE users DROP COLUMN gone;
         INSERT INTO users VALUES (1, '{one}', true), (2, '{other}', false), (3, NULL, NULL)"
    ));
    let mut owner = scene.owner();
    owner.run(&format!("SET search_path = {path}"));
    (scene, owner)
}

fn mappings_mean_the_same(of: &Type) {
    let (scene, mut owner) = simple(of);
    let Type { name, one, equal, other, void, .. } = of;
    let in_json = name.replace('"', "\\\"");
    owner.run(&format!(
        "SELECT bg_prepare('users',
             $$ALTER COLUMN state TYPE boolean USING (state IS NOT DISTINCT FROM '{equal}'),
               ALTER COLUMN flag TYPE {name} USING (CASE WHEN flag THEN '{one}'::{name} ELSE '{other}' END),
               ADD COLUMN word text$$,
             forward => $${{\"word\": \"CASE state WHEN '{equal}' THEN 'hit' ELSE 'miss' END\"}}$$,
             reverse => $${{\"state\": \"CASE WHEN state THEN '{one}'::{in_json} ELSE '{other}' END\",
                            \"flag\": \"NULLIF(flag, '{void}') IS NOT DISTINCT FROM '{equal}'\"}}$$)"
    ));
    owner.run("CALL bg_run('users')");
    // One row by the copy, one by a sync.
    owner.run(&format!("INSERT INTO users VALUES (4, '{equal}', true)"));
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(owner.list("SELECT key FROM bg_verify('users')"), [""; 0]);
    let seen = "SELECT concat_ws(' ', id, state, word, flag IS NOT DISTINCT FROM $a$X$a$) FROM users ORDER BY id";
    assert_eq!(
        owner.list(&seen.replace('X', equal)),
        ["1 t hit t", "2 f miss f", "3 f miss f", "4 t hit t"]
    );
    // No operator of the type is found by the path of who runs it.
    let mut admin = scene.admin();
    admin.run(&format!(
        "INSERT INTO users (id, state, flag) VALUES (5, true, '{equal}'), (6, false, '{void}')"
    ));
    admin.run("CALL bg_run('users', 'swapped')");
    owner.run("SELECT bg_revert('users')");
    assert_eq!(
        owner.list("SELECT concat_ws(' ', id, flag) FROM users WHERE id > 4 ORDER BY id"),
        ["5 t", "6 f"]
    );
    let same =
        format!("SELECT id FROM users WHERE state IS NOT DISTINCT FROM '{equal}' ORDER BY id");
    assert_eq!(owner.list(&same), ["1", "4", "5"]);
}

#[test]
fn mappings_over_a_case_insensitive_type_mean_the_same() {
    mappings_mean_the_same(&CITEXT);
    mappings_mean_the_same(&CITEXT_APART);
}

#[test]
fn mappings_over_a_type_without_a_cast_to_text_mean_the_same() {
    mappings_mean_the_same(&HSTORE);
    mappings_mean_the_same(&LTREE);
}

#[test]
fn mappings_over_a_type_of_nobodys_mean_the_same() {
    mappings_mean_the_same(&OWN);
}

/// The type of [`OWN`], and beside the table another operator of that name for it, which is found first.
fn with_two_operators() -> (Scene, Person) {
    let (scene, owner) = simple(&OWN);
    scene.admin().run(
        r#"CREATE FUNCTION public.never("O'wn".kind, "O'wn".kind) RETURNS boolean LANGUAGE sql IMMUTABLE
               AS 'SELECT false';
           CREATE OPERATOR public.= (LEFTARG = "O'wn".kind, RIGHTARG = "O'wn".kind, FUNCTION = public.never);
           GRANT ALL ON SCHEMA public TO owner"#,
    );
    (scene, owner)
}

#[track_caller]
fn assert_refused(owner: &mut Person, call: &str, name: &str) {
    let refused = owner.refused(&format!("SELECT bg_prepare({call})"));
    assert_eq!(refused.code, "0A000", "{refused:?}");
    assert!(refused.message.contains(name), "{refused:?}");
    assert!(refused.hint.contains("OPERATOR("), "{refused:?}");
    let told =
        owner.list(&format!("SELECT message FROM bg_check({call}) WHERE severity = 'error'"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(name), "{told:?}");
}

/// A built-in type with an equality of somebody's, which is found where its schema is searched before
/// pg_catalog.
const TEXT: Type = Type {
    setup: r#"CREATE SCHEMA "O'wn"; GRANT USAGE ON SCHEMA "O'wn" TO PUBLIC;
        CREATE FUNCTION "O'wn".same(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
            AS $$ SELECT pg_catalog.lower($1) OPERATOR(pg_catalog.=) pg_catalog.lower($2) $$;
        CREATE OPERATOR "O'wn".= (LEFTARG = text, RIGHTARG = text, FUNCTION = "O'wn".same)"#,
    name: "text",
    ..OWN
};

#[test]
fn what_would_find_a_built_in_operator_instead_is_refused_by_name() {
    for (made, name, dropped) in [
        (
            r#"CREATE POLICY "Hi""de" ON users USING (state IS DISTINCT FROM 'taken')"#,
            r#"policy "Hi""de" of public.users"#,
            r#"DROP POLICY "Hi""de" ON users"#,
        ),
        (
            "CREATE VIEW public.v AS SELECT NULLIF(state, 'taken') AS s FROM users",
            "view public.v",
            "DROP VIEW public.v",
        ),
        (
            "CREATE MATERIALIZED VIEW public.m AS SELECT CASE state WHEN 'taken' THEN 1 END AS s FROM users",
            "materialized view public.m",
            "DROP MATERIALIZED VIEW public.m",
        ),
        (
            "CREATE RULE r AS ON INSERT TO users WHERE new.state IS DISTINCT FROM 'free'
                 DO ALSO SELECT 1",
            "rule r of public.users",
            "DROP RULE r ON users",
        ),
        (
            "CREATE TRIGGER t AFTER UPDATE ON users FOR EACH ROW
                 WHEN (new.state IS DISTINCT FROM old.state) EXECUTE FUNCTION nothing()",
            "trigger t of public.users",
            "DROP TRIGGER t ON users",
        ),
        (
            "CREATE FUNCTION public.f() RETURNS bigint BEGIN ATOMIC
                 SELECT count(*) FROM users JOIN users b USING (state); END",
            "function public.f()",
            "DROP FUNCTION public.f()",
        ),
        (
            "CREATE POLICY far ON others USING (EXISTS (
                 SELECT FROM users u WHERE u.state IS DISTINCT FROM 'taken'))",
            "policy far of public.others",
            "DROP POLICY far ON others",
        ),
        (
            "CREATE RULE ring AS ON UPDATE TO others DO ALSO
                 SELECT NULLIF(state, 'taken') FROM users",
            "rule ring of public.others",
            "DROP RULE ring ON others",
        ),
        (
            r#"CREATE INDEX "O""ne" ON users (id) WHERE state IS DISTINCT FROM 'taken'"#,
            r#"index "O""ne""#,
            r#"DROP INDEX "O""ne""#,
        ),
        (
            "ALTER TABLE users ADD CONSTRAINT apart
                 EXCLUDE USING btree (id WITH =) WHERE (NULLIF(state, 'taken') IS NULL)",
            "index apart",
            "ALTER TABLE users DROP CONSTRAINT apart",
        ),
        (
            "ALTER TABLE users ADD CONSTRAINT no_void CHECK (state IS DISTINCT FROM 'Void') NOT VALID",
            "constraint no_void",
            "ALTER TABLE users DROP CONSTRAINT no_void",
        ),
    ] {
        let (scene, mut owner) = simple(&TEXT);
        let mut admin = scene.admin();
        admin.run(
            "CREATE TABLE others (id int);
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        );
        // Made where the type's own operator is found first.
        admin.run(&format!(r#"SET search_path = "O'wn", pg_catalog, public; {made}"#));
        admin.run("RESET search_path");
        assert_refused(&mut owner, "'users'", name);
        admin.run(dropped);
        owner.run("SELECT bg_prepare('users')");
    }
}

#[test]
fn indexes_and_checks_do_not_meet_the_other_operator() {
    let (scene, mut owner) = with_two_operators();
    scene.admin().run(
        r#"SET search_path = "O'wn", public;
           CREATE UNIQUE INDEX one ON users (flag) WHERE state IS NOT DISTINCT FROM 'taken';
           ALTER TABLE users ADD CONSTRAINT no_void CHECK (state IS DISTINCT FROM 'Void') NOT VALID"#,
    );
    owner.run("SELECT bg_prepare('users')");
    owner.run("CALL bg_run('users', 'finished')");
    let refused = |sql: &str| scene.admin().refused(sql).code;
    assert_eq!(refused("INSERT INTO users VALUES (8, 'taken', true)"), "23505");
    assert_eq!(refused("INSERT INTO users VALUES (8, 'void', NULL)"), "23514");
}

#[test]
fn a_mapping_that_needs_two_operators_of_one_name_is_refused_by_its_column() {
    let (scene, mut owner) = with_two_operators();
    scene.admin().run(
        r#"CREATE SCHEMA third; GRANT USAGE ON SCHEMA third TO PUBLIC;
           CREATE OPERATOR pg_catalog.= (LEFTARG = "O'wn".kind, RIGHTARG = "O'wn".kind, FUNCTION = public.never)"#,
    );
    owner.run(r#"SET search_path = "O'wn", pg_catalog, public"#);
    let call = "'users', 'ADD COLUMN \"Hit\" boolean',
        forward => '{\"Hit\": \"state IS NOT DISTINCT FROM ''taken''\"}'";
    assert_refused(&mut owner, call, "mapping for column \"Hit\"");
    // As the hint says.
    let named = call.replace(
        "state IS NOT DISTINCT FROM ''taken''",
        "coalesce(state OPERATOR(\\\"O''wn\\\".=) ''taken'', false)",
    );
    owner.run(&format!("SELECT bg_prepare({named})"));
    owner.run("CALL bg_run('users', 'finished')");
    assert_eq!(owner.list("SELECT \"Hit\" FROM users ORDER BY id"), ["t", "f", "f"]);
}

#[test]
fn a_column_that_becomes_case_insensitive_is_compared_so() {
    let scene = STAGE.empty();
    let mut admin = scene.admin();
    admin.run(CITEXT_APART.setup);
    scene.table("users", "id int PRIMARY KEY, team text, boss text, n int");
    admin.run(
        "INSERT INTO users VALUES (1, 'Red', 'rED', 1), (2, 'Red', 'Blue', 2);
         CREATE VIEW pairs AS SELECT id FROM users WHERE team IS NOT DISTINCT FROM boss;
         CREATE VIEW named AS SELECT id FROM users WHERE team = boss AND n + 1 > 0;
         CREATE VIEW told AS SELECT id, CASE WHEN n = 1 THEN 'one' ELSE team END AS t FROM users",
    );
    let mut owner = scene.owner();
    owner.run(
        "SELECT bg_prepare('users', 'ALTER COLUMN team TYPE \"My ext\".citext,
             ALTER COLUMN boss TYPE \"My ext\".citext, ALTER COLUMN n TYPE bigint')",
    );
    assert_eq!(admin.list("SELECT id FROM pairs"), [""; 0]);
    owner.run("CALL bg_run('users', 'swapped')");
    assert_eq!(admin.list("SELECT id FROM pairs"), ["1"]);
    assert_eq!(admin.list("SELECT id FROM named"), ["1"]);
    owner.run("SELECT bg_revert('users')");
    assert_eq!(admin.list("SELECT id FROM pairs UNION ALL SELECT id FROM named"), [""; 0]);
}

#[test]
fn constants_are_read_as_they_were_written_whatever_the_session_says() {
    let scene = STAGE.empty();
    let mut admin = scene.admin();
    scene.table("users", "id int PRIMARY KEY, name text, d date, f float8");
    admin.run(
        "CREATE UNIQUE INDEX of_old ON users (name) WHERE d < '2020-02-01' AND f > '0.333333333333333333'::float8;
         ALTER TABLE users ADD CONSTRAINT since CHECK (d > '1999-03-01') NOT VALID;
         INSERT INTO users VALUES (1, 'a', '2020-01-15', 1), (2, 'a', '2020-03-01', 1)",
    );
    let definition = "SELECT indpred::text FROM pg_index WHERE indexrelid = 'of_old'::regclass
        UNION ALL SELECT conbin::text FROM pg_constraint WHERE conname = 'since'";
    let values = |admin: &mut Person| {
        let found = admin.list(definition);
        let of = |tree: &str| {
            let parts = tree.split(":constvalue ").skip(1);
            parts.map(|p| p.split(']').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        found.iter().map(|tree| of(tree)).collect::<Vec<_>>()
    };
    let before = values(&mut admin);
    let mut owner = scene.owner();
    owner.run("SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -10");
    owner.run("SELECT bg_prepare('users')");
    let mut other = scene.owner();
    other.run("SET DateStyle = 'SQL, MDY'");
    other.run("CALL bg_run('users', 'finished')");
    assert_eq!(values(&mut admin), before);
}

#[test]
fn an_index_that_came_after_the_swap_is_the_same_on_the_old_table() {
    let (scene, mut owner) = simple(&CITEXT_APART);
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.run("CALL bg_run('users', 'swapped')");
    scene.admin().run(
        "SET search_path = public, \"My ext\";
         CREATE UNIQUE INDEX one ON users (flag) WHERE state IS NOT DISTINCT FROM 'taken'",
    );
    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    owner.revert();
    assert_eq!(owner.refused("INSERT INTO users VALUES (8, 'TAKEN', true)").code, "23505");
}

#[test]
fn what_comes_to_a_schema_that_a_mapping_searches_does_not_get_into_it() {
    let (scene, mut owner) = simple(&CITEXT_APART);
    owner.run(
        "SELECT bg_prepare('users', 'ADD COLUMN word text', forward =>
             '{\"word\": \"num_nonnulls(state, id) || CASE state WHEN ''taken'' THEN ''!'' ELSE ''?'' END\"}')",
    );
    let mut admin = scene.admin();
    admin.run(
        "CREATE FUNCTION \"My ext\".num_nonnulls(\"My ext\".citext, int) RETURNS int LANGUAGE sql IMMUTABLE
             AS 'SELECT 7'",
    );
    let refused = owner.refused("CALL bg_run('users')");
    assert_eq!(refused.code, "0A000", "{refused:?}");
    assert!(refused.message.contains("mapping for column \"word\""), "{refused:?}");
    admin.run("DROP FUNCTION \"My ext\".num_nonnulls(\"My ext\".citext, int)");
    owner.run("CALL bg_run('users', 'finished')");
    let words = owner.list("SELECT coalesce(word, '') FROM users ORDER BY id");
    assert_eq!(words, ["2!", "2?", "1?"]);
}
