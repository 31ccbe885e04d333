//! The examples: the files of each directory run in the order of their names, and its checks pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use bluegreen_tests::cluster::{Cluster, Options, SUPERUSER};
use bluegreen_tests::setup::Workspace;

/// What owns the databases.
const OWNER: &str = "app";

/// What is directly in a directory, in the order of the names.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// Runs the files of a directory in a new database, and returns what is wrong.
fn play(cluster: &Cluster, directory: &Path) -> Result<(), String> {
    let database = name(directory);
    let mut admin = cluster.connect(SUPERUSER, "postgres").unwrap();
    admin.batch_execute(&format!("CREATE DATABASE \"{database}\" OWNER {OWNER}")).unwrap();
    cluster.install_extension(&database).unwrap();
    let files = entries(directory);
    let files: Vec<&PathBuf> = files.iter().filter(|file| name(file).ends_with(".sql")).collect();
    let last = files.last().map(|file| name(file)).unwrap_or_default();
    if !last.ends_with("check.sql") {
        return Err(format!("{database} does not end with a check"));
    }
    for file in files {
        let is_check = name(file).ends_with("check.sql");
        if is_check && !fs::read_to_string(file).unwrap().contains("ASSERT") {
            return Err(format!("{database}/{} checks nothing", name(file)));
        }
        let output = cluster
            .command("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", OWNER, "-d", &database, "-f"])
            .arg(file)
            .output()
            .expect("starting psql");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    let mut admin = cluster.connect(SUPERUSER, &database).unwrap();
    let open: i64 = admin.query_one("SELECT count(*) FROM bg_status()", &[]).unwrap().get(0);
    if open > 0 { Err(format!("{database} leaves a deployment open")) } else { Ok(()) }
}

fn new_cluster() -> Cluster {
    let cluster = Cluster::start(&Options::default()).unwrap();
    cluster.create_owner(OWNER).unwrap();
    cluster
}

#[test]
fn every_example_runs_and_its_checks_pass() {
    let examples = Workspace::find().unwrap().root().join("examples");
    let directories: Vec<PathBuf> =
        entries(&examples).into_iter().filter(|path| path.is_dir()).collect();
    assert!(!directories.is_empty(), "there are no examples");
    let cluster = new_cluster();

    let played = directories.iter().filter_map(|directory| play(&cluster, directory).err());
    let wrong: Vec<String> = played.collect();

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_is_listed_and_says_what_it_is() {
    let root = Workspace::find().unwrap().root().to_path_buf();
    let list = fs::read_to_string(root.join("examples/README.md")).unwrap();
    for directory in entries(&root.join("examples")).into_iter().filter(|path| path.is_dir()) {
        let name = name(&directory);
        assert!(list.contains(&format!("({name}/README.md)")), "{name} is not listed");
        assert!(directory.join("README.md").is_file(), "{name} has no README.md");
    }
}

#[test]
fn an_example_whose_check_fails_or_that_leaves_something_open_is_found() {
    let cluster = new_cluster();
    let parent = tempfile::tempdir().unwrap();
    let wrong = |name: &str, files: &[(&str, &str)]| {
        let directory = parent.path().join(name);
        fs::create_dir(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        play(&cluster, &directory).expect_err(name)
    };
    let table = ("1-before.sql", "CREATE TABLE t (id int PRIMARY KEY);");
    let right = "DO $$ BEGIN ASSERT true; END $$;";

    let why = wrong("fails", &[table, ("2-check.sql", "DO $$ BEGIN ASSERT false; END $$;")]);
    assert!(why.contains("assertion failed"), "{why}");
    assert!(wrong("unchecked", &[table]).contains("does not end with a check"));
    assert!(wrong("nothing", &[table, ("2-check.sql", "SELECT 1;")]).contains("checks nothing"));
    let open = [table, ("2-deploy.sql", "SELECT bg_prepare('t');"), ("3-check.sql", right)];
    assert!(wrong("open", &open).contains("leaves a deployment open"));
}
