//! The sessions that the documents show: each runs in a throwaway database, and gives what is shown.
//! `src/documents/blocks.rs` explains how a block is marked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bluegreen_tests::cluster::{Cluster, Options, SUPERUSER};
use bluegreen_tests::documents::blocks::{Block, Mark, after_prompt, blocks};
use bluegreen_tests::documents::speaker::Speaker;
use bluegreen_tests::documents::statements::{self, Outcome, Statement};
use bluegreen_tests::documents::{self, Documents};
use bluegreen_tests::setup::Workspace;
use postgres::Client;

/// The role whose sessions are shown.
const ROLE: &str = "app";

/// A session in a database of its own.
struct Session<'a> {
    cluster: &'a Cluster,
    database: String,
    speaker: Speaker,
}

impl<'a> Session<'a> {
    /// One in a new database, which a file has filled.
    fn begin(cluster: &'a Cluster, number: usize, file: &Path) -> Result<Self, String> {
        let database = format!("session{number}");
        let mut admin = cluster.connect(SUPERUSER, "postgres").unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {database}")).unwrap();
        cluster.install_extension(&database).unwrap();
        let output = psql(cluster, &database).arg("-f").arg(file).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let speaker = Speaker::connect(cluster.config(ROLE, &database)).unwrap();
        Ok(Self { cluster, database, speaker })
    }

    /// What comes of a statement.
    fn outcome(&mut self, sql: &str) -> Outcome {
        self.speaker.outcome(sql).unwrap()
    }

    /// Runs a block, and returns what is wrong with it, each with its line.
    fn run(&mut self, block: &Block) -> Vec<(usize, String)> {
        let found = match block.language.as_str() {
            "sh" => return self.run_shell(block),
            "sql" => statements::of_sql(&block.text),
            _ if block.text.lines().any(|line| after_prompt(line).is_some()) => {
                statements::of_transcript(&block.text)
            }
            _ => Ok(statements::of_source(&block.text)),
        };
        let found = match found {
            Ok(found) if found.is_empty() => return vec![(block.line, "no statement".to_owned())],
            Ok(found) => found,
            Err(why) => return vec![(block.line, why)],
        };
        let mut check = |statement: &Statement| {
            let outcome = self.outcome(&statement.sql);
            let why = statement.difference(&outcome)?;
            Some((block.line + statement.line, format!("{}: {why}", statement.sql.trim())))
        };
        found.iter().filter_map(&mut check).collect()
    }

    /// Runs a shell script, whose psql comes to this database.
    fn run_shell(&self, block: &Block) -> Vec<(usize, String)> {
        let like = psql(self.cluster, &self.database);
        let bin = Path::new(like.get_program()).parent().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-euc", &block.text]);
        for (name, value) in like.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
        shell.env("PATH", std::env::join_paths(path).unwrap());
        let output = shell
            .env("PGUSER", ROLE)
            .env("PGDATABASE", &self.database)
            .output()
            .expect("starting sh");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let failed = !output.status.success() || said.contains("ERROR:");
        if failed { vec![(block.line, said)] } else { Vec::new() }
    }
}

