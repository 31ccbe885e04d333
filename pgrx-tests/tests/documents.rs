//! The documents: each hazard's tests exist and each test with a number has its hazard; every link
//! leads somewhere; and nothing is committed that is large or a binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bluegreen_tests::documents::{self, book, links};
use bluegreen_tests::setup::Workspace;
use bluegreen_tests::source::{read_all, words};

const HAZARDS: &str = "docs/hazards.md";
/// The lines that each entry has.
const LABELS: [&str; 3] = ["PostgreSQL", "pg_bluegreen", "Tests"];
/// The size that a committed file may have.
const MAX_BYTES: u64 = 1_000_000;

/// Test functions by their file, as the hazards name it; isolation specs, which have none.
type Tests = BTreeMap<String, BTreeSet<String>>;

/// An entry of the hazards.
struct Hazard<'a> {
    /// 0 where the title has none.
    number: u32,
    /// The line of its title.
    line: usize,
    /// The id by which links find it stands before the title.
    has_id: bool,
    /// What stands below the title.
    lines: Vec<&'a str>,
}

/// The entries, in their order.
fn hazards(text: &str) -> Vec<Hazard<'_>> {
    let mut found: Vec<Hazard<'_>> = Vec::new();
    let mut id = "";
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("<a id=") {
            id = line;
        }
        if let Some(title) = line.strip_prefix("### ") {
            let number = title.split_once(". ").and_then(|(number, _)| number.parse::<u32>().ok());
            let number = number.unwrap_or(0);
            let has_id = id == format!("<a id=\"hazard-{number}\"></a>");
            found.push(Hazard { number, line: at + 1, has_id, lines: Vec::new() });
        } else if let Some(last) = found.last_mut() {
            last.lines.push(line);
        }
    }
    found
}

impl Hazard<'_> {
    /// What stands behind a label, on one line.
    fn said(&self, label: &str) -> Option<String> {
        let start = format!("- **{label}:** ");
        let mut lines = self.lines.iter().skip_while(|line| !line.starts_with(start.as_str()));
        let mut said = lines.next()?.strip_prefix(start.as_str())?.to_owned();
        for line in lines.take_while(|line| line.starts_with("  ")) {
            said.push(' ');
            said.push_str(line.trim());
        }
        Some(said)
    }

    /// The tests that it names: the file, and the function where it is not a spec.
    fn tests(&self) -> Vec<(String, Option<String>)> {
        let said = self.said("Tests").unwrap_or_default();
        let (mut file, mut found) = ("", Vec::new());
        for name in said.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                file = name;
            } else if name.ends_with(".spec") {
                found.push((name.to_owned(), None));
            } else {
                found.push((file.to_owned(), Some(name.to_owned())));
            }
        }
        found
    }
}

/// The number of the hazard that a test has in its name.
fn number_of(test: &str) -> Option<u32> {
    test.strip_prefix("trap_")?.split('_').next()?.parse().ok()
}

/// Everything that is wrong with the hazards, as `docs/hazards.md:line: why`.
fn faults(text: &str, tests: &Tests) -> Vec<String> {
    let hazards = hazards(text);
    let mut found = Vec::new();
    let mut named: BTreeMap<u32, BTreeSet<(String, String)>> = BTreeMap::new();
    for hazard in &hazards {
        let number = hazard.number;
        let mut add = |why: String| found.push(format!("{HAZARDS}:{}: {why}", hazard.line));
        if !hazard.has_id {
            add(format!("<a id=\"hazard-{number}\"></a> does not stand before the title"));
        }
        for label in LABELS.into_iter().filter(|label| hazard.said(label).is_none()) {
            add(format!("hazard {number} has no line {label}"));
        }
        let its_own = named.entry(number).or_default();
        let of_hazard = hazard.tests();
        if of_hazard.is_empty() && hazard.said("Tests").is_some_and(|said| said != "none") {
            add(format!("hazard {number} names no test, and does not say none"));
        }
        for (file, function) in of_hazard {
            match (tests.get(&file), function) {
                (None, _) => add(format!("there is no file {file:?}")),
                (Some(_), None) => {}
                (Some(known), Some(function)) => {
                    if !known.contains(&function) {
                        add(format!("{file} has no test {function}"));
                    }
                    its_own.insert((file, function));
                }
            }
        }
    }
    let mut numbers: Vec<u32> = hazards.iter().map(|hazard| hazard.number).collect();
    numbers.sort_unstable();
    if let Some((free, next)) = (1u32..).zip(numbers).find(|(free, next)| free != next) {
        found.push(format!("{HAZARDS}:1: after hazard {} comes {next}", free - 1));
    }
    for (file, functions) in tests {
        for function in functions {
            let Some(number) = number_of(function) else { continue };
            let why = match named.get(&number) {
                None => format!("{file} has {function}, and there is no hazard {number}"),
                Some(names) if !names.contains(&(file.clone(), function.clone())) => {
                    format!("hazard {number} does not name {function} of {file}")
                }
                Some(_) => continue,
            };
            found.push(format!("{HAZARDS}:1: {why}"));
        }
    }
    found
}

