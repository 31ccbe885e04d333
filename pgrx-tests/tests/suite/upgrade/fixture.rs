//! Databases as 0.1.0 has left them, made again from what pg_dump and its own tables said of them.
//!
//! A number that the server gave is not in a fixture: `<<relation public.users>>` stands for it, and is looked
//! up once the objects are there.

use std::path::PathBuf;

use bluegreen_tests::cluster::Cluster;
use bluegreen_tests::setup::Workspace;

use crate::story::{Major, Scene, major};

/// What stands between the objects and the rows of `bluegreen`, which name them by their numbers.
pub const STATE: &str = "\n-- State\n";

/// The file of a fixture.
pub fn file(name: &str) -> PathBuf {
    let root = Workspace::find().unwrap().root().to_path_buf();
    root.join("pgrx-tests/upgrade_fixtures/0.1.0").join(format!("{name}.sql"))
}

/// Whether a deployment of a fixture can go on here. Its definitions are described as the server does on which it
/// was recorded, 15; another one describes the same definitions in other words, and they have changed then, as
/// after pg_upgrade.
pub fn goes_on_here() -> bool {
    let here = major() == Major::V15;
    if !here {
        println!("not tested: the fixtures were recorded on PostgreSQL 15");
    }
    here
}

/// An empty database without the extension.
pub fn empty(cluster: &'static Cluster, database: &str) -> Scene {
    let scene = Scene { cluster, database: "postgres".to_owned() };
    scene.admin().run(&format!("CREATE DATABASE {database}"));
    Scene { cluster, database: database.to_owned() }
}

/// A database with a deployment of 0.1.0, whose SQL it has; the library is the new one.
pub fn load(cluster: &'static Cluster, name: &str) -> Scene {
    load_as(cluster, name, name)
}

/// The same in a database of another name.
pub fn load_as(cluster: &'static Cluster, name: &str, database: &str) -> Scene {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let (objects, state) = text.split_once(STATE).expect("no state in the fixture");
    let scene = empty(cluster, database);
    scene.admin().run(objects);
    let mut admin = scene.admin();
    // One transaction: its number stands for those of 0.1.0.
    admin.run("BEGIN");
    let mut sql = String::new();
    let mut rest = state;
    while let Some((before, placeholder)) = rest.split_once("<<") {
        let (placeholder, after) = placeholder.split_once(">>").expect("<< without >>");
        sql.push_str(before);
        sql.push_str(&admin.text(&lookup(placeholder)));
        rest = after;
    }
    sql.push_str(rest);
    admin.run(&sql);
    admin.run("COMMIT");
    scene
}

/// The question for a number that the server has given.
fn lookup(placeholder: &str) -> String {
    let words: Vec<&str> = placeholder.splitn(3, ' ').collect();
    match words[..] {
        ["relation", name] => format!("SELECT '{name}'::regclass::oid"),
        ["file", name] => format!("SELECT pg_relation_filenode('{name}')"),
        ["function", name] => format!("SELECT '{name}'::regprocedure::oid"),
        ["type", name] => format!("SELECT '{name}'::regtype::oid"),
        ["role", name] => format!("SELECT '{name}'::regrole::oid"),
        ["xid"] => "SELECT pg_current_xact_id()".to_owned(),
        // Before everything that is logged from now on.
        ["position"] => "SELECT (pg_current_wal_insert_lsn() - '0/0')::int8".to_owned(),
        ["trigger", table, name] => format!(
            "SELECT oid FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND tgname = '{name}'"
        ),
        ["trigger-xmin", table, name] => format!(
            "SELECT xmin FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND tgname = '{name}'"
        ),
        ["policy", table, name] => format!(
            "SELECT oid FROM pg_policy WHERE polrelid = '{table}'::regclass AND polname = '{name}'"
        ),
        ["default", table, column] => format!(
            "SELECT d.oid FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid
                 AND a.attnum = d.adnum
              WHERE d.adrelid = '{table}'::regclass AND a.attname = '{column}'"
        ),
        ["column-xmin", table, column] => format!(
            "SELECT xmin FROM pg_attribute WHERE attrelid = '{table}'::regclass
                 AND attname = '{column}'"
        ),
        _ => panic!("what is <<{placeholder}>>?"),
    }
}
