//! What is said of a table's row type, and of the constraint that a constraint trigger has.

use crate::story::{Person, Scene, Stage, stage};

static STAGE: Stage = stage!();

/// A table with views and a constraint trigger; what is said of their row types, and of the trigger's constraint.
fn with_row_types() -> Scene {
    let scene = STAGE.users(10);
    scene.admin().run(
        "CREATE VIEW seen AS SELECT id, name FROM users; ALTER VIEW seen OWNER TO owner;
         CREATE MATERIALIZED VIEW digest AS SELECT id FROM users; ALTER MATERIALIZED VIEW digest OWNER TO owner;
         CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER later AFTER INSERT ON users DEFERRABLE FOR EACH ROW EXECUTE FUNCTION fire();
         COMMENT ON CONSTRAINT later ON users IS 'of later';
         REVOKE USAGE ON TYPE users FROM PUBLIC; GRANT USAGE ON TYPE users TO app WITH GRANT OPTION;
         COMMENT ON TYPE users IS 'it''s a row'; GRANT USAGE ON TYPE seen TO mallory;
         COMMENT ON TYPE digest IS 'of digest'; REVOKE USAGE ON TYPE digest FROM PUBLIC",
    );
    scene
}

/// The rights and comments in a schema.
fn said_of_row_types(admin: &mut Person, schema: &str) -> Vec<String> {
    admin.list(&format!(
        "SELECT concat_ws(' ', y.typname, y.typacl, coalesce(obj_description(y.oid, 'pg_type'), '-'))
           FROM pg_class c JOIN pg_type y ON y.oid = c.reltype
          WHERE c.relnamespace = '{schema}'::regnamespace AND c.relname IN ('users', 'seen', 'digest')
         UNION ALL
         SELECT concat_ws(' ', 'constraint', k.conname, coalesce(obj_description(k.oid, 'pg_constraint'), '-'))
           FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 't'
          WHERE c.relnamespace = '{schema}'::regnamespace AND c.relname = 'users' ORDER BY 1"
    ))
}

#[test]
fn what_is_said_of_row_types_and_of_a_triggers_constraint_goes_with_the_table() {
    let scene = with_row_types();
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    let expected = [
        "constraint later of later",
        "digest {owner=U/owner} of digest",
        "seen {=U/owner,owner=U/owner,mallory=U/owner} -",
        "users {owner=U/owner,app=U*/owner} it's a row",
    ];
    let mut is_said = |schema: &str, when: &str| {
        assert_eq!(said_of_row_types(&mut admin, schema), expected, "{when}");
        let may = "SELECT string_agg(has_type_privilege(r, 'users', 'USAGE')::text, ' ') FROM unnest(ARRAY['app', 'mallory']) r";
        assert_eq!(admin.text(may), "true false", "{when}");
    };
    is_said("public", "at first");

    owner.make_ready("ADD COLUMN phone text, RENAME COLUMN name TO full_name");
    is_said("public_blue", "ready");
    owner.swap();
    is_said("public", "swapped");
    is_said("public_blue", "swapped");
    owner.revert();
    is_said("public", "reverted");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    is_said("public", "finished");
    // The roles do not hang on a type that is gone.
    owner.make_ready("");
    owner.run("SELECT bg_abort('users')");
    is_said("public", "aborted");
    let of_types =
        "SELECT count(*) FROM pg_shdepend d WHERE d.classid = 'pg_type'::regclass AND d.dbid = (
            SELECT oid FROM pg_database WHERE datname = current_database())
            AND d.deptype = 'a' AND NOT EXISTS (SELECT FROM pg_type y WHERE y.oid = d.objid)";
    assert_eq!(scene.admin().int(of_types), 0);
}

#[test]
fn what_is_said_of_a_row_type_during_a_deployment_is_named_and_followed() {
    const PREPARE: &str = "SELECT bg_prepare('users', 'ADD COLUMN phone text')";
    let scene = with_row_types();
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    owner.make_ready("ADD COLUMN phone text");
    for (statement, part) in [
        ("GRANT USAGE ON TYPE users TO mallory", "grants of its row type"),
        ("COMMENT ON TYPE users IS 'late'", "comment of its row type"),
        ("COMMENT ON CONSTRAINT later ON users IS 'late too'", "constraint later"),
        ("REVOKE USAGE ON TYPE seen FROM PUBLIC", "view public.seen"),
        ("COMMENT ON TYPE digest IS NULL", "materialized view public.digest"),
    ] {
        admin.run(statement);
        let refusal = owner.refused("SELECT bg_swap('users')");
        refusal.assert_is("55000", &["public.users", part]);
        assert!(refusal.hint.contains("bg_prepare"), "{statement}: {refusal:?}");
        assert_eq!(owner.text(PREPARE), "indexing", "{statement}");
        owner.sync();
    }
    owner.swap();
    let expected = [
        "constraint later late too",
        "digest {owner=U/owner} -",
        "seen {owner=U/owner,mallory=U/owner} -",
        "users {owner=U/owner,app=U*/owner,mallory=U/owner} late",
    ];
    assert_eq!(said_of_row_types(&mut admin, "public"), expected);

    // The old table follows.
    admin.run("REVOKE USAGE ON TYPE users FROM mallory; COMMENT ON TYPE users IS NULL");
    owner.refused("SELECT bg_revert('users')").assert_is("55000", &["public.users", "row type"]);
    assert_eq!(owner.text(PREPARE), "swapped");
    owner.run("SELECT bg_revert('users')");
    assert_eq!(said_of_row_types(&mut admin, "public")[3], "users {owner=U/owner,app=U*/owner} -");
    owner.run("SELECT bg_abort('users')");
    assert_eq!(said_of_row_types(&mut admin, "public")[3], "users {owner=U/owner,app=U*/owner} -");
}

#[test]
fn a_target_whose_row_type_has_other_rights_than_the_live_ones_is_refused() {
    let scene = STAGE.empty();
    scene.table("users", "id int PRIMARY KEY, name text");
    scene.table("users_new", "id int PRIMARY KEY, name text, phone text");
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    admin.run("REVOKE USAGE ON TYPE users FROM PUBLIC; COMMENT ON TYPE users_new IS 'new'");
    let prepare = "SELECT bg_prepare('users', target => 'users_new')";

    owner.refused(prepare).assert_is("0A000", &["row type", "public.users_new", "privileges"]);
    owner.run("REVOKE USAGE ON TYPE users_new FROM PUBLIC");
    owner.run(prepare);
    owner.run("CALL bg_run('users', 'swapped')");

    // Its comment is its own, as that of the table.
    assert_eq!(said_of_row_types(&mut admin, "public"), ["users {owner=U/owner} new"]);
    owner.revert();
    assert_eq!(said_of_row_types(&mut admin, "public"), ["users {owner=U/owner} -"]);
}
