//! The floors of the extension's modules: each imports only what is below it, and the stages on
//! floor 3 do not know each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use bluegreen_tests::setup::Workspace;
use bluegreen_tests::source::{Source, read_all, unsafe_outside_pg, words};

/// The floor whose modules may not import each other.
const STAGES: u8 = 3;

/// The floor of a module at the crate's top.
fn floor(module: &str) -> Option<u8> {
    Some(match module {
        "api" | "worker" | "settings" => 5,
        "deployment" => 4,
        "shadow" | "capture" | "backfill" | "sync" | "verify" | "swap" | "dependent" => STAGES,
        "plan" | "check" | "ddl" => 2,
        "catalog" | "pg" | "failpoint" => 1,
        "model" | "ident" | "error" => 0,
        _ => return None,
    })
}

/// Each import that goes up or aside, as `src/file.rs:line: why`.
fn violations(sources: &[Source]) -> Vec<String> {
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
        for (offset, module) in imports(source) {
            let Some(its_floor) = floor(module) else {
                // A macro or a re-export at the crate's top; a module without a floor is found by
                // its own file.
                continue;
            };
            let why = if its_floor > own_floor {
                "goes up"
            } else if its_floor == STAGES && own_floor == STAGES && module != own {
                "is another stage"
            } else {
                continue;
            };
            let (path, line) = (source.path.display(), source.line_of(offset));
            found.push(format!(
                "src/{path}:{line}: {own} (floor {own_floor}) imports {module} (floor \
                 {its_floor}), which {why}"
            ));
        }
    }
    found
}

/// The modules at the crate's top that a file names by `crate::`, in groups too, or by as many
/// `super::` as lead there.
fn imports(source: &Source) -> Vec<(usize, &str)> {
    let code = source.code.as_str();
    let depth = depth(&source.path);
    let mut found = Vec::new();
    let mut supers = 0;
    for (offset, word) in words(code) {
        let after = offset + word.len();
        let continues = code[after..].trim_start().starts_with("::");
        let preceded = code[..offset].trim_end().ends_with("::");
        let at_top = match word {
            "crate" => continues && !preceded,
            "super" if continues => {
                supers = if preceded { supers + 1 } else { 1 };
                supers == depth
            }
            _ => false,
        };
        if at_top {
            let rest = after + code[after..].find("::").unwrap_or(0) + 2;
            found.extend(first_names(code, rest));
        }
    }
    found
}

/// How many modules deep a file is: `ident.rs` and `pg/mod.rs` are 1, `pg/spi.rs` is 2.
fn depth(path: &Path) -> usize {
    let components = path.components().count();
    if path.ends_with("mod.rs") { components - 1 } else { components }
}

/// The names that a path may begin with at an offset: one, or those of a group's members.
fn first_names(code: &str, from: usize) -> Vec<(usize, &str)> {
    let start = from + code[from..].len() - code[from..].trim_start().len();
    if !code[start..].starts_with('{') {
        return words(&code[start..]).take(1).map(|(at, word)| (start + at, word)).collect();
    }
    let (mut nesting, mut expects, mut names) = (0, false, Vec::new());
    for (at, c) in code[start..].char_indices() {
        match c {
            '{' => (nesting, expects) = (nesting + 1, nesting == 0),
            '}' => nesting -= 1,
            ',' => expects = nesting == 1,
            c if c.is_whitespace() => {}
            _ if expects => {
                let name = words(&code[start + at..]).next();
                names.extend(name.map(|(skip, word)| (start + at + skip, word)));
                expects = false;
            }
            _ => {}
        }
        if nesting == 0 {
            break;
        }
    }
    names
}

fn check(path: &str, text: &str) -> Vec<String> {
    violations(&[Source::new(path, text)])
}

#[test]
fn the_extension_keeps_to_its_floors() {
    let sources = read_all(&Workspace::find().unwrap().root().join("src")).unwrap();
    assert!(sources.len() > 1, "no sources were found");

    let found = violations(&sources);

    assert!(found.is_empty(), "imports against the floors:\n{}", found.join("\n"));
}

#[test]
fn an_import_from_above_is_found_with_its_line() {
    let found = check("plan/mod.rs", "//! Plans.\n\nuse crate::swap::Lock;\n");

    assert_eq!(found, ["src/plan/mod.rs:3: plan (floor 2) imports swap (floor 3), which goes up"]);
}

#[test]
fn a_stage_may_not_import_another_but_itself() {
    assert_eq!(check("sync/mod.rs", "use crate::swap::Lock;").len(), 1);
    assert_eq!(check("sync/mod.rs", "use crate::sync::Round;").len(), 0);
}

#[test]
fn what_is_below_or_beside_may_be_imported() {
    assert_eq!(check("sync/mod.rs", "use crate::{pg::spi, catalog, error::Error};").len(), 0);
    assert_eq!(check("catalog/mod.rs", "use crate::pg::spi;").len(), 0);
    assert_eq!(check("api/mod.rs", "use crate::settings::Settings;").len(), 0);
}

#[test]
fn the_members_of_a_group_are_read_also_when_they_nest() {
    let text = "use crate::{\n    error::{Error, api},\n    swap::{a, b},\n    api,\n};";

    let found = check("ddl/mod.rs", text);

    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("src/ddl/mod.rs:3: ddl (floor 2) imports swap"));
    assert!(found[1].starts_with("src/ddl/mod.rs:4: ddl (floor 2) imports api"));
}

#[test]
fn a_path_in_the_code_and_in_a_macro_counts_like_an_import() {
    assert_eq!(check("pg/spi.rs", "fn f() { crate::deployment::open() }").len(), 1);
    assert_eq!(check("pg/spi.rs", "vec![crate :: deployment :: X]").len(), 1);
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
fn unsafe_is_found_outside_pg_only() {
    let sources = [
        Source::new("pg/spi.rs", "unsafe { f() }"),
        Source::new("swap/mod.rs", "// unsafe\nfn f() {\n    unsafe { g() }\n}"),
        Source::new("sync/mod.rs", "#![allow(unsafe_code)]\n#[deny(unsafe_op_in_unsafe_fn)]"),
        Source::new("lib.rs", "#[allow(unsafe_code)]\nmod pg;"),
    ];

    let found = unsafe_outside_pg(&sources);

    assert_eq!(found, ["src/swap/mod.rs:3: unsafe", "src/sync/mod.rs:1: unsafe_code"]);
}
