//! Event triggers of others, which run in the commands of a deployment: what they do to what we make never
//! goes live, no write of the application fails for it, and what we refuse for it names them.

use crate::story::{Major, Person, Scene, Stage, major, stage};

static STAGE: Stage = stage!();

/// Makes an event trigger `Stamp"er` that does something to each table which a command has made or changed, with
/// its name for `%s`; not to those that it makes itself.
fn stamper(scene: &Scene, tags: &str, does: &str) {
    scene.admin().run(&format!(
        "CREATE FUNCTION public.stamp() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $stamp$
         DECLARE o record;
         BEGIN
             IF current_setting('stamp.busy', true) = 'yes' THEN RETURN; END IF;
             PERFORM set_config('stamp.busy', 'yes', true);
             FOR o IN SELECT DISTINCT c.oid::regclass AS name
                        FROM pg_event_trigger_ddl_commands() d
                        LEFT JOIN pg_index i ON i.indexrelid = d.objid
                        LEFT JOIN pg_trigger g ON g.oid = d.objid
                        JOIN pg_class c ON c.oid IN (d.objid, i.indrelid, g.tgrelid) AND c.relkind = 'r'
             LOOP
                 EXECUTE replace($does${does}$does$, '%s', o.name::text);
             END LOOP;
             PERFORM set_config('stamp.busy', 'no', true);
         END $stamp$;
         CREATE EVENT TRIGGER \"Stamp\"\"er\" ON ddl_command_end WHEN TAG IN ({tags})
             EXECUTE FUNCTION public.stamp()"
    ));
}

fn without_stamper(scene: &Scene) {
    scene.admin().run("DROP EVENT TRIGGER \"Stamp\"\"er\"; DROP FUNCTION public.stamp()");
}

/// Everything that the catalogs have of a table, in words.
fn looks(admin: &mut Person, table: &str) -> Vec<String> {
    admin.list(&format!(
        "SELECT 'column ' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
           FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
         UNION ALL
         SELECT concat_ws(' ', 'class', relowner::regrole, relrowsecurity, relforcerowsecurity, relreplident,
                    reltablespace, relpersistence) FROM pg_class WHERE oid = '{table}'::regclass
         UNION ALL
         SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND NOT tgisinternal
            AND tgname NOT LIKE 'bluegreen%'
         UNION ALL
         SELECT 'index ' || indexrelid::regclass FROM pg_index WHERE indrelid = '{table}'::regclass
         UNION ALL
         SELECT 'constraint ' || conname FROM pg_constraint WHERE conrelid = '{table}'::regclass
         UNION ALL
         SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = '{table}'::regclass
         UNION ALL
         SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = '{table}'::regclass
         UNION ALL
         SELECT 'inherits' FROM pg_inherits WHERE inhrelid = '{table}'::regclass
         UNION ALL
         SELECT 'statistics ' || stxname FROM pg_statistic_ext WHERE stxrelid = '{table}'::regclass
         UNION ALL
         SELECT 'publication ' || pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
          WHERE prrelid = '{table}'::regclass
         ORDER BY 1"
    ))
}

/// The table of the tests, and what event triggers put on others.
fn users() -> Scene {
    let scene = STAGE.users(20);
    scene.admin().run(
        "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'a trigger of others runs'; END $$;
         CREATE TABLE public.ancestor (); CREATE PUBLICATION everyone;
         CREATE STATISTICS users_stats ON name, email FROM users",
    );
    scene
}