/// The names of the test functions in a source without comments and texts.
fn test_functions(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for mark in ["#[test]", "#[pg_test]"] {
        for (at, _) in code.match_indices(mark) {
            let mut rest = words(&code[at + mark.len()..]).skip_while(|(_, word)| *word != "fn");
            found.extend(rest.nth(1).map(|(_, name)| name.to_owned()));
        }
    }
    found
}

/// All tests of the repository.
fn all_tests(root: &Path) -> Tests {
    let mut tests = Tests::new();
    for (folder, prefix) in [("pgrx-tests/tests/suite", ""), ("src", "src/")] {
        for source in read_all(&root.join(folder)).unwrap() {
            let file = format!("{prefix}{}", source.path.display());
            tests.insert(file, test_functions(&source.code));
        }
    }
    for entry in fs::read_dir(root.join("pgrx-tests/isolation")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with(".spec") {
            tests.insert(name, BTreeSet::new());
        }
    }
    tests
}

/// The files that are committed.
fn tracked(root: &Path) -> Vec<PathBuf> {
    // The clone may belong to somebody else.
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root)
        .output()
        .expect("git ls-files");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| root.join(OsStr::from_bytes(name))).collect()
}

/// Why a file of this size and beginning must not be committed.
fn is_unwelcome(size: u64, begins: &[u8]) -> Option<&'static str> {
    if size > MAX_BYTES {
        Some("has more than 1 MB")
    } else if begins.starts_with(b"\x7fELF") {
        Some("is a binary")
    } else {
        None
    }
}

#[test]
fn every_hazard_has_its_tests_and_every_test_with_a_number_its_hazard() {
    let workspace = Workspace::find().unwrap();
    let text = fs::read_to_string(workspace.root().join(HAZARDS)).unwrap();
    let tests = all_tests(workspace.root());
    assert!(hazards(&text).len() > 80, "no hazards were found");
    assert!(tests.values().flatten().any(|test| number_of(test).is_some()), "no tests were found");

    let found = faults(&text, &tests);

    assert!(found.is_empty(), "hazards and tests do not fit together:\n{}", found.join("\n"));
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let workspace = Workspace::find().unwrap();
    let documents = documents::read(workspace.root()).unwrap();
    assert!(documents.values().any(|text| !links::links(text).is_empty()), "no links were found");

    let found = links::broken(&documents, |path| workspace.root().join(path).exists());

    assert!(found.is_empty(), "links that lead nowhere:\n{}", found.join("\n"));
}

#[test]
fn every_document_is_a_page_of_the_site() {
    let documents = documents::read(Workspace::find().unwrap().root()).unwrap();

    assert_eq!(book::unlisted(&documents), [""; 0]);
}

#[test]
fn nothing_large_and_no_binary_is_committed() {
    let files = tracked(Workspace::find().unwrap().root());
    assert!(files.len() > 1, "no files were found");
    let mut found = Vec::new();
    for path in files {
        // One that was deleted, and is not committed yet as such.
        let Ok(file) = File::open(&path) else { continue };
        let size = file.metadata().unwrap().len();
        let mut begins = Vec::new();
        file.take(4).read_to_end(&mut begins).unwrap();
        let why = is_unwelcome(size, &begins);
        found.extend(why.map(|why| format!("{} {why}", path.display())));
    }

    assert!(found.is_empty(), "what must not be committed:\n{}", found.join("\n"));
}

