//! Everything a table is: whole schemas are deployed, a table at a time, and pg_dump tells whether
//! anything is different.

use std::collections::BTreeMap;

use bluegreen_tests::cluster::SUPERUSER;

use crate::story::dump::{Dump, difference};
use crate::story::{Major, Person, Scene, Stage, major, stage};

static STAGE: Stage = stage!();

const HOSTILE: &str = include_str!("../../../schemas/hostile.sql");
const SHOP: &str = include_str!("../../../schemas/shop.sql");
/// The tables of `pgbench -i`, with its foreign keys.
const PGBENCH: &str = "
CREATE TABLE pgbench_branches (bid int NOT NULL PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 100);
CREATE TABLE pgbench_tellers (tid int NOT NULL PRIMARY KEY, bid int REFERENCES pgbench_branches, tbalance int,
    filler char(84)) WITH (fillfactor = 100);
CREATE TABLE pgbench_accounts (aid int NOT NULL PRIMARY KEY, bid int REFERENCES pgbench_branches, abalance int,
    filler char(84)) WITH (fillfactor = 100);
INSERT INTO pgbench_branches SELECT n, 0 FROM generate_series(1, 2) n;
INSERT INTO pgbench_tellers SELECT n, 1 + n % 2, 0 FROM generate_series(1, 20) n;
INSERT INTO pgbench_accounts SELECT n, 1 + n % 2, 0 FROM generate_series(1, 2000) n;
ALTER TABLE pgbench_branches OWNER TO owner;
ALTER TABLE pgbench_tellers OWNER TO owner;
ALTER TABLE pgbench_accounts OWNER TO owner;";

/// A scene with the schema of a file.
fn scene(schema: &str) -> Scene {
    let scene = STAGE.empty();
    scene.cluster.psql_as(SUPERUSER, &scene.database, schema).expect("the schema");
    scene
}

/// The tables of `owner`, as SQL names them.
fn tables(admin: &mut Person) -> Vec<String> {
    admin.list(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'r' AND c.relowner = 'owner'::regrole ORDER BY 1",
    )
}

/// Rows of every table, view and filled materialized view of the users' schemas, as numbers.
fn rows(admin: &mut Person) -> BTreeMap<String, String> {
    let relations = admin.list(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'v', 'm') AND c.relispopulated
            AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'bluegreen')
            AND n.nspname NOT LIKE 'pg_toast%' AND n.nspname NOT LIKE '%\\_blue'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                               AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1",
    );
    let mut found = BTreeMap::new();
    for relation in relations {
        let sql = format!(
            "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {relation} t"
        );
        let sum = admin.text(&sql);
        found.insert(relation, sum);
    }
    found
}

fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', "''"))
}

/// Deploys every table of the schema with empty changes; returns how many.
fn deploy_all(schema: &str) -> usize {
    let scene = scene(schema);
    let mut admin = scene.admin();
    let mut owner = scene.owner();
    let before = Dump::take(&scene);
    let whole = Dump::whole(&scene);
    let rows_before = rows(&mut admin);
    let tables = tables(&mut admin);
    for table in &tables {
        let name = quoted(table);
        assert_eq!(owner.text(&format!("SELECT bg_prepare({name})")), "prepared", "{table}");
        before.assert_same(&Dump::take(&scene), &format!("{table} prepared"));
        owner.run(&format!("CALL bg_run({name})"));
        before.assert_same(&Dump::take(&scene), &format!("{table} ready"));

        owner.run(&format!("SELECT bg_swap({name})"));
        owner.run(&format!("CALL bg_run({name})"));
        assert_eq!(owner.text(&format!("SELECT not_valid FROM bg_status({name})")), "0");
        before.assert_same(&Dump::take(&scene), &format!("{table} swapped"));
        assert_eq!(rows(&mut admin), rows_before, "{table} swapped");

        owner.run(&format!("SELECT bg_revert({name})"));
        owner.run(&format!("CALL bg_run({name})"));
        before.assert_same(&Dump::take(&scene), &format!("{table} reverted"));
        assert_eq!(rows(&mut admin), rows_before, "{table} reverted");

        owner.run(&format!("CALL bg_run({name}, 'swapped')"));
        owner.run(&format!("SELECT bg_finish({name})"));
        whole.assert_same(&Dump::whole(&scene), &format!("{table} finished"));
        assert_eq!(rows(&mut admin), rows_before, "{table} finished");
    }
    tables.len()
}

#[test]
fn a_hostile_schema_is_the_same_before_and_after() {
    assert_eq!(deploy_all(HOSTILE), 9);
}