#[test]
fn what_an_event_trigger_puts_on_each_new_table_is_taken_off_and_no_write_fails() {
    for does in [
        "ALTER TABLE %s ADD COLUMN created_by text NOT NULL DEFAULT 'me'",
        "ALTER TABLE %s ADD COLUMN \"Seen at\" timestamptz DEFAULT now() UNIQUE",
        "ALTER TABLE %s ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE %s FORCE ROW LEVEL SECURITY",
        "ALTER TABLE %s OWNER TO other_owner",
        "CREATE TRIGGER \"T\"\"x\" AFTER INSERT OR DELETE OR TRUNCATE ON %s EXECUTE FUNCTION public.nothing()",
        "CREATE POLICY p ON %s USING (false)",
        "ALTER TABLE %s ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON %s USING (false)",
        "CREATE RULE r AS ON DELETE TO %s DO INSTEAD NOTHING",
        "ALTER TABLE %s REPLICA IDENTITY FULL",
        "ALTER TABLE %s INHERIT public.ancestor",
        "ALTER PUBLICATION everyone ADD TABLE %s",
        "ALTER TABLE %s ADD CHECK (pg_backend_pid() > 0)",
        "DO $x$ BEGIN EXECUTE (SELECT format('CREATE INDEX ON %s (%I)', attname) FROM pg_attribute WHERE attrelid = '%s'::regclass AND attnum = 1); END $x$",
        "COMMENT ON TABLE %s IS 'by an event trigger'",
        "GRANT ALL ON %s TO mallory",
    ] {
        let scene = users();
        let mut admin = scene.admin();
        let mut app = scene.app();
        let mut owner = scene.owner();
        stamper(&scene, "'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO'", does);
        let before = looks(&mut admin, "public.users");

        let errors = "SELECT count(*) FROM bg_check('users', 'ALTER COLUMN name SET NOT NULL') WHERE severity = 'error'";
        assert_eq!(owner.int(errors), 0, "{does}");
        owner.run("SELECT bg_prepare('users')");
        app.run("INSERT INTO users (name, email) VALUES ('n', 'e1'); UPDATE users SET name = 'u' WHERE id < 5");
        owner.run("CALL bg_run('users')");
        app.run(
            "DELETE FROM users WHERE id = 7; INSERT INTO users (name, email) VALUES ('n', 'e2')",
        );
        owner.swap();
        app.run(
            "INSERT INTO users (name, email) VALUES ('n', 'e3'); DELETE FROM users WHERE id = 8",
        );

        assert_eq!(looks(&mut admin, "public.users"), before, "{does}");
        assert_eq!(app.int("SELECT count(*) FROM users"), 21, "{does}");
        assert_eq!(scene.person("mallory").refused("SELECT FROM users").code, "42501", "{does}");
        owner.revert();
        app.run("TRUNCATE users");
        owner.run("CALL bg_run('users', 'finished')");
        assert_eq!(app.int("SELECT count(*) FROM users"), 0, "{does}");
        assert_eq!(looks(&mut admin, "public.users"), before, "{does}");
        without_stamper(&scene);
    }
}

#[test]
fn the_logs_have_nothing_of_others_on_them() {
    let scene = users();
    let mut admin = scene.admin();
    stamper(
        &scene,
        "'CREATE TABLE'",
        "ALTER TABLE %s ADD COLUMN late text, ENABLE ROW LEVEL SECURITY, OWNER TO other_owner, REPLICA IDENTITY FULL;
         CREATE TRIGGER t AFTER INSERT ON %s EXECUTE FUNCTION public.nothing();
         CREATE INDEX ON %s (late)",
    );
    scene.owner().run("SELECT bg_prepare('users')");

    for log in ["bluegreen.forward_1", "bluegreen.reverse_1"] {
        let found = looks(&mut admin, log);
        let class = found.iter().find(|part| part.starts_with("class")).unwrap();
        assert!(class.ends_with(" f f d 0 p") && !class.contains("other_owner"), "{found:?}");
        // Since 18 each column that is NOT NULL has a constraint.
        let parts = if major() >= Major::V18 { 9 } else { 6 };
        assert_eq!(found.len(), parts, "{found:?}");
    }
    without_stamper(&scene);
}

