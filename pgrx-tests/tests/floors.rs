//! The rooms of the extension: each module imports only what is below it, no files import each other in a
//! circle, `pg` and `heap` know nothing of deployments, and only `state` reads and writes our tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use bluegreen_tests::setup::Workspace;
use bluegreen_tests::source::{Source, read_all, unsafe_outside, words};

/// The modules at the crate's top, from below. A module imports itself and what is on lower floors, never
/// what is beside it.
const FLOORS: &[&[&str]] = &[
    &["ident", "oid", "error", "product"],
    &["model"],
    &["pg"],
    &["heap", "failpoint", "settings"],
    &["catalog"],
    &["plan", "check", "ddl"],
    &["state"],
    &["shadow", "dependent", "capture", "backfill", "sync", "verify", "swap"],
    &["guard"],
    &["blueprint"],
    &["runner"],
    &["verbs"],
    &["api"],
];

/// What `pg` may know of the model: its parser reads the server's trees into these.
const READ_BY_THE_PARSER: &[&str] = &["changes", "tree"];

/// Names of C functions, which the server looks up in the library.
const C_FUNCTIONS: &[&str] = &[
    "bluegreen_capture",
    "bluegreen_guard",
    "bluegreen_worker",
    "pg_finfo_bluegreen_capture",
    "pg_finfo_bluegreen_guard",
    "pg_finfo_bluegreen_worker",
];

/// Our tables.
const TABLES: &[&str] =
    &["deployment", "history", "capture", "misfit", "piece", "truncation", "difference"];

/// Files outside of `state` that name one of our tables, and why they may.
const NAME_A_TABLE: &[(&str, &str)] = &[
    ("guard/lock.rs", "messages: the table's OID is the class of our locks"),
    ("ddl/shadow.rs", "the trigger function bluegreen.capture()"),
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn place(source: &Source, offset: usize) -> String {
    format!("src/{}:{}", source.path.display(), source.line_of(offset))
}

/// Each import that goes up or aside, as `src/file.rs:line: why`.
fn against_the_floors(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let own = source.module();
        if own == "lib" {
            continue;
        }
        let Some(own_floor) = floor(&own) else {
            found.push(format!("src/{}:1: the module {own} has no floor", source.path.display()));
            continue;
        };
        for (offset, path) in source.imports() {
            let Some(module) = path.first().filter(|module| **module != own) else { continue };
            // A macro or a re-export at the crate's top; a module without a floor is found by its own file.
            let Some(its_floor) = floor(module) else { continue };
            let why = match its_floor.cmp(&own_floor) {
                std::cmp::Ordering::Greater => "goes up",
                std::cmp::Ordering::Equal => "is beside it",
                std::cmp::Ordering::Less => continue,
            };
            found.push(format!("{}: {own} imports {module}, which {why}", place(source, offset)));
        }
    }
    found
}

/// The files that a file imports, by their module paths.
fn imported(source: &Source, files: &BTreeSet<Vec<String>>) -> BTreeSet<Vec<String>> {
    let own = source.module_path();
    let file_of = |path: &[String]| {
        (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|path| files.contains(path))
    };
    let mut found: BTreeSet<_> =
        source.imports().iter().filter_map(|(_, path)| file_of(path)).collect();
    // A parent uses what it says of its children.
    let code = source.without_tests();
    for (offset, word) in words(code) {
        let child = [own.as_slice(), &[word.to_owned()]].concat();
        let follows = code[offset + word.len()..].trim_start().starts_with("::");
        let leads = code[..offset].trim_end().ends_with("::");
        if follows && !leads && files.contains(&child) {
            found.insert(file_of(&child).unwrap_or(child));
        }
    }
    found.remove(&own);
    found
}

/// Files that import each other in a circle, each circle once.
fn circles(sources: &[Source]) -> Vec<String> {
    let files: BTreeSet<_> = sources.iter().map(Source::module_path).collect();
    let edges: BTreeMap<_, _> =
        sources.iter().map(|s| (s.module_path(), imported(s, &files))).collect();
    let reached = |from: &Vec<String>| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(file) = next.pop() {
            for to in edges.get(&file).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<_, _> = edges.keys().map(|file| (file.clone(), reached(file))).collect();
    let mut found = BTreeSet::new();
    for (file, others) in reach.iter().filter(|(file, others)| others.contains(*file)) {
        let circle: BTreeSet<_> = others
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(file)))
            .map(|path| path.join("::"))
            .collect();
        found.insert(circle.into_iter().collect::<Vec<_>>().join(" "));
    }
    found.into_iter().collect()
}