#[test]
fn a_shop_is_the_same_before_and_after() {
    assert_eq!(deploy_all(SHOP), 18);
}

#[test]
fn pgbench_is_the_same_before_and_after() {
    assert_eq!(deploy_all(PGBENCH), 3);
}

/// Deploys a change to the end and returns what pg_dump says differently: lines gone, lines come.
fn deploy(scene: &Scene, table: &str, changes: &str) -> (Vec<String>, Vec<String>) {
    let mut owner = scene.owner();
    let before = Dump::take(scene);
    let name = quoted(table);
    owner.run(&format!("SELECT bg_prepare({name}, {})", quoted(changes)));
    owner.run(&format!("CALL bg_run({name}, 'swapped')"));
    let swapped = Dump::take(scene);
    owner.run(&format!("SELECT bg_revert({name})"));
    owner.run(&format!("CALL bg_run({name})"));
    before.assert_same(&Dump::take(scene), "reverted");
    owner.run(&format!("CALL bg_run({name}, 'swapped')"));
    owner.run(&format!("SELECT bg_finish({name})"));
    let finished = Dump::take(scene);
    swapped.assert_same(&finished, "finished");
    difference(&before, &finished)
}

#[test]
fn a_wider_key_of_a_parent_changes_its_type_and_nothing_else() {
    let scene = scene(SHOP);
    let (gone, come) = deploy(&scene, "customers", "ALTER COLUMN id TYPE bigint");
    assert_eq!(gone, ["    id integer NOT NULL,"]);
    assert_eq!(come, ["    id bigint NOT NULL,"]);
    // The views follow it.
    assert_eq!(
        scene.admin().text(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
              WHERE attrelid = 'active_customers'::regclass AND attname = 'id'"
        ),
        "bigint"
    );
}

fn in_order<const N: usize>(mut lines: [&str; N]) -> [&str; N] {
    lines.sort_unstable();
    lines
}

#[test]
fn a_renamed_column_is_renamed_in_all_that_hangs_on_the_table() {
    let scene = scene(SHOP);
    let mut admin = scene.admin();
    let (gone, come) = deploy(
        &scene,
        "customers",
        "RENAME COLUMN name TO full_name, ADD COLUMN level smallint NOT NULL DEFAULT 1",
    );
    let sorted = |lines: &[String]| {
        let mut lines: Vec<_> = lines.iter().map(|l| l.trim().to_owned()).collect();
        lines.sort_unstable();
        lines
    };
    // The column, the one that is the last no more, and the views that read it; what they show keeps
    // its name.
    // Since 18 NOT NULL is a constraint, which keeps its name as it does in ALTER TABLE.
    let full_name = if major() >= Major::V18 {
        "full_name text CONSTRAINT customers_name_not_null NOT NULL,"
    } else {
        "full_name text NOT NULL,"
    };
    // Since 16 a column of the only table is shown without it.
    let of = if major() >= Major::V16 { "" } else { "customers." };
    assert_eq!(
        sorted(&gone),
        in_order([
            "GROUP BY o.id, c.name;",
            "c.name AS customer,",
            &format!("{of}name,"),
            "deleted_at timestamp with time zone",
            "name text NOT NULL,"
        ])
    );
    assert_eq!(
        sorted(&come),
        in_order([
            "GROUP BY o.id, c.full_name;",
            "c.full_name AS customer,",
            &format!("{of}full_name AS name,"),
            "deleted_at timestamp with time zone,",
            full_name,
            "level smallint DEFAULT 1 NOT NULL"
        ])
    );
    assert_eq!(admin.text("SELECT count(*) FROM order_totals WHERE customer LIKE 'Cust%'"), "300");
}

#[test]
fn a_renamed_key_is_renamed_in_foreign_keys_policies_and_publications() {
    let scene = scene(HOSTILE);
    let (gone, come) = deploy(
        &scene,
        "people",
        "RENAME COLUMN id TO \"Person Id\", RENAME COLUMN age TO years, RENAME CONSTRAINT people_boss_fk TO boss_fk",
    );
    assert!(!gone.is_empty() && gone.len() <= come.len(), "{gone:#?} {come:#?}");
    for line in &gone {
        let names = ["id", "age", "people_boss_fk"];
        assert!(names.iter().any(|name| line.contains(name)), "changed for nothing: {line}");
    }
    let mut admin = scene.admin();
    admin.run("SELECT * FROM \"s\"\"quote\".\"view of views\"; SELECT * FROM called");
    assert_eq!(admin.text("SELECT reports.people_older(50) > 0"), "t");
    scene.app().run("INSERT INTO orders (id, person, amount) VALUES (5000, 30, 3)");
}