#[test]
fn what_cannot_be_taken_off_is_refused_by_the_event_triggers_name() {
    for (tags, does, word) in [
        (
            "'CREATE TABLE'",
            "CREATE SCHEMA IF NOT EXISTS attic; ALTER TABLE %s SET SCHEMA attic",
            "not where it was made",
        ),
        ("'CREATE TABLE'", "ALTER TABLE %s RENAME TO other_name", "not where it was made"),
        (
            "'CREATE TABLE'",
            "CREATE TABLE IF NOT EXISTS public.child (id bigint, name text, email text, created_at timestamptz) INHERITS (%s)",
            "inheritance",
        ),
        ("'CREATE TABLE'", "CREATE VIEW public.shown AS SELECT * FROM %s", "view"),
        ("'ALTER TABLE'", "ALTER TABLE %s ADD COLUMN IF NOT EXISTS created_by text", "created_by"),
        ("'ALTER TABLE'", "ALTER TABLE %s ENABLE ROW LEVEL SECURITY", "row level security"),
        ("'ALTER TABLE'", "ALTER TABLE %s OWNER TO other_owner", "owner"),
        (
            "'ALTER TABLE'",
            "CREATE OR REPLACE TRIGGER late AFTER INSERT ON %s EXECUTE FUNCTION public.nothing()",
            "trigger late",
        ),
    ] {
        let scene = users();
        stamper(&scene, tags, does);
        let before = scene.inventory();
        let mut owner = scene.owner();
        let call = "('users', 'ADD COLUMN phone text')";

        let foretold = owner
            .list(&format!("SELECT message || hint FROM bg_check{call} WHERE severity = 'error'"));
        assert_eq!(foretold.len(), 1, "{does}: {foretold:?}");
        assert!(foretold[0].contains(word), "{does}: {foretold:?}");
        let refusal = owner.refused(&format!("SELECT bg_prepare{call}"));
        refusal.assert_is("55000", &[word]);
        refusal.assert_names(&["Stamp\"\"er"]);
        before.assert_same(&scene.inventory());
        scene.app().run("INSERT INTO users (name, email) VALUES ('n', 'e')");
        without_stamper(&scene);
        owner.run(&format!("SELECT bg_prepare{call}"));
    }
}

#[test]
fn a_schema_that_is_given_away_is_refused_and_a_view_or_function_goes_to_its_owner() {
    for (tag, does) in [
        ("CREATE SCHEMA", "ALTER SCHEMA %s OWNER TO other_owner"),
        ("CREATE VIEW", "ALTER VIEW %s OWNER TO other_owner"),
        ("CREATE MATERIALIZED VIEW", "ALTER MATERIALIZED VIEW %s OWNER TO other_owner"),
        ("CREATE FUNCTION", "ALTER FUNCTION %s OWNER TO other_owner"),
        ("ALTER VIEW", "ALTER VIEW %s OWNER TO other_owner"),
    ] {
        let scene = users();
        let mut admin = scene.admin();
        admin.run(&format!(
            "CREATE VIEW names AS SELECT id, name FROM users;
             CREATE MATERIALIZED VIEW kept AS SELECT id, name FROM users;
             CREATE FUNCTION of_row(u users) RETURNS text LANGUAGE sql AS 'SELECT u.name';
             CREATE FUNCTION public.give() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $give$
             DECLARE o record;
             BEGIN
                 FOR o IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = '{tag}' LOOP
                     CONTINUE WHEN o.object_identity !~ 'bluegreen|_blue' OR current_setting('give.busy', true) = 'y';
                     PERFORM set_config('give.busy', 'y', true);
                     EXECUTE replace('{does}', '%s', o.object_identity);
                     PERFORM set_config('give.busy', 'n', true);
                 END LOOP;
             END $give$;
             CREATE EVENT TRIGGER giver ON ddl_command_end WHEN TAG IN ('{tag}') EXECUTE FUNCTION public.give()"
        ));
        let before = scene.inventory();
        let mut owner = scene.owner();

        if ["CREATE SCHEMA", "ALTER VIEW"].contains(&tag) {
            owner.refused("SELECT bg_prepare('users')").assert_is("55000", &["owner", "giver"]);
            before.assert_same(&scene.inventory());
        } else {
            owner.run("SELECT bg_prepare('users')");
            owner.run("CALL bg_run('users', 'finished')");
            let others = "SELECT count(*) FROM pg_class c, pg_proc p
                WHERE 'other_owner'::regrole IN (relowner, proowner)";
            assert_eq!(admin.int(others), 0, "{tag}");
        }
        admin.run("DROP EVENT TRIGGER giver");
    }
}