/// psql as superuser in a database, with the programs of its server in the path.
fn psql(cluster: &Cluster, database: &str) -> Command {
    let mut psql = cluster.command("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database]);
    psql
}

/// Declarations in a block that are not those of the functions as the server has them.
fn wrong_declarations(admin: &mut Client, block: &Block) -> Vec<(usize, String)> {
    let mut declared: Vec<(usize, String)> = Vec::new();
    for (at, line) in block.text.lines().enumerate() {
        match declared.last_mut() {
            Some((_, text)) if line.starts_with([' ', ')']) || line.starts_with("RETURNS") => {
                *text += &format!("\n{line}");
            }
            _ => declared.push((block.line + at, line.to_owned())),
        }
    }
    let mut wrong = Vec::new();
    for (line, text) in declared {
        if let Err(why) = compare_declaration(admin, &text) {
            wrong.push((line, format!("{text}: {why}")));
        }
    }
    wrong
}

/// Creates a function of that declaration, and compares what the server says of it with what it says of
/// the extension's.
fn compare_declaration(admin: &mut Client, text: &str) -> Result<(), String> {
    let (kind, text) = match text.strip_prefix("CALL ") {
        Some(text) => ("PROCEDURE", text),
        None => ("FUNCTION", text),
    };
    let name = text.split('(').next().unwrap_or_default().trim();
    let is_elided = text.contains("TABLE (…)");
    let text = text.replace("TABLE (…)", "SETOF record");
    let said = |error: &postgres::Error| match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    };
    let mut transaction = admin.transaction().map_err(|error| said(&error))?;
    transaction
        .batch_execute(&format!(
            "SET LOCAL check_function_bodies = off;
             CREATE {kind} pg_temp.{text} LANGUAGE plpgsql AS 'BEGIN END'"
        ))
        .map_err(|error| said(&error))?;
    let rows = transaction
        .query(
            "SELECT pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc
             WHERE proname = $1 ORDER BY pronamespace = pg_my_temp_schema() DESC",
            &[&name],
        )
        .map_err(|error| said(&error))?;
    let described = |at: usize| -> Option<(String, Option<String>)> {
        let row = rows.get(at)?;
        let arguments: String = row.get(0);
        Some((arguments, row.get::<_, Option<String>>(1).filter(|_| !is_elided)))
    };
    match (described(0), described(1)) {
        (_, None) => Err("the extension has no such function".to_owned()),
        (shown, real) if shown == real => Ok(()),
        (_, Some(real)) => Err(format!("it is {real:?}")),
    }
}

/// Runs the blocks of all documents in their order, and returns everything that is wrong.
fn faults(cluster: &Cluster, documents: &Documents, files: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut number = 0;
    for (name, text) in documents {
        let (found, faults) = blocks(text);
        wrong.extend(faults.into_iter().map(|fault| format!("{name}:{fault}")));
        let mut session: Option<Session<'_>> = None;
        for block in found {
            let mut add = |line: usize, why: &str| wrong.push(format!("{name}:{line}: {why}"));
            match &block.mark {
                None if block.needs_mark() => add(block.line, "the block has no mark"),
                None | Some(Mark::NotRun(_)) => {}
                Some(Mark::Declaration) => {
                    let mut admin = cluster.connect(SUPERUSER, "declared").unwrap();
                    for (line, why) in wrong_declarations(&mut admin, &block) {
                        add(line, &why);
                    }
                }
                Some(mark) => {
                    if let Mark::Session(file) = mark {
                        number += 1;
                        let file = files.join(file).with_extension("sql");
                        session = match Session::begin(cluster, number, &file) {
                            Ok(session) => Some(session),
                            Err(why) => {
                                add(block.line, &why);
                                continue;
                            }
                        };
                    }
                    match &mut session {
                        Some(session) => {
                            for (line, why) in session.run(&block) {
                                add(line, &why);
                            }
                        }
                        None => add(block.line, "no session goes on here"),
                    }
                }
            }
        }
    }
    wrong
}

fn new_cluster() -> Cluster {
    let cluster = Cluster::start(&Options::default()).unwrap();
    cluster.create_owner(ROLE).unwrap();
    cluster.psql("CREATE DATABASE declared").unwrap();
    cluster.install_extension("declared").unwrap();
    cluster
}

fn files() -> PathBuf {
    Workspace::find().unwrap().root().join("pgrx-tests/sessions")
}

#[test]
fn every_session_of_the_documents_gives_what_is_shown() {
    let documents = documents::read(Workspace::find().unwrap().root()).unwrap();
    let cluster = new_cluster();

    let wrong = faults(&cluster, &documents, &files());

    assert!(wrong.is_empty(), "sessions that are not as they are shown:\n{}", wrong.join("\n"));
}

/// Reasons not to run a block of the recipes and of the operators' page: each is what a test cannot have, or runs
/// elsewhere.
const NOT_RUN: &[&str] =
    &["needs pg_cron", "needs a superuser and a new session; settings.rs runs it"];

