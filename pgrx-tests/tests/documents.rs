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

use bluegreen_tests::setup::Workspace;
use bluegreen_tests::source::{read_all, words};

const HAZARDS: &str = "docs/hazards.md";
/// The lines that each entry has.
const LABELS: [&str; 3] = ["PostgreSQL", "pg_bluegreen", "Tests"];
/// The size that a committed file may have.
const MOST_BYTES: u64 = 1_000_000;

/// Test functions by their file, as the hazards name it; isolation specs, which have none.
type Tests = BTreeMap<String, BTreeSet<String>>;
/// Texts by their path from the top.
type Documents = BTreeMap<String, String>;

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
    for (folder, prefix) in [("pgrx-tests/tests", ""), ("src", "src/")] {
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

/// The lines of a document, each with whether it belongs to a block of code.
fn lines(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut fenced = false;
    text.lines().map(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (line, fenced || is_fence)
    })
}

/// A document with spaces for code.
fn without_code(text: &str) -> String {
    let (mut in_code, mut out) = (false, String::with_capacity(text.len()));
    for (line, fenced) in lines(text) {
        // Code within a line may go on in the next one, but not in the next paragraph.
        in_code &= !line.trim().is_empty();
        for c in line.chars() {
            in_code ^= c == '`' && !fenced;
            out.push(if in_code || fenced || c == '`' { ' ' } else { c });
        }
        out.push('\n');
    }
    out
}

/// The links of a document, each with its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let text = without_code(text);
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("](") {
        let target = text[at + mark.len()..].split([')', ' ', '\n']).next().unwrap_or_default();
        let line = text[..at].matches('\n').count() + 1;
        found.push((line, target.to_owned()));
    }
    found
}

/// The part of a link that GitHub makes of a heading.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let lower = heading.trim().to_lowercase();
    lower.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Where links into a document may lead: its headings, and what has an id.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for (line, _) in lines(text).filter(|(_, fenced)| !fenced) {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let slug = slug(heading);
            let before = times.entry(slug.clone()).or_default();
            found.insert(if *before == 0 { slug } else { format!("{slug}-{before}") });
            *before += 1;
        }
        for (at, mark) in line.match_indices("<a id=\"") {
            found.extend(line[at + mark.len()..].split('"').next().map(str::to_owned));
        }
    }
    found
}

/// The path, from the top, of what a document names from its own place.
fn beside(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Links that lead nowhere, as `document:line: target`. `exists` tells of paths from the top.
fn broken_links(documents: &Documents, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        documents.iter().map(|(name, text)| (name.as_str(), anchors(text))).collect();
    let mut found = Vec::new();
    for (document, text) in documents {
        for (line, target) in links(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target.as_str(), ""));
            let file = if path.is_empty() { document.clone() } else { beside(document, path) };
            let leads = exists(&file)
                && (anchor.is_empty()
                    || anchors.get(file.as_str()).is_some_and(|known| known.contains(anchor)));
            if !leads {
                found.push(format!("{document}:{line}: {target}"));
            }
        }
    }
    found
}

/// The documents at the top, and all that is directly in docs/.
fn documents(root: &Path) -> Documents {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let mut names = Vec::from(top.map(str::to_owned));
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    let read = |name: String| (name.clone(), fs::read_to_string(root.join(&name)).unwrap());
    names.into_iter().map(read).collect()
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
    if size > MOST_BYTES {
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
    let documents = documents(workspace.root());
    assert!(documents.values().any(|text| !links(text).is_empty()), "no links were found");

    let found = broken_links(&documents, |path| workspace.root().join(path).exists());

    assert!(found.is_empty(), "links that lead nowhere:\n{}", found.join("\n"));
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
fn headings_are_found_as_github_names_them() {
    let text = "# `a_b`, and c: d!\n## Two  words\n```\n# no heading\n```\n## e\n## e\n\
                <a id=\"f-1\"></a>\n#nor this";

    let found = anchors(text).into_iter().collect::<Vec<_>>();

    assert_eq!(found, ["a_b-and-c-d", "e", "e-1", "f-1", "two--words"]);
}

#[test]
fn links_that_lead_nowhere_are_found_and_code_is_none() {
    let documents = Documents::from([
        (
            "README.md".to_owned(),
            "[a](docs/a.md) [a\nb](docs/a.md#there) [c](docs/a.md#not-there)\n[d](docs/b.md)\n\
             [e](https://example.org/x) [f](#here)\n# Here\n`[g](nowhere)`\n```\n[h](nowhere)\n```\n\
             [`i`](src)"
                .to_owned(),
        ),
        ("docs/a.md".to_owned(), "## There\n[top](../README.md#here) [x](#nor)".to_owned()),
    ]);

    let found = broken_links(&documents, |path| ["README.md", "docs/a.md", "src"].contains(&path));

    let expected =
        ["README.md:2: docs/a.md#not-there", "README.md:3: docs/b.md", "docs/a.md:2: #nor"];
    assert_eq!(found, expected);
}

#[test]
fn large_files_and_binaries_are_unwelcome() {
    assert_eq!(is_unwelcome(MOST_BYTES + 1, b"text"), Some("has more than 1 MB"));
    assert_eq!(is_unwelcome(100, b"\x7fELF"), Some("is a binary"));
    assert_eq!(is_unwelcome(MOST_BYTES, b"ELF"), None);
}