#[test]
fn an_error_that_an_event_trigger_raises_names_it() {
    for (event, tag) in [
        ("ddl_command_start", "CREATE TABLE"),
        ("ddl_command_end", "CREATE SCHEMA"),
        ("ddl_command_start", "CREATE VIEW"),
        ("ddl_command_start", "CREATE TRIGGER"),
        ("table_rewrite", "ALTER TABLE"),
        ("sql_drop", "ALTER TABLE"),
        ("sql_drop", "DROP VIEW"),
    ] {
        let scene = users();
        let mut admin = scene.admin();
        admin.run(&format!(
            "CREATE VIEW names AS SELECT id, name FROM users;
             CREATE FUNCTION \"Ve\"\"to\"() RETURNS event_trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION USING ERRCODE = '23514', MESSAGE = 'not in this house'; END $$;
             CREATE EVENT TRIGGER house_rule ON {event} WHEN TAG IN ('{tag}') EXECUTE FUNCTION \"Ve\"\"to\"()"
        ));
        let before = scene.inventory();
        let mut owner = scene.owner();
        let call = "('users', 'ALTER COLUMN email TYPE varchar(400)')";

        let foretold = owner
            .list(&format!("SELECT message || hint FROM bg_check{call} WHERE severity = 'error'"));
        let note =
            owner.text(&format!("SELECT message FROM bg_check{call} WHERE code = 'event_trigger'"));
        let refusal = owner.refused(&format!("SELECT bg_prepare{call}"));

        assert!(
            note.contains("house_rule") && note.contains(event) && note.contains(tag),
            "{note}"
        );
        // bg_check makes no trigger: it would keep writers out.
        let expected = usize::from(tag != "CREATE TRIGGER");
        assert_eq!(foretold.len(), expected, "{event} {tag}: {foretold:?}");
        assert!(foretold.iter().all(|f| f.contains("house_rule")), "{foretold:?}");
        assert!(refusal.message.contains("not in this house"), "{event} {tag}: {refusal:?}");
        assert!(refusal.detail.contains("house_rule"), "{event} {tag}: {refusal:?}");
        refusal.assert_helps();
        before.assert_same(&scene.inventory());
        admin.run("DROP EVENT TRIGGER house_rule");
    }
}