/// Words of the domain in `pg` and `heap`: the extension's name, and types of the model.
fn words_of_the_domain(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| ["pg", "heap"].contains(&s.module().as_str())) {
        let parser = source.path.starts_with("pg/parse");
        for (offset, word) in words(&source.text) {
            if word.contains("bluegreen") && !C_FUNCTIONS.contains(&word) {
                found.push(format!("{}: {word}", place(source, offset)));
            }
        }
        for (offset, path) in source.imports() {
            let [first, second, ..] = path.as_slice() else { continue };
            if first == "model" && !(parser && READ_BY_THE_PARSER.contains(&second.as_str())) {
                found.push(format!("{}: {}", place(source, offset), path.join("::")));
            }
        }
    }
    found
}

/// Statements on our tables outside of `state`.
fn statements_outside_state(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.module() != "state") {
        let path = source.path.to_string_lossy();
        if NAME_A_TABLE.iter().any(|(known, _)| *known == path) {
            continue;
        }
        for table in TABLES {
            let name = format!("bluegreen.{table}");
            for (offset, _) in source.text.match_indices(&name) {
                let rest = &source.text[offset + name.len()..];
                if !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()) {
                    found.push(format!("{}: {name}", place(source, offset)));
                }
            }
        }
    }
    found
}

fn extension() -> Vec<Source> {
    let sources = read_all(&Workspace::find().unwrap().root().join("src")).unwrap();
    assert!(sources.len() > 1, "no sources were found");
    sources
}

fn one(path: &str, text: &str) -> Vec<Source> {
    vec![Source::new(path, text)]
}

fn check(path: &str, text: &str) -> Vec<String> {
    against_the_floors(&one(path, text))
}

#[test]
fn the_extension_keeps_to_its_floors() {
    let found = against_the_floors(&extension());

    assert!(found.is_empty(), "imports against the floors:\n{}", found.join("\n"));
}

#[test]
fn no_files_of_the_extension_import_each_other_in_a_circle() {
    let found = circles(&extension());

    assert!(found.is_empty(), "circles of files:\n{}", found.join("\n"));
}

#[test]
fn the_bindings_know_nothing_of_deployments() {
    let found = words_of_the_domain(&extension());

    assert!(found.is_empty(), "words of the domain in pg or heap:\n{}", found.join("\n"));
}

#[test]
fn only_the_state_reads_and_writes_our_tables() {
    let found = statements_outside_state(&extension());

    assert!(found.is_empty(), "our tables outside of src/state:\n{}", found.join("\n"));
}

#[test]
fn an_import_from_above_is_found_with_its_line() {
    let found = check("plan/mod.rs", "//! Plans.\n\nuse crate::swap::Lock;\n");

    assert_eq!(found, ["src/plan/mod.rs:3: plan imports swap, which goes up"]);
}

#[test]
fn a_module_may_not_import_what_is_beside_it_but_itself() {
    assert_eq!(check("sync/mod.rs", "use crate::swap::Lock;").len(), 1);
    assert_eq!(check("plan/mod.rs", "use crate::ddl::Text;").len(), 1);
    assert_eq!(check("sync/mod.rs", "use crate::sync::Round;").len(), 0);
}

#[test]
fn what_is_below_may_be_imported() {
    assert_eq!(check("sync/mod.rs", "use crate::{pg::spi, catalog, error::Error};").len(), 0);
    assert_eq!(check("catalog/mod.rs", "use crate::pg::spi;").len(), 0);
    assert_eq!(check("pg/spi.rs", "use crate::heap::row;").len(), 1);
}

#[test]
fn the_members_of_a_group_are_read_also_when_they_nest() {
    let text = "use crate::{\n    error::{Error, api},\n    swap::{a, b::{c, d}},\n    api,\n};";

    let found = check("ddl/mod.rs", text);

    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("src/ddl/mod.rs:3: ddl imports swap"));
    assert!(found[3].starts_with("src/ddl/mod.rs:4: ddl imports api"));
}

