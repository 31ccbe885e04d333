//! Random input for bg_check and bg_prepare: whatever it is, the answer is a deployment or a refusal
//! that a person can read. No second statement is run, nothing is left after ROLLBACK, no backend falls.
//!
//! Each test tries cases for 12 seconds, or as many as `BLUEGREEN_FUZZ_CASES` says; `BLUEGREEN_SEED`
//! repeats a run. What once found something is in `the_inputs_that_once_found_something`.

mod grammar;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postgres::types::ToSql;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::story::catalog::Inventory;
use crate::story::course::seed;
use crate::story::person::Refusal;
use crate::story::{Person, Scene, Stage, stage};
use grammar::{Call, Names};

static STAGE: Stage = stage!();

/// How long each test goes on where nothing else is said.
const LIMIT: Duration = Duration::from_secs(12);

/// Classes of SQLSTATEs that bad input may lead to.
const CLASSES: &[&str] = &["0A", "21", "22", "23", "25", "28", "2B", "3F", "42", "44", "54", "55"];

/// Words of a message that nobody can do anything with.
const INTERNAL: &[&str] = &[
    "panicked",
    "unwrap()",
    "cache lookup failed",
    "unrecognized node",
    "assertion",
    "could not find",
    "out of memory",
    "invalid memory",
];

#[test]
fn whatever_the_changes_are_the_answer_is_a_deployment_or_a_refusal() {
    let fuzz = Fuzz::new();
    fuzz.run(&grammar::changes().prop_map(|changes| Call { changes, ..Call::default() }), |call| {
        fuzz.judge(call)
    });
}

#[test]
fn whatever_the_mappings_are_the_answer_is_a_deployment_or_a_refusal() {
    let fuzz = Fuzz::new();
    fuzz.run(&grammar::mapped(), |call| fuzz.judge(call));
}

#[test]
fn whatever_the_names_are_a_deployment_goes_round() {
    let fuzz = Fuzz::new();
    fuzz.run(&grammar::names(), |names| fuzz.go_round(names));
}

/// Many in one statement: of a million texts each has to be asked about.
#[test]
fn whatever_the_text_is_bg_check_has_an_answer() {
    let mut fuzz = Fuzz::new();
    fuzz.scene.admin().run(PROBE);
    fuzz.before = fuzz.scene.inventory();
    let texts = proptest::collection::vec(grammar::mangled_text(), TEXTS);
    fuzz.run(&texts, |texts| fuzz.judge_texts(texts));
}

/// Texts in one statement.
const TEXTS: usize = 200;

/// Asks bg_check about each text. Gives the SQLSTATE, and what it says.
const PROBE: &str = r#"
    CREATE FUNCTION public.probe(texts text[]) RETURNS TABLE (n int, code text, message text)
    LANGUAGE plpgsql AS $$
    DECLARE t text; blank int;
    BEGIN
        n := 0;
        FOREACH t IN ARRAY texts LOOP
            n := n + 1;
            BEGIN
                SELECT 'done', coalesce(min(f.message), 'nothing'),
                       count(*) FILTER (WHERE f.message ~ '^\s*$' OR f.hint ~ '^\s*$')
                  INTO code, message, blank FROM bg_check('users', t) f;
                IF blank > 0 THEN
                    code := 'XX';
                END IF;
            EXCEPTION WHEN OTHERS THEN
                code := SQLSTATE;
                message := SQLERRM;
            END;
            RETURN NEXT;
        END LOOP;
    END $$"#;

/// A database and somebody who asks in it.
struct Fuzz {
    scene: Scene,
    owner: RefCell<Person>,
    admin: RefCell<Person>,
    before: Inventory,
}

impl Fuzz {
    fn new() -> Self {
        let scene = STAGE.users(3);
        scene.admin().run(
            "CREATE SEQUENCE public.canary;
             GRANT ALL ON SEQUENCE public.canary TO PUBLIC;
             CREATE TYPE mood AS ENUM ('sad', 'ok');
             CREATE FUNCTION label(u users) RETURNS text LANGUAGE sql AS 'SELECT u.name';
             CREATE VIEW names AS SELECT id, name FROM users;
             ALTER VIEW names OWNER TO owner",
        );
        let before = scene.inventory();
        let (owner, admin) = (RefCell::new(scene.owner()), RefCell::new(scene.admin()));
        Self { scene, owner, admin, before }
    }