#[test]
fn an_event_trigger_that_comes_in_the_middle_is_found_before_anything_goes_live() {
    for (tags, does, word) in [
        ("'CREATE INDEX'", "ALTER TABLE %s ADD COLUMN late text", "column late"),
        ("'CREATE INDEX'", "ALTER TABLE %s ENABLE ROW LEVEL SECURITY", "row level security"),
        ("'CREATE TRIGGER'", "ALTER TABLE %s ADD COLUMN late text", "column late"),
        ("'CREATE TRIGGER'", "CREATE POLICY late ON %s USING (false)", "policy late"),
        ("'CREATE VIEW'", "SELECT 1; ALTER TABLE public_blue.users REPLICA IDENTITY FULL", ""),
    ] {
        let scene = users();
        let mut admin = scene.admin();
        admin.run("CREATE TRIGGER own AFTER UPDATE ON users FOR EACH ROW WHEN (false) EXECUTE FUNCTION nothing()");
        let mut owner = scene.owner();
        owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
        stamper(&scene, tags, does);
        let call = "CALL bg_run('users', 'swapped')";
        if word.is_empty() {
            // It has no such command in this deployment.
            owner.run(call);
        } else {
            let refusal = owner.refused(call);
            assert_eq!(refusal.code, "55000", "{does}: {refusal:?}");
            assert!(refusal.message.contains(word), "{does}: {refusal:?}");
            assert!(refusal.everything().contains("Stamp\"\"er"), "{does}: {refusal:?}");
            scene.app().run("INSERT INTO users (name, email) VALUES ('n', 'e')");
            without_stamper(&scene);
            owner.run(
                "SELECT bg_abort('users'); SELECT bg_prepare('users', 'ADD COLUMN phone text')",
            );
            owner.run(call);
        }
        assert_eq!(admin.int("SELECT count(*) FROM pg_policy"), 0);
        assert_eq!(
            admin.text("SELECT relrowsecurity || ' ' || relnatts FROM pg_class WHERE oid = 'users'::regclass"),
            "false 5"
        );
    }
}

#[test]
fn what_an_event_trigger_does_in_the_swap_rolls_it_back_and_names_it() {
    for (tags, does, word) in [
        ("'ALTER TABLE'", "ALTER TABLE %s ENABLE ROW LEVEL SECURITY", "row level security"),
        ("'ALTER TABLE'", "ALTER TABLE %s ADD COLUMN IF NOT EXISTS late text", "column late"),
        ("'ALTER TABLE'", "CREATE INDEX IF NOT EXISTS late ON %s (id)", "index late"),
        ("'ALTER TABLE'", "ALTER TABLE %s OWNER TO other_owner", "owner"),
        (
            "'ALTER TABLE'",
            "CREATE OR REPLACE TRIGGER late AFTER INSERT ON %s EXECUTE FUNCTION public.nothing()",
            "trigger late",
        ),
    ] {
        let scene = users();
        let mut admin = scene.admin();
        let mut owner = scene.owner();
        owner.make_ready("ADD COLUMN phone text");
        let before = (looks(&mut admin, "public.users"), looks(&mut admin, "public_blue.users"));
        stamper(&scene, tags, does);

        let refusal = owner.refused("SELECT bg_swap('users')");

        refusal.assert_is("55000", &[word, "Stamp\"\"er"]);
        let after = (looks(&mut admin, "public.users"), looks(&mut admin, "public_blue.users"));
        assert_eq!(before, after);
        scene.app().run("INSERT INTO users (name, email) VALUES ('n', 'e')");
        without_stamper(&scene);
        owner.swap();
        assert_eq!(scene.app().int("SELECT count(*) FROM users"), 21);
        stamper(&scene, tags, does);
        owner.refused("SELECT bg_revert('users')").assert_is("55000", &[word, "Stamp\"\"er"]);
        without_stamper(&scene);
        owner.revert();
    }
}