/// An entry as it should be.
fn entry(number: u32, tests: &str) -> String {
    format!(
        "<a id=\"hazard-{number}\"></a>\n\n### {number}. A title\n\nA sentence.\n\n\
         - **PostgreSQL:** does this\n  and that.\n- **pg_bluegreen:** does another thing.\n\
         - **Tests:** {tests}\n\n"
    )
}

/// Two files and a spec.
fn known() -> Tests {
    let file = |name: &str, functions: &[&str]| {
        let functions = functions.iter().map(|function| (*function).to_owned());
        (name.to_owned(), functions.collect::<BTreeSet<String>>())
    };
    Tests::from([file("a.rs", &["trap_01_x", "y"]), file("src/b.rs", &["z"]), file("c.spec", &[])])
}

#[test]
fn entries_whose_tests_exist_are_in_order() {
    let text =
        entry(1, "`a.rs`: `trap_01_x`,\n  `y`; `src/b.rs`: `z`; `c.spec`") + &entry(2, "none");

    assert_eq!(faults(&text, &known()), [""; 0]);
    assert_eq!(hazards(&text)[0].said("PostgreSQL").unwrap(), "does this and that.");
}

#[test]
fn a_test_that_does_not_exist_is_found_with_its_line() {
    let right = "`a.rs`: `trap_01_x`";
    for (tests, why) in [
        (format!("{right}, `w`"), "a.rs has no test w"),
        (format!("{right}; `d.rs`: `y`"), "there is no file \"d.rs\""),
        (format!("{right}; `d.spec`"), "there is no file \"d.spec\""),
        (format!("{right}; `src/b.rs`: `y`"), "src/b.rs has no test y"),
    ] {
        assert_eq!(faults(&entry(1, &tests), &known()), [format!("docs/hazards.md:3: {why}")]);
    }
}

#[test]
fn a_test_whose_hazard_is_missing_or_does_not_name_it_is_found() {
    let found = faults(&entry(1, "`a.rs`: `y`"), &known());
    assert_eq!(found, ["docs/hazards.md:1: hazard 1 does not name trap_01_x of a.rs"]);
    let found = faults("", &known());
    assert_eq!(found, ["docs/hazards.md:1: a.rs has trap_01_x, and there is no hazard 1"]);
}

#[test]
fn an_entry_that_is_not_complete_is_found() {
    let right = entry(1, "`a.rs`: `trap_01_x`");
    for (text, why) in [
        (right.replace("<a id=\"hazard-1\"></a>", ""), "does not stand before the title"),
        (right.replace("- **pg_bluegreen", "- **we"), "hazard 1 has no line pg_bluegreen"),
        (right.clone() + &entry(2, "some"), "hazard 2 names no test, and does not say none"),
        (right.clone() + &entry(3, "none"), "after hazard 1 comes 3"),
        (right.clone() + &right, "after hazard 1 comes 1"),
    ] {
        let found = faults(&text, &known());
        assert!(found.len() == 1 && found[0].ends_with(why), "{why}: {found:?}");
    }
}

#[test]
fn test_functions_are_told_from_others() {
    let code = "#[test]\nfn one() {}\nfn two() {}\n#[pg_test]\n#[allow(x)]\nfn three() { f() }";

    assert_eq!(test_functions(code).into_iter().collect::<Vec<_>>(), ["one", "three"]);
}

#[test]
fn large_files_and_binaries_are_unwelcome() {
    assert_eq!(is_unwelcome(MAX_BYTES + 1, b"text"), Some("has more than 1 MB"));
    assert_eq!(is_unwelcome(100, b"\x7fELF"), Some("is a binary"));
    assert_eq!(is_unwelcome(MAX_BYTES, b"ELF"), None);
}

/// What PGXN is told is true: the version is that of the extension, and the files are there.
#[test]
fn the_description_for_pgxn_is_that_of_this_version() {
    let root = Workspace::find().unwrap().root().to_owned();
    let meta: serde_json::Value =
        serde_json::from_slice(&fs::read(root.join("META.json")).unwrap()).unwrap();
    let provided = &meta["provides"]["pg_bluegreen"];

    assert_eq!(meta["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(provided["version"], meta["version"]);
    for file in ["file", "docfile"] {
        assert!(root.join(provided[file].as_str().unwrap()).is_file(), "{file}");
    }
}