#[test]
fn a_path_in_the_code_and_in_a_macro_counts_like_an_import() {
    assert_eq!(check("pg/spi.rs", "fn f() { crate::verbs::open() }").len(), 1);
    assert_eq!(check("pg/spi.rs", "vec![crate :: verbs :: X]").len(), 1);
}

#[test]
fn a_way_to_the_top_through_super_counts_too() {
    assert_eq!(check("ident.rs", "use super::api::x;").len(), 1);
    assert_eq!(check("pg/mod.rs", "use super::api::x;").len(), 1);
    assert_eq!(check("pg/spi.rs", "use super::super::api::x;").len(), 1);
    assert_eq!(check("pg/spi.rs", "use super::api::x;").len(), 0);
}

#[test]
fn comments_and_texts_are_no_imports() {
    let text = "//! See [`crate::api`].\n/* crate::api */\nconst A: &str = \"crate::api\";\n\
                const B: &str = r#\"crate::api \" \"#;\nfn f<'a>(c: char) -> bool { c == '\"' }\n";

    assert_eq!(check("ident.rs", text), Vec::<String>::new());
}

#[test]
fn a_module_without_a_floor_is_found_and_lib_is_free() {
    assert_eq!(check("helpers.rs", ""), ["src/helpers.rs:1: the module helpers has no floor"]);
    assert_eq!(check("lib.rs", "use crate::api::x;").len(), 0);
}

#[test]
fn a_circle_is_found_also_through_a_parent() {
    let source = |path: &str, text: &str| Source::new(path, text);
    let pair = [source("a/x.rs", "use crate::a::y::f;"), source("a/y.rs", "use super::x::g;")];
    let parent =
        [source("a/mod.rs", "mod x;\nfn f() { x::g() }"), source("a/x.rs", "use crate::a::f;\n")];
    let none = [
        source("a/mod.rs", "mod x;\nfn f() { x::g() }"),
        source("a/x.rs", "fn g() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n}"),
    ];

    assert_eq!(circles(&pair), ["a::x a::y"]);
    assert_eq!(circles(&parent), ["a a::x"]);
    assert_eq!(circles(&none), Vec::<String>::new());
}

#[test]
fn a_word_of_the_domain_is_found_in_code_and_texts_but_not_in_comments() {
    let text = "//! bluegreen\nuse crate::model::key::Key;\nconst A: &str = \"bluegreen.x\";\n\
                fn bluegreen_worker() {}\n";

    let found = words_of_the_domain(&one("pg/a.rs", text));

    assert_eq!(found, ["src/pg/a.rs:3: bluegreen", "src/pg/a.rs:2: model::key::Key"]);
    assert_eq!(words_of_the_domain(&one("sync/a.rs", text)).len(), 0);
    assert_eq!(
        words_of_the_domain(&one("pg/parse/a.rs", "use crate::model::tree::Item;")).len(),
        0
    );
}

#[test]
fn a_statement_on_a_table_of_ours_is_found_outside_of_the_state() {
    let text = "// bluegreen.piece\nconst A: &str = \"DELETE FROM bluegreen.piece\";\n\
                const B: &str = \"bluegreen.pieces\";";

    assert_eq!(
        statements_outside_state(&one("sync/a.rs", text)),
        ["src/sync/a.rs:2: bluegreen.piece"]
    );
    assert_eq!(statements_outside_state(&one("state/a.rs", text)).len(), 0);
}

#[test]
fn unsafe_is_found_outside_pg_and_heap_only() {
    let sources = [
        Source::new("pg/spi.rs", "unsafe { f() }"),
        Source::new("heap/scan.rs", "unsafe { f() }"),
        Source::new("swap/mod.rs", "// unsafe\nfn f() {\n    unsafe { g() }\n}"),
        Source::new("sync/mod.rs", "#![allow(unsafe_code)]\n#[deny(unsafe_op_in_unsafe_fn)]"),
        Source::new("lib.rs", "#[allow(unsafe_code)]\nmod pg;"),
    ];

    let found = unsafe_outside(&sources);

    assert_eq!(found, ["src/swap/mod.rs:3: unsafe", "src/sync/mod.rs:1: unsafe_code"]);
}