#[test]
fn what_is_put_on_a_log_later_is_named_by_the_next_step_and_stops_no_writer() {
    for (does, undo, word) in [
        (
            "ALTER TABLE bluegreen.forward_1 ADD COLUMN late text NOT NULL DEFAULT ''",
            "ALTER TABLE bluegreen.forward_1 DROP COLUMN late",
            "column late",
        ),
        (
            "CREATE INDEX late ON bluegreen.forward_1 (position)",
            "DROP INDEX bluegreen.late",
            "index late",
        ),
        (
            "CREATE RULE late AS ON DELETE TO bluegreen.forward_1 DO INSTEAD NOTHING",
            "DROP RULE late ON bluegreen.forward_1",
            "rule late",
        ),
        (
            "CREATE TRIGGER late BEFORE INSERT ON bluegreen.forward_1 EXECUTE FUNCTION nothing()",
            "DROP TRIGGER late ON bluegreen.forward_1",
            "trigger late",
        ),
        (
            "ALTER TABLE bluegreen.forward_1 ADD CHECK (false)",
            "ALTER TABLE bluegreen.forward_1 DROP CONSTRAINT forward_1_check",
            "constraint forward_1_check",
        ),
    ] {
        let scene = users();
        let mut admin = scene.admin();
        let mut owner = scene.owner();
        let mut app = scene.app();
        owner.make_ready("ADD COLUMN phone text");

        admin.run(does);
        app.run("INSERT INTO users (name, email) VALUES ('n', 'e'); UPDATE users SET id = 99 WHERE id = 3");
        owner.refused("SELECT bg_swap('users')").assert_is("55000", &["forward_1", word]);
        owner.refused("CALL bg_run('users')").assert_is("55000", &["forward_1", word]);
        admin.run(undo);
        app.run("DELETE FROM users WHERE id = 4");

        owner.swap();
        assert_eq!(app.text("SELECT count(*) || ' ' || max(id) FROM users"), "20 99");
        scene.assert_same(
            "SELECT id, name, email FROM users",
            "SELECT id, name, email FROM public_blue.users",
        );
    }
}

#[test]
fn an_event_trigger_that_takes_capture_off_is_refused() {
    for does in [
        "DROP TRIGGER IF EXISTS bluegreen_capture ON public.users",
        "ALTER TABLE public.users DISABLE TRIGGER USER",
        "ALTER TABLE public.users ENABLE TRIGGER bluegreen_capture",
    ] {
        let scene = users();
        let mut owner = scene.owner();
        // Set up so that it comes after our own ALTER TABLE.
        stamper(&scene, "'ALTER TABLE'", &format!(
            "DO $x$ BEGIN IF EXISTS (SELECT FROM pg_trigger WHERE tgname = 'bluegreen_capture' AND tgenabled = 'A'
                 AND tgrelid = 'public.users'::regclass) THEN {does}; END IF; END $x$"
        ));
        let before = scene.inventory();
        owner.refused("SELECT bg_prepare('users')").assert_is("55000", &["capture", "users"]);
        before.assert_same(&scene.inventory());
        without_stamper(&scene);
        owner.make_ready("ADD COLUMN phone text");
        stamper(&scene, "'ALTER TABLE'", does);
        owner.refused("SELECT bg_swap('users')").assert_is("55000", &["capture", "users"]);
        without_stamper(&scene);
        owner.swap();
    }
}

#[test]
fn a_log_that_has_lost_a_column_is_named_and_stops_no_writer() {
    let scene = users();
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    scene.admin().run("ALTER TABLE bluegreen.forward_1 DROP COLUMN k1");

    scene.app().run("INSERT INTO users (name, email) VALUES ('n', 'e')");

    owner.refused("SELECT bg_swap('users')").assert_is("55000", &["forward_1", "columns"]);
    owner.run("SELECT bg_abort('users')");
}

#[test]
fn an_extension_that_was_made_under_an_event_trigger_works() {
    let scene = users();
    scene.admin().run("DROP EXTENSION pg_bluegreen");
    stamper(
        &scene,
        "'CREATE TABLE'",
        "ALTER TABLE %s ADD COLUMN stamped_at timestamptz DEFAULT now()",
    );
    scene.admin().run("CREATE EXTENSION pg_bluegreen");
    let mut owner = scene.owner();
    let mut app = scene.app();

    owner.run("SELECT bg_prepare('users', 'ADD COLUMN phone text')");
    app.run("TRUNCATE users; INSERT INTO users (name, email) VALUES ('n', 'e')");
    owner.run("CALL bg_run('users', 'swapped')");
    app.run("TRUNCATE users; INSERT INTO users (name, email) VALUES ('n', 'f')");
    owner.run("CALL bg_run('users', 'finished')");

    assert_eq!(app.text("SELECT string_agg(email, ' ') FROM users"), "f");
    without_stamper(&scene);
}
