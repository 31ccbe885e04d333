//! docs/messages.md lists the errors and notices of the extension as its sources have them, in PostgreSQL's
//! style for messages. `BLUEGREEN_WRITE=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use bluegreen_tests::setup::Workspace;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, ExprCall, ExprMacro, ExprMethodCall, Lit, Macro, Meta, Token};

const DOCUMENT: &str = "docs/messages.md";

/// The conditions that the sources name, by their SQLSTATE.
const CONDITIONS: &[(&str, &str)] = &[
    ("ERRCODE_ACTIVE_SQL_TRANSACTION", "25001"),
    ("ERRCODE_CARDINALITY_VIOLATION", "21000"),
    ("ERRCODE_DATATYPE_MISMATCH", "42804"),
    ("ERRCODE_DATA_CORRUPTED", "XX001"),
    ("ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST", "2BP01"),
    ("ERRCODE_DUPLICATE_SCHEMA", "42P06"),
    ("ERRCODE_DUPLICATE_OBJECT", "42710"),
    ("ERRCODE_DUPLICATE_TABLE", "42P07"),
    ("ERRCODE_EXCLUSION_VIOLATION", "23P01"),
    ("ERRCODE_FEATURE_NOT_SUPPORTED", "0A000"),
    ("ERRCODE_GROUPING_ERROR", "42803"),
    ("ERRCODE_INSUFFICIENT_PRIVILEGE", "42501"),
    ("ERRCODE_INTERNAL_ERROR", "XX000"),
    ("ERRCODE_INVALID_OBJECT_DEFINITION", "42P17"),
    ("ERRCODE_INVALID_PARAMETER_VALUE", "22023"),
    ("ERRCODE_INVALID_TRANSACTION_TERMINATION", "2D000"),
    ("ERRCODE_LOCK_NOT_AVAILABLE", "55P03"),
    ("ERRCODE_NAME_TOO_LONG", "42622"),
    ("ERRCODE_NOT_NULL_VIOLATION", "23502"),
    ("ERRCODE_NULL_VALUE_NOT_ALLOWED", "22004"),
    ("ERRCODE_OBJECT_IN_USE", "55006"),
    ("ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE", "55000"),
    ("ERRCODE_QUERY_CANCELED", "57014"),
    ("ERRCODE_READ_ONLY_SQL_TRANSACTION", "25006"),
    ("ERRCODE_RESERVED_NAME", "42939"),
    ("ERRCODE_STATEMENT_TOO_COMPLEX", "54001"),
    ("ERRCODE_SYNTAX_ERROR", "42601"),
    ("ERRCODE_T_R_DEADLOCK_DETECTED", "40P01"),
    ("ERRCODE_UNDEFINED_COLUMN", "42703"),
    ("ERRCODE_UNDEFINED_FUNCTION", "42883"),
    ("ERRCODE_UNDEFINED_PARAMETER", "42P02"),
    ("ERRCODE_UNDEFINED_SCHEMA", "3F000"),
    ("ERRCODE_UNDEFINED_TABLE", "42P01"),
    ("ERRCODE_UNIQUE_VIOLATION", "23505"),
    ("ERRCODE_WRONG_OBJECT_TYPE", "42809"),
];

/// What makes an error, and its SQLSTATE; None: its first argument is the condition.
const MAKERS: &[(&str, Option<&str>)] = &[
    ("new", None),
    ("state", Some("55000")),
    ("unsupported", Some("0A000")),
    ("argument", Some("22023")),
    ("internal", Some("XX000")),
];

/// Files whose errors of a lock that is not to be had become the cause of another one, with a hint.
const RETRIED: &[&str] = &["swap/mod.rs", "sync/history/round.rs"];

/// An error, as far as its texts are known where it is made; what is known at run time is `…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    code: String,
    text: String,
    detail: String,
    hint: String,
    file: String,
}

#[derive(Default)]
struct Reader {
    file: String,
    errors: BTreeSet<Message>,
    /// Notices and warnings.
    told: BTreeSet<(String, String, String)>,
    /// Warnings and notes of bg_check, with their hints.
    findings: BTreeSet<(String, String, String, String)>,
    /// Hints of errors that are made elsewhere.
    hints: BTreeSet<(String, String)>,
}

