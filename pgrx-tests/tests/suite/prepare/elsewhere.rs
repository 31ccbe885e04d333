//! Tables whose rows an extension keeps elsewhere, or that it knows by their OID; with extensions that
//! the tests make.

use bluegreen_tests::cluster::{MadeExtension, SUPERUSER};

use crate::story::{Person, Stage, stage};

static STAGE: Stage = stage!();

/// bg_check and bg_prepare refuse, in these words.
#[track_caller]
fn assert_refused(owner: &mut Person, arguments: &str, code: &str, words: &[&str]) {
    let refusal = owner.refused(&format!("SELECT bg_prepare({arguments})"));
    refusal.assert_is("0A000", words);
    let found = owner.list(&format!(
        "SELECT code || ': ' || message FROM bg_check({arguments}) WHERE severity = 'error'"
    ));
    let told =
        |line: &String| line.starts_with(code) && words.iter().all(|word| line.contains(word));
    assert!(found.iter().any(told), "{found:?}");
    assert_eq!(owner.text("SELECT to_regnamespace('public_blue') IS NULL"), "t");
}

#[test]
fn a_table_that_an_extension_knows_by_its_oid_is_refused() {
    let _keeper = MadeExtension::of_sql(
        "keeper",
        r#"CREATE SCHEMA "The keeper";
           CREATE DOMAIN "The keeper".known AS regclass;
           CREATE TABLE "The keeper"."Tables" (number oid, "The table" regclass, several regclass[], oids oid[], d "The keeper".known);
           CREATE TABLE "The keeper".parts (part oid, n int) PARTITION BY LIST (n);
           CREATE TABLE "The keeper".part PARTITION OF "The keeper".parts DEFAULT;
           CREATE TABLE "The keeper".names (name text);"#,
    )
    .unwrap();
    let scene = STAGE.users(10);
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    admin.run("CREATE EXTENSION keeper; CREATE TABLE kept (t regclass); INSERT INTO kept VALUES ('users')");
    for (values, column) in [
        ("users'::regclass::oid", r#""The keeper"."Tables".number"#),
        ("NULL, 'users'", r#""The keeper"."Tables"."The table""#),
        ("NULL, NULL, ARRAY['pg_class', 'users']::regclass[]", r#""The keeper"."Tables".several"#),
        ("NULL, NULL, NULL, ARRAY['users'::regclass::oid]", r#""The keeper"."Tables".oids"#),
        ("NULL, NULL, NULL, NULL, 'users'", r#""The keeper"."Tables".d"#),
    ] {
        let values =
            if values.starts_with("users") { format!("'{values}") } else { values.to_owned() };
        admin.run(&format!(r#"INSERT INTO "The keeper"."Tables" VALUES ({values})"#));
        assert_refused(&mut owner, "'users'", "known_by_oid", &["keeper", "public.users", column]);
        admin.run(r#"DELETE FROM "The keeper"."Tables""#);
    }
    admin.run(r#"INSERT INTO "The keeper".parts VALUES ('users'::regclass, 1)"#);
    assert_refused(&mut owner, "'users'", "known_by_oid", &["keeper", r#""The keeper".part"#]);
    admin.run(r#"DELETE FROM "The keeper".parts; INSERT INTO "The keeper"."Tables" VALUES ('pg_class'::regclass)"#);

    // Neither another table's OID nor a table of the user's is in the way, nor our own tables.
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
    owner.run("SELECT bg_finish('users')");
    owner.make_ready("DROP COLUMN phone");
}

#[test]
fn changes_and_a_target_that_reach_such_a_table_are_refused() {
    let _keeper = MadeExtension::of_sql("holder", "CREATE TABLE held (t regclass)").unwrap();
    let scene = STAGE.users(10);
    scene.table("teams", "id int PRIMARY KEY");
    let (mut admin, mut owner) = (scene.admin(), scene.owner());
    admin.run("GRANT ALL ON SCHEMA public TO owner; CREATE EXTENSION holder; INSERT INTO held VALUES ('teams')");
    let change = "'users', 'ADD COLUMN team int, ADD FOREIGN KEY (team) REFERENCES teams'";
    let refusal = owner.refused(&format!("SELECT bg_prepare({change})"));
    refusal.assert_is("0A000", &["holder", "public.teams", "public.held.t"]);
    let found =
        owner.list(&format!("SELECT message FROM bg_check({change}) WHERE severity = 'error'"));
    assert!(found.iter().any(|line| line.contains("public.teams")), "{found:?}");

    owner.run("CREATE TABLE made (LIKE users INCLUDING ALL)");
    admin.run("INSERT INTO held VALUES ('made')");
    let refusal = owner.refused("SELECT bg_prepare('users', target => 'made')");
    refusal.assert_is("0A000", &["holder", "public.made"]);
    // A foreign key that is there already goes along.
    admin.run("ALTER TABLE users ADD COLUMN team int REFERENCES teams");
    owner.make_ready("ADD COLUMN phone text");
    owner.swap();
}

/// A planner hook that lets queries of `far` read another table, and those of `gone` nothing.
const HOOK: &str = r#"
#include "postgres.h"
#include "fmgr.h"
#include "catalog/namespace.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/planner.h"
#include "parser/parse_relation.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
PG_MODULE_MAGIC;
void _PG_init(void);
static planner_hook_type before = NULL;
static PlannedStmt *elsewhere(Query *query, const char *text, int options, ParamListInfo params) {
    ListCell *cell;
    Oid schema = get_namespace_oid("elsewhere", true);
    foreach(cell, query->rtable) {
        RangeTblEntry *entry = lfirst(cell);
        char *name = entry->rtekind == RTE_RELATION ? get_rel_name(entry->relid) : NULL;
        if (name && schema != InvalidOid && strcmp(name, "far") == 0 && query->commandType == CMD_SELECT) {
            Oid rows = get_relname_relid("rows", schema);
            if (rows != InvalidOid) {
#if PG_VERSION_NUM >= 160000
                getRTEPermissionInfo(query->rteperminfos, entry)->relid = rows;
#endif
                entry->relid = rows;
                LockRelationOid(rows, AccessShareLock);
            }
        }
        if (name && strcmp(name, "gone") == 0 && query->commandType == CMD_SELECT)
            query->jointree->quals = makeBoolConst(false, false);
    }
    return before ? before(query, text, options, params) : standard_planner(query, text, options, params);
}
void _PG_init(void) { before = planner_hook; planner_hook = elsewhere; }
"#;

#[test]
fn a_table_whose_queries_read_something_else_is_refused() {
    let _elsewhere = MadeExtension::of_c(
        "elsewhere",
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.rows (id int); GRANT USAGE ON SCHEMA elsewhere TO PUBLIC",
        HOOK,
    )
    .unwrap();
    let scene = STAGE.empty();
    for name in ["near", "far", "gone"] {
        scene.table(name, "id int PRIMARY KEY");
    }
    scene.admin().run(&format!(
        "CREATE EXTENSION elsewhere; INSERT INTO near VALUES (1);
         ALTER DATABASE {} SET session_preload_libraries = 'elsewhere'",
        scene.database
    ));
    let mut owner = scene.owner();

    assert_refused(
        &mut owner,
        "'far', 'ADD COLUMN x int'",
        "rows_elsewhere",
        &["public.far", "elsewhere.rows", "extension elsewhere"],
    );
    assert_refused(
        &mut owner,
        "'gone', 'ADD COLUMN x int'",
        "rows_elsewhere",
        &["public.gone", "Result"],
    );
    owner.run("SELECT bg_prepare('near', 'ADD COLUMN x int')");
    owner.run("CALL bg_run('near', 'finished')");
    assert_eq!(owner.int("SELECT count(*) FROM near"), 1);
}

fn warnings(person: &mut Person) -> Vec<String> {
    let told = person.notices().into_iter();
    told.filter(|n| n.message.contains("capture trigger"))
        .map(|n| n.code + " " + &n.message)
        .collect()
}

#[test]
fn a_capture_trigger_of_no_deployment_warns_once_a_session_and_table() {
    let scene = STAGE.users(10);
    scene.owner().make_ready("ADD COLUMN phone text");
    for name in ["one", "two"] {
        scene.table(name, "id int");
        scene.admin().run(&format!(
            "CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION bluegreen.capture();
             CREATE TRIGGER u AFTER TRUNCATE ON {name} EXECUTE FUNCTION bluegreen.capture()"
        ));
    }
    for _ in 0..2 {
        let mut app = scene.app();
        app.run("INSERT INTO one VALUES (1), (2)");
        let said = warnings(&mut app);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("01000") && said[0].contains("public.one"), "{said:?}");
        // Also when what the session knows of the table was forgotten.
        scene.admin().run("ALTER TABLE one SET (fillfactor = 90)");
        app.run("UPDATE one SET id = 3; DELETE FROM one; TRUNCATE one; INSERT INTO users (email) VALUES ('a' || random())");
        assert_eq!(warnings(&mut app), [""; 0]);
        app.run("TRUNCATE two");
        assert_eq!(warnings(&mut app).len(), 1);
    }
    scene.owner().swap();
    scene.assert_in_step("id, email");
}

#[test]
fn a_restored_database_writes_without_a_warning() {
    let scene = STAGE.users(10);
    let mut owner = scene.owner();
    owner.make_ready("ADD COLUMN phone text");
    for phase in ["ready", "swapped"] {
        let dump = scene
            .cluster
            .command("pg_dump")
            .args(["-U", SUPERUSER, "-d", &scene.database])
            .output()
            .unwrap();
        let copy = format!("{}_{phase}", scene.database);
        scene.admin().run(&format!("CREATE DATABASE {copy}"));
        let sql = String::from_utf8(dump.stdout).unwrap();
        scene.cluster.psql_as(SUPERUSER, &copy, &sql).unwrap();

        let mut writer = Person::connect(scene.cluster, "app", &copy);
        writer.run(
            "INSERT INTO public.users (email) VALUES ('new'); UPDATE public.users SET name = 'x'",
        );

        assert_eq!(warnings(&mut writer), [""; 0]);
        if phase == "ready" {
            owner.swap();
        }
    }
}