#[test]
fn every_block_of_the_operators_and_the_recipes_is_run() {
    let documents = documents::read(Workspace::find().unwrap().root()).unwrap();
    let mut wrong = Vec::new();
    let pages = documents
        .iter()
        .filter(|(name, _)| name.starts_with("docs/operators") || name.starts_with("docs/recipes"));
    for (name, text) in pages {
        for block in blocks(text).0 {
            let is_run = match &block.mark {
                None => false,
                Some(Mark::NotRun(why)) => NOT_RUN.contains(&why.as_str()),
                Some(_) => true,
            };
            if !is_run {
                wrong.push(format!("{name}:{}: {:?}", block.line, block.mark));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// After the swap, and after its revert: it comes to its end each time.
#[test]
fn the_script_of_the_recipes_can_be_run_again() {
    let documents = documents::read(Workspace::find().unwrap().root()).unwrap();
    let (found, _) = blocks(&documents["docs/recipes.md"]);
    let script = found.iter().find(|block| block.language == "sh").expect("a script");
    let cluster = new_cluster();
    let mut session = Session::begin(&cluster, 1, &files().join("users.sql")).unwrap();
    let phase = |session: &mut Session<'_>| {
        session.outcome("SELECT phase FROM bg_status('users')").rows.join(" ")
    };
    let text = format!("timeout 60 sh -eu <<'END'\n{}END\n", script.text);
    let script = Block { text, ..script.clone() };
    for _ in 0..2 {
        assert_eq!(session.run_shell(&script), []);
        assert_eq!(phase(&mut session), "swapped");
    }
    session.outcome("SELECT bg_revert('users')");
    assert_eq!(phase(&mut session), "ready");
    assert_eq!(session.run_shell(&script), []);
    assert_eq!(phase(&mut session), "swapped");
    session.outcome("SELECT bg_finish('users')");
    let again = session.run_shell(&script);
    assert!(again.len() == 1 && again[0].1.contains("already exists"), "{again:?}");
}

#[test]
fn what_is_wrong_in_a_document_is_found_with_its_line() {
    let cluster = new_cluster();
    let wrong = |text: &str| {
        let documents = Documents::from([("a.md".to_owned(), text.to_owned())]);
        cluster.psql("DROP DATABASE IF EXISTS session1").unwrap();
        faults(&cluster, &documents, &files())
    };
    for (text, line) in [
        ("```sql\nSELECT 1;\n```\n", 2),
        ("<!-- continued -->\n```sql\nSELECT 1;\n```\n", 3),
        ("<!-- session: no such file -->\n```sql\nSELECT 1;\n```\n", 3),
        ("<!-- session: users -->\n```sql\nSELECT 1;\n--  1\nSELECT 1;\n--  2\n```\n", 5),
        ("<!-- session: users -->\n```sql\nSELECT count(*) FROM missing;\n```\n", 3),
        ("<!-- session: users -->\n```\nx=> SELECT 1;\n 1\nx=> SELECT 2;\n```\n", 5),
        ("<!-- session: users -->\n```sh\nfalse\n```\n", 3),
        ("<!-- declaration -->\n```sql\nbg_abort(source text) RETURNS text\n```\n", 3),
        ("<!-- declaration -->\n```sql\nbg_none() RETURNS text\n```\n", 3),
    ] {
        let found = wrong(text);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("a.md:{line}: ")),
            "{text}: {found:?}"
        );
    }
    let right = "<!-- session: users -->\n```sql\nSELECT 1;\n--  1\n```\n<!-- continued -->\n```\n\
        x=> SELECT name FROM users WHERE id = 1;\n First1 Last1\n```\n\
        <!-- declaration -->\n```sql\nbg_abort(source regclass) RETURNS text\n```\n\
        <!-- not run: a reason -->\n```sql\nSELECT nothing FROM nowhere;\n```\n";
    assert_eq!(wrong(right), [""; 0]);
}

#[test]
fn every_file_that_fills_a_database_is_used() {
    let documents = documents::read(Workspace::find().unwrap().root()).unwrap();
    let found = documents.values().flat_map(|text| blocks(text).0);
    let mut used: BTreeSet<String> = BTreeSet::new();
    for block in found {
        if let Some(Mark::Session(name)) = block.mark {
            used.insert(format!("{name}.sql"));
        }
    }
    let entries = fs::read_dir(files()).unwrap();
    let there: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();

    assert_eq!(there, used);
}

/// The recipes show the table that their sessions find.
#[test]
fn the_table_of_the_recipes_is_the_one_in_their_database() {
    let documents = documents::read(Workspace::find().unwrap().root()).unwrap();
    let (found, _) = blocks(&documents["docs/recipes.md"]);
    let shown = &found[0].text;
    let filled = fs::read_to_string(files().join("users.sql")).unwrap();

    assert!(shown.starts_with("CREATE TABLE users"), "{shown}");
    assert!(filled.contains(shown.as_str()), "{filled}");
}