impl Reader {
    /// A chain `Error::new(…).detail(…).hint(…)`, and whether it is one.
    fn error(&mut self, expr: &Expr) -> bool {
        let mut message = Message { file: self.file.clone(), ..Message::default() };
        let mut at = expr;
        while let Expr::MethodCall(call) = at {
            let text = || call.args.first().and_then(text_of).unwrap_or_else(|| "…".to_owned());
            match call.method.to_string().as_str() {
                "detail" | "and_detail" => message.detail = text(),
                "hint" => message.hint = text(),
                "kind" | "into" => {}
                _ => return false,
            }
            at = &call.receiver;
        }
        let Expr::Call(call) = at else { return false };
        let Some((code, argument)) = made(call) else { return false };
        message.code = code;
        message.text = call.args.iter().nth(argument).and_then(text_of).unwrap_or_default();
        if !message.text.is_empty() && message.text != "…" {
            self.errors.insert(message);
        }
        true
    }
}

impl Reader {
    fn told_by_call(&mut self, call: &ExprCall) {
        let Expr::Path(path) = &*call.func else { return };
        let names: Vec<_> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        if let [.., "Finding", severity] = names[..] {
            self.finding(severity, call);
        }
        let level = match names[..] {
            [.., "xact", "warn"] => "WARNING",
            [.., "xact", "tell"] => "NOTICE",
            _ => return,
        };
        let text = call.args.first().and_then(text_of);
        self.told.extend(text.map(|text| (level.to_owned(), text, self.file.clone())));
    }

    /// What bg_check says; where it is an error, bg_prepare raises it.
    fn finding(&mut self, severity: &str, call: &ExprCall) {
        let first = if severity == "error" { 3 } else { 2 };
        let text = |at: usize| call.args.iter().nth(at).and_then(text_of).unwrap_or_default();
        let (text, hint) = (text(first), text(first + 1));
        if text.is_empty() || !["error", "warning", "note"].contains(&severity) {
            return;
        }
        let file = self.file.clone();
        if severity == "error" {
            let code = call.args.iter().nth(1).map(code_of).unwrap_or_default();
            let hint = if hint.is_empty() { "…".to_owned() } else { hint };
            self.errors.insert(Message { code, text, detail: String::new(), hint, file });
        } else {
            self.findings.insert((severity.to_owned(), text, hint, file));
        }
    }

    fn told_by_method(&mut self, call: &ExprMethodCall) {
        let Some(text) = call.args.first().and_then(text_of) else { return };
        match call.method.to_string().as_str() {
            "hint" => drop(self.hints.insert((text, self.file.clone()))),
            "notice" | "tell" => {
                self.told.insert(("NOTICE".to_owned(), text, self.file.clone()));
            }
            _ => {}
        }
    }
}

/// The SQLSTATE of a call that makes an error, and which argument is the message.
fn made(call: &ExprCall) -> Option<(String, usize)> {
    let Expr::Path(path) = &*call.func else { return None };
    let names: Vec<_> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
    if names == ["syntax"] {
        return Some(("42601".to_owned(), 0));
    }
    let [.., of, name] = &names[..] else { return None };
    let (_, code) = MAKERS.iter().find(|(maker, _)| of == "Error" && maker == name)?;
    if let Some(code) = code {
        return Some(((*code).to_owned(), 0));
    }
    Some((code_of(call.args.first()?), 1))
}

/// The SQLSTATE of a condition; `…` where it is known at run time only.
fn code_of(condition: &Expr) -> String {
    let name = match condition {
        Expr::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
        _ => None,
    };
    let Some(name) = name.filter(|name| name.starts_with("ERRCODE_")) else {
        return "…".to_owned();
    };
    let code = CONDITIONS.iter().find(|(known, _)| *known == name);
    code.unwrap_or_else(|| panic!("no SQLSTATE of {name}")).1.to_owned()
}