    /// Tries cases, and shrinks the first that fails.
    fn run<S: Strategy>(&self, strategy: &S, judge: impl Fn(&S::Value) -> Outcome) {
        let wanted = std::env::var("BLUEGREEN_FUZZ_CASES").ok().and_then(|n| n.parse().ok());
        let (cases, limit) = match wanted {
            Some(cases) => (cases, Duration::MAX),
            None => (2_000, LIMIT),
        };
        let seed = seed();
        println!("BLUEGREEN_SEED={seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 2_000,
            max_shrink_time: 20_000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let tally: RefCell<BTreeMap<String, u32>> = RefCell::default();
        let mut runner = TestRunner::new_with_rng(config, rng);
        let begin = Instant::now();
        let mut found = Ok(true);
        for _ in 0..cases {
            // Not by the runner's own loop, which would make all the cases, also those that come too late.
            if begin.elapsed() > limit {
                break;
            }
            let case = strategy.new_tree(&mut runner).expect("a case");
            found = runner.run_one(case, |case| {
                let what = judge(&case).map_err(TestCaseError::fail)?;
                *tally.borrow_mut().entry(what).or_default() += 1;
                Ok(())
            });
            if found.is_err() {
                break;
            }
        }
        let (tally, seconds) = (tally.into_inner(), begin.elapsed().as_secs_f64());
        println!("{} cases in {seconds:.1} s: {tally:?}", tally.values().sum::<u32>());
        match found {
            // Input that is always refused would test little.
            Ok(_) => assert!(tally.contains_key(DONE), "none was admitted: {tally:?}"),
            Err(TestError::Fail(why, case)) => panic!("{why}\n{case:#?}"),
            Err(other) => panic!("{other}"),
        }
        self.before.assert_same(&self.scene.inventory());
        self.scene.cluster.assert_sound();
    }

    /// The owner calls bg_check and bg_prepare, goes on as far as it can, and takes it all back.
    fn judge(&self, call: &Call) -> Outcome {
        let mut owner = self.owner.borrow_mut();
        if owner.client.is_closed() {
            *owner = self.scene.owner();
        }
        let refused = asked(&mut owner, call);
        owner.try_run("ROLLBACK").map_err(|r| format!("ROLLBACK: {r:?}"))?;
        let called = owner.text("SELECT is_called FROM public.canary");
        if called != "f" {
            owner.run("SELECT setval('public.canary', 1, false)");
            return Err("a second statement was run".to_owned());
        }
        refused
    }

    /// The owner asks bg_check about many texts at once.
    fn judge_texts(&self, texts: &Vec<String>) -> Outcome {
        let mut owner = self.owner.borrow_mut();
        if owner.client.is_closed() {
            *owner = self.scene.owner();
        }
        let sql = "SELECT n, code, message FROM public.probe($1)";
        let answers = ask(&mut owner, sql, &[texts]).map_err(|refusal| format!("{refusal:?}"))?;
        if answers.len() != texts.len() {
            return Err(format!("{} answers to {} texts", answers.len(), texts.len()));
        }
        for row in &answers {
            let (n, code, message): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
            let known = code == DONE || CLASSES.contains(&&code[..2]);
            if !known || message.trim().is_empty() || internal(&message) {
                return Err(format!("{:?}: {code} {message}", texts[n as usize - 1]));
            }
        }
        if owner.text("SELECT is_called FROM public.canary") != "f" {
            owner.run("SELECT setval('public.canary', 1, false)");
            return Err("a second statement was run".to_owned());
        }
        Ok(DONE.to_owned())
    }

    /// A deployment with these names from prepare to finish, in one transaction.
    fn go_round(&self, names: &Names) -> Outcome {
        let mut admin = self.admin.borrow_mut();
        if admin.client.is_closed() {
            *admin = self.scene.admin();
        }
        let result = went_round(&mut admin, names);
        admin.try_run("ROLLBACK").map_err(|r| format!("ROLLBACK: {r:?}"))?;
        result
    }
}

/// What an input led to: the SQLSTATE of a refusal, or [`DONE`]; or what is wrong with it.
type Outcome = Result<String, String>;

/// A deployment.
const DONE: &str = "done";

/// What came of a statement.
type Answer = Result<Vec<postgres::Row>, Refusal>;

fn ask(person: &mut Person, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Answer {
    person.client.query(sql, parameters).map_err(|error| Refusal::from_error(&error))
}

fn asked(owner: &mut Person, call: &Call) -> Outcome {
    let object = |pairs: &[(String, String)]| {
        let pairs = pairs.iter().map(|(k, v)| (k.clone(), serde_json::Value::from(v.clone())));
        serde_json::Value::Object(pairs.collect())
    };
    let (forward, reverse) = (object(&call.forward), object(&call.reverse));
    let parameters: [&(dyn ToSql + Sync); 4] = [&call.changes, &forward, &reverse, &call.key];
    let newline = format!("{call:?}").contains("\\n") || format!("{call:?}").contains("\\r");
    owner.run("BEGIN; SET LOCAL statement_timeout = '20 s'");

    owner.run("SAVEPOINT s");
    let checked = ask(
        owner,
        "SELECT severity, code, message, hint FROM bg_check('users', $1, NULL, $2, $3, $4)",
        &parameters,
    );
    let mut objects = Vec::new();
    match &checked {
        Ok(rows) => {
            for row in rows {
                let (severity, message): (String, String) = (row.get(0), row.get(2));
                let hint: String = row.get(3);
                if message.trim().is_empty() || hint.trim().is_empty() || internal(&message) {
                    return Err(format!("bg_check: {message:?}, hint {hint:?}"));
                }
                if severity == "error" {
                    objects.push(message);
                }
            }
        }
        Err(refusal) => {
            readable("bg_check", refusal, newline)?;
            objects.push(refusal.message.clone());
            owner.try_run("ROLLBACK TO s").map_err(|r| format!("after bg_check: {r:?}"))?;
        }
    }

    let sql = "SELECT bg_prepare('users', $1, NULL, $2, $3, $4)";
    if let Err(refusal) = ask(owner, sql, &parameters) {
        if objects.is_empty() {
            return Err(format!("only bg_prepare refuses: {refusal:?}"));
        }
        return readable("bg_prepare", &refusal, newline);
    }
    // What was admitted can be carried out, or fails on the rows, as bg_check may have seen.
    match (ask(owner, "SELECT bg_backfill('users', '10 s')", &[]), objects.first()) {
        (Ok(_), None) => Ok(DONE.to_owned()),
        (Ok(_), Some(object)) => Err(format!("only bg_check objects: {object}")),
        (Err(refusal), _) => readable("bg_backfill", &refusal, newline),
    }
}

/// A refusal that a person can do something with.
fn readable(who: &str, refusal: &Refusal, newline: bool) -> Outcome {
    // The server's own words for a cast of a column to the type unknown.
    if refusal.message.starts_with("failed to find conversion function from unknown to ") {
        return Ok(refusal.code.clone());
    }
    let known = refusal.code.len() == 5 && CLASSES.contains(&&refusal.code[..2]);
    let one_line = newline || !refusal.message.contains('\n');
    if known && one_line && !refusal.message.trim().is_empty() && !internal(&refusal.message) {
        return Ok(refusal.code.clone());
    }
    Err(format!("{who}: {refusal:?}"))
}

fn internal(message: &str) -> bool {
    INTERNAL.iter().any(|word| message.contains(word))
}

fn went_round(admin: &mut Person, names: &Names) -> Outcome {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (schema, table) = (quoted(&names.schema), quoted(&names.table));
    let made = format!(
        "BEGIN; SET LOCAL statement_timeout = '20 s'; SET LOCAL bluegreen.allow_single_transaction = on;
         CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE {schema}.{table} (
             {key} bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, {column} text,
             CONSTRAINT {constraint} CHECK ({column} <> 'nope'));
         CREATE INDEX {index} ON {schema}.{table} ({column});
         CREATE STATISTICS {schema}.{view} ON {key}, {column} FROM {schema}.{table};
         CREATE VIEW {schema}.{view} AS SELECT {key} FROM {schema}.{table};
         INSERT INTO {schema}.{table} ({column}) VALUES ('a'), ('b'), (NULL);
         ALTER TABLE {schema}.{table} OWNER TO owner; ALTER VIEW {schema}.{view} OWNER TO owner;
         GRANT USAGE ON SCHEMA {schema} TO owner",
        key = quoted(&names.key),
        column = quoted(&names.column),
        constraint = quoted(&names.constraint),
        index = quoted(&names.index),
        view = quoted(&names.view),
    );
    if admin.try_run(&made).is_err() {
        // Names that collide, or that the server does not take.
        return Ok("not made".to_owned());
    }
    let oid = format!("{schema}.{table}");
    let changes = format!("ADD COLUMN {} int DEFAULT 1", quoted(&names.added));
    let newline = format!("{names:?}").contains("\\n");
    let prepared = ask(admin, "SELECT bg_prepare($1::text::regclass, $2)", &[&oid, &changes]);
    if let Err(refusal) = prepared {
        return readable("bg_prepare", &refusal, newline);
    }
    let mut live = format!("{oid} ({})", quoted(&names.column));
    let column = quoted(&names.column);
    for (call, reached) in [
        ("bg_backfill($1::text::regclass)", "ready"),
        ("bg_swap($1::text::regclass)", "swapped"),
        ("bg_revert($1::text::regclass)", "ready"),
        ("bg_swap($1::text::regclass)", "swapped"),
        ("bg_finish($1::text::regclass)", "finished"),
    ] {
        let phase = ask(admin, &format!("SELECT {call}"), &[&oid])
            .map_err(|refusal| format!("{call}: {refusal:?}"))?;
        let phase: String = phase[0].get(0);
        if phase != reached {
            return Err(format!("{call} led to {phase}"));
        }
        live = format!(
            "INSERT INTO {oid} ({column}) VALUES ('c'); UPDATE {oid} SET {column} = 'd'
             WHERE {column} = 'a'"
        );
        admin.try_run(&live).map_err(|refusal| format!("after {call}: {live}: {refusal:?}"))?;
    }
    let rows =
        admin.text(&format!("SELECT count(*) || ' ' || count(DISTINCT {column}) FROM {oid}"));
    if rows != "8 3" {
        return Err(format!("rows: {rows}; {live}"));
    }
    Ok(DONE.to_owned())
}

#[test]
fn the_inputs_that_once_found_something() {
    let fuzz = Fuzz::new();
    // The table's own row type, which stays with the old table.
    for changes in [
        "ADD COLUMN u users",
        "ADD COLUMN u users[]",
        "ALTER name SET DEFAULT coalesce(upper((null::users)::text), NULL)",
        "ADD CHECK ((null::users) IS NULL)",
    ] {
        let own_type = Call { changes: changes.to_owned(), ..Call::default() };
        assert_eq!(fuzz.judge(&own_type).as_deref(), Ok("0A000"), "{changes}");
    }
    // A cast to the type unknown, about which the server itself has XX000 only.
    let unknown = Call {
        changes: "ADD COLUMN phone jsonb".to_owned(),
        forward: vec![("phone".to_owned(), "name::unknown".to_owned())],
        ..Call::default()
    };
    assert_eq!(fuzz.judge(&unknown).as_deref(), Ok("XX000"));
    // A cast that fails on the rows with an error of class 42, which is no misfit but stops the copy.
    let fails = Call {
        changes: "ADD COLUMN phone text".to_owned(),
        forward: vec![("phone".to_owned(), "((name)::regclass)::int".to_owned())],
        ..Call::default()
    };
    assert_eq!(fuzz.judge(&fails).as_deref(), Ok("42602"));
}