/// A literal, or the format of a `format!`, with `…` for what is filled in.
fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        Expr::Reference(reference) => text_of(&reference.expr),
        Expr::Macro(ExprMacro { mac, .. }) if mac.path.is_ident("format") => format_of(mac),
        Expr::MethodCall(call)
            if ["to_owned", "into", "to_string"].contains(&call.method.to_string().as_str()) =>
        {
            text_of(&call.receiver)
        }
        _ => None,
    }
}

fn format_of(mac: &Macro) -> Option<String> {
    let arguments = mac.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated).ok()?;
    let Expr::Lit(literal) = arguments.first()? else { return None };
    let Lit::Str(format) = &literal.lit else { return None };
    let mut text = String::new();
    let mut inside = false;
    let format = format.value().replace("{{", "\u{1}").replace("}}", "\u{2}");
    for c in format.chars() {
        match c {
            '{' => inside = true,
            '}' => {
                inside = false;
                text.push('…');
            }
            '\u{1}' => text.push('{'),
            '\u{2}' => text.push('}'),
            c if !inside => text.push(c),
            _ => {}
        }
    }
    Some(text)
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string().contains("test"),
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr(&mut self, expr: &'ast Expr) {
        if self.error(expr) {
            // Its parts are no errors of their own; what is in its arguments may be.
            let mut at = expr;
            while let Expr::MethodCall(call) = at {
                call.args.iter().for_each(|argument| self.visit_expr(argument));
                at = &call.receiver;
            }
            if let Expr::Call(call) = at {
                call.args.iter().for_each(|argument| self.visit_expr(argument));
            }
            return;
        }
        match expr {
            Expr::Call(call) => self.told_by_call(call),
            Expr::MethodCall(call) => self.told_by_method(call),
            _ => {}
        }
        visit::visit_expr(self, expr);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        let name = mac.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        let level = match name.as_str() {
            "notice" => "NOTICE",
            "warning" => "WARNING",
            _ => return,
        };
        let text = format_of(mac).filter(|text| text.chars().any(char::is_alphabetic));
        self.told.extend(text.map(|text| (level.to_owned(), text, self.file.clone())));
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read() -> Reader {
    let root = Workspace::find().unwrap().root().join("src");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let mut reader = Reader::default();
    for path in paths {
        reader.file = path.strip_prefix(&root).unwrap().display().to_string();
        let tree = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        reader.visit_file(&tree);
    }
    reader
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ").trim().to_owned()
}

fn document(reader: &Reader) -> String {
    let mut text = String::from(
        "# Messages\n\nWritten from the sources by `BLUEGREEN_WRITE=1 cargo test --profile client -p pg_bluegreen-tests --test messages`.\n\n\
         `…` stands for what is known when the message is sent: names, numbers, keys, other messages. The hint says\n\
         what to do. Errors that PostgreSQL raises itself, for example in a statement of `changes`, keep their code and\n\
         text and are not listed.\n\n[Errors](#errors) · [Internal errors](#internal-errors) · [Findings](#findings-of-bg_check) · [Notices and warnings](#notices-and-warnings)\n\n## Errors\n",
    );
    let mut by_code: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in reader.errors.iter().filter(|message| message.code != "XX000") {
        by_code.entry(&message.code).or_default().push(message);
    }
    for (code, messages) in by_code {
        let title = if code == "…" { "As the cause has it" } else { code };
        write!(
            text,
            "\n### {title}\n\n| message | detail | hint | source |\n| --- | --- | --- | --- |\n"
        )
        .unwrap();
        for m in messages {
            let parts = [&m.text, &m.detail, &m.hint].map(|part| cell(part));
            writeln!(text, "| {} | `{}` |", parts.join(" | "), m.file).unwrap();
        }
    }
    text += "\n## Internal errors\n\nXX000: a promise of the extension's own was broken. Please report it, with the message.\n\n| message | source |\n| --- | --- |\n";
    for m in reader.errors.iter().filter(|message| message.code == "XX000") {
        writeln!(text, "| {} | `{}` |", cell(&m.text), m.file).unwrap();
    }
    text += "\n## Findings of bg_check\n\nErrors of bg_check are those that bg_prepare raises, and are listed above.\n\n| severity | message | hint | source |\n| --- | --- | --- | --- |\n";
    for (severity, told, hint, file) in &reader.findings {
        writeln!(text, "| {severity} | {} | {} | `{file}` |", cell(told), cell(hint)).unwrap();
    }
    text += "\n## Notices and warnings\n\nThey report; nothing has to be done where they do not say so.\n\n| level | message | source |\n| --- | --- | --- |\n";
    for (level, told, file) in &reader.told {
        writeln!(text, "| {level} | {} | `{file}` |", cell(told)).unwrap();
    }
    text
}

#[test]
fn the_document_has_every_message_of_the_sources() {
    let reader = read();
    assert!(reader.errors.len() > 100, "only {} errors were found", reader.errors.len());
    let path = Workspace::find().unwrap().root().join(DOCUMENT);
    let wanted = document(&reader);
    if std::env::var_os("BLUEGREEN_WRITE").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{DOCUMENT} is not what the sources have: set BLUEGREEN_WRITE=1");
}

/// PostgreSQL's error message style guide: a message is no sentence, detail and hint are.
#[test]
fn messages_have_postgresqls_form() {
    let reader = read();
    let mut wrong = Vec::new();
    for m in &reader.errors {
        let retried = m.code == "55P03" && RETRIED.contains(&m.file.as_str());
        if m.hint.is_empty() && m.code != "XX000" && m.code != "…" && !retried {
            wrong.push(format!("{}: no hint: {:?}", m.file, m.text));
        }
        if !is_fact(&m.text) {
            wrong.push(format!("{}: message {:?}", m.file, m.text));
        }
        if m.code != "XX000" && !m.detail.is_empty() && !is_sentence(&m.detail) {
            wrong.push(format!("{}: detail {:?}", m.file, m.detail));
        }
    }
    let hints = reader.errors.iter().map(|m| (m.hint.clone(), m.file.clone()));
    for (hint, file) in hints.chain(reader.hints.iter().cloned()) {
        if !hint.is_empty() && !is_advice(&hint) {
            wrong.push(format!("{file}: hint {hint:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Begins in lower case, with a name or with a keyword, and has no full stop.
fn is_fact(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    let keyword = first.contains('_') || first.chars().all(|c| !c.is_lowercase());
    (keyword || first.starts_with(|c: char| !c.is_uppercase())) && !text.ends_with('.')
}

/// Begins in upper case or with what is filled in, and ends with a full stop or what is filled in.
fn is_sentence(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    let begins = first.starts_with(|c: char| !c.is_lowercase()) || first.contains(['…', '_']);
    begins && (text.ends_with('.') || text.ends_with('…'))
}

/// A sentence that begins with an action, or has a statement or a setting to use in it.
fn is_advice(text: &str) -> bool {
    const STATEMENTS: &[&str] = &[
        "SELECT ",
        "CALL ",
        "SET ",
        "ALTER ",
        "DROP ",
        "CREATE ",
        "GRANT ",
        "REFRESH ",
        "REINDEX ",
        "TRUNCATE ",
        "COMMIT",
        "bluegreen.",
    ];
    const VERBS: &[&str] = &[
        "Add", "Begin", "Break", "Call", "Change", "Commit", "Correct", "Delete", "Deploy", "Do",
        "Drop", "End", "Enter", "Finish", "Give", "Install", "Keep", "Let", "Leave", "List",
        "Make", "Map", "Move", "Name", "Pass", "Put", "Remove", "Rename", "Rewrite", "Run", "Say",
        "See", "Take", "Undo", "Update", "Use", "Wait", "Write",
    ];
    let first = text.split_whitespace().next().unwrap_or_default().trim_end_matches([',', ':']);
    let acts = VERBS.contains(&first)
        || STATEMENTS.iter().any(|s| text.contains(s))
        || first.contains('…');
    acts && (text.ends_with('.') || text.ends_with('…'))
}

#[test]
fn a_sentence_and_a_fact_are_told_apart() {
    assert!(is_fact("relation … does not exist") && is_fact("CALL bg_run cannot run here"));
    assert!(!is_fact("Relation is gone") && !is_fact("it ends."));
    assert!(is_advice("Drop it first.") && is_advice("First SET bluegreen.nice = 2."));
    assert!(!is_advice("It is so.") && !is_advice("Drop it first"));
}
