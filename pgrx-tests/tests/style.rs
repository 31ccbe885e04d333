//! The shape of the extension's sources: functions that are short and have few parameters, unless a comment
//! next to them says why not, no decision by the text of an error's message, and no OID that is a bare number.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bluegreen_tests::setup::Workspace;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Expr, Meta, Signature};

/// Lines of a function, its signature and braces too.
const MAX_LINES: usize = 60;
/// Parameters of a function, besides `self`.
const MAX_PARAMETERS: usize = 5;

/// What the reason begins with, in a comment above the function.
const LONG: &str = "// Long: ";
const MANY: &str = "// Parameters: ";

/// Files that may look at the text of a message, and why.
const READ_MESSAGES: &[(&str, &str)] = &[
    ("pg/xact.rs", "PostgreSQL's own errors that have no code of their own"),
    ("guard/intrusion.rs", "whether an error is the one that was seen"),
];

/// Folders and files in which an OID may be the server's bare number.
const NUMBERS: &[&str] = &["pg/", "heap/", "oid.rs"];

/// What is a `u32` elsewhere: counts, sizes and limits, by the name of the field, parameter, constant, or of the
/// function that returns it.
const COUNTS: &[&str] = &[
    "AHEAD",
    "BITS",
    "BLOCKS_PER_LOG_BLOCK",
    "MIN_KB",
    "MIN_ROWS",
    "MAX_CHASES",
    "MAX_MISSED",
    "MAX_ROWS",
    "MAX_STARTS",
    "MAX_TIMES",
    "MAX_ZONES",
    "PARTICIPANT_KB",
    "PLAIN_ROUNDS",
    "ROWS_PER_LOG_BLOCK",
    "StateVersion",
    "TRIES",
    "chased",
    "copy_workers",
    "depth",
    "index_builders",
    "indexes_made",
    "missed",
    "next_size",
    "open",
    "parallel",
    "parallel_maintenance",
    "plain_rounds",
    "processes",
    "processors",
    "renewals",
    "restarts",
    "size",
    "sort_kb",
    "starts",
    "usual_copy_workers",
    "workers",
];

/// Looks at one file.
struct Reader<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    found: Vec<String>,
}

impl Reader<'_> {
    fn report(&mut self, line: usize, what: &str) {
        self.found.push(format!("src/{}:{line}: {what}", self.file));
    }

    /// Whether a comment above a line, among attributes and other comments, begins like this.
    fn says(&self, line: usize, reason: &str) -> bool {
        let above = self.lines[..line.saturating_sub(1)].iter().rev().map(|l| l.trim_start());
        let mut above = above.take_while(|l| l.starts_with("//") || l.starts_with("#["));
        above.any(|l| l.starts_with(reason))
    }

    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &Block) {
        if attributes.iter().any(is_test) {
            return;
        }
        let first = signature.span().start().line;
        let lines = block.span().end().line - first + 1;
        let name = &signature.ident;
        if lines > MAX_LINES && !self.says(first, LONG) {
            self.report(first, &format!("{name} has {lines} lines"));
        }
        let parameters =
            signature.inputs.iter().filter(|p| matches!(p, syn::FnArg::Typed(_))).count();
        if parameters > MAX_PARAMETERS && !self.says(first, MANY) {
            self.report(first, &format!("{name} has {parameters} parameters"));
        }
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|last| last.ident.to_string().ends_with("test"))
}

fn is_for_tests(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list)
        if list.path.is_ident("cfg") && list.tokens.to_string().contains("test"))
}

/// `x.message`, with calls that only change its type.
fn is_message(expression: &Expr) -> bool {
    match expression {
        Expr::Field(field) => {
            matches!(&field.member, syn::Member::Named(name) if name == "message")
        }
        Expr::MethodCall(call) => {
            call.method == "message" || (call.method == "as_str" && is_message(&call.receiver))
        }
        Expr::Reference(reference) => is_message(&reference.expr),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !item.attrs.iter().any(is_for_tests) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr_binary(&mut self, comparison: &'ast syn::ExprBinary) {
        let compares = matches!(comparison.op, syn::BinOp::Eq(_) | syn::BinOp::Ne(_));
        if compares && (is_message(&comparison.left) || is_message(&comparison.right)) {
            self.report(comparison.span().start().line, "compares a message");
        }
        visit::visit_expr_binary(self, comparison);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let looks = ["contains", "starts_with", "ends_with", "find", "eq", "strip_prefix"];
        if is_message(&call.receiver) && looks.iter().any(|name| call.method == name) {
            self.report(call.span().start().line, "looks into a message");
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_match(&mut self, choice: &'ast syn::ExprMatch) {
        if is_message(&choice.expr) {
            self.report(choice.span().start().line, "chooses by a message");
        }
        visit::visit_expr_match(self, choice);
    }
}

/// Looks for types that are, or have in them, a `u32`, and are of nothing in [`COUNTS`].
struct Numbers<'a> {
    file: &'a str,
    /// What the types around are of, from outside.
    of: Vec<String>,
    found: Vec<String>,
    /// Of [`COUNTS`], those that are there.
    counts: BTreeSet<&'static str>,
}

impl Numbers<'_> {
    fn inside(&mut self, name: String, visit: impl FnOnce(&mut Self)) {
        self.of.push(name);
        visit(self);
        self.of.pop();
    }

    /// A function's own name is for what it returns; what is in its body is the body's.
    fn function(&mut self, signature: &syn::Signature, body: Option<&Block>) {
        let name = signature.ident.to_string();
        if let Some(body) = body {
            self.inside(format!("the body of {name}"), |this| this.visit_block(body));
        }
        self.inside(name, |this| this.visit_signature(signature));
    }

    fn number(&mut self, line: usize) {
        let name = self.of.last().map_or("", String::as_str);
        match COUNTS.iter().copied().find(|count| *count == name) {
            Some(count) => {
                self.counts.insert(count);
            }
            None => self.found.push(format!("src/{}:{line}: {name} is a u32", self.file)),
        }
    }
}

/// The names that a pattern gives.
#[derive(Default)]
struct Names(Vec<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        self.0.push(pattern.ident.to_string());
        visit::visit_pat_ident(self, pattern);
    }
}

impl<'ast> Visit<'ast> for Numbers<'_> {
    fn visit_type_path(&mut self, path: &'ast syn::TypePath) {
        if path.qself.is_none() && path.path.is_ident("u32") {
            self.number(path.span().start().line);
        }
        visit::visit_type_path(self, path);
    }

    /// A cast is the way to a type, not the type of anything.
    fn visit_expr_cast(&mut self, cast: &'ast syn::ExprCast) {
        self.visit_expr(&cast.expr);
    }

    fn visit_pat_type(&mut self, typed: &'ast syn::PatType) {
        let mut names = Names::default();
        names.visit_pat(&typed.pat);
        self.inside(names.0.join(", "), |this| visit::visit_pat_type(this, typed));
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        match &field.ident {
            Some(name) => self.inside(name.to_string(), |this| visit::visit_field(this, field)),
            None => visit::visit_field(self, field),
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.inside(item.ident.to_string(), |this| visit::visit_item_struct(this, item));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.inside(variant.ident.to_string(), |this| visit::visit_variant(this, variant));
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.inside(item.ident.to_string(), |this| visit::visit_item_const(this, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.inside(item.ident.to_string(), |this| visit::visit_impl_item_const(this, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.inside(item.ident.to_string(), |this| visit::visit_item_static(this, item));
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.inside(item.ident.to_string(), |this| visit::visit_item_type(this, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !item.attrs.iter().any(is_test) {
            self.function(&item.sig, Some(&item.block));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, Some(&item.block));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.default.as_ref());
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !item.attrs.iter().any(is_for_tests) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.is_ident("thread_local") {
            let inside: syn::File = call.parse_body().expect("what is local to a thread parses");
            Visit::visit_file(self, &inside);
        }
    }
}

/// The bare numbers of a file, and which counts it has.
fn numbers(file: &str, text: &str) -> (Vec<String>, BTreeSet<&'static str>) {
    if NUMBERS.iter().any(|place| file.starts_with(place)) {
        return Default::default();
    }
    let (of, found, counts) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut reader = Numbers { file, of, found, counts };
    reader.visit_file(&syn::parse_file(text).expect("our own source parses"));
    (reader.found, reader.counts)
}

/// What is wrong in a file.
fn faults(file: &str, text: &str) -> Vec<String> {
    let mut reader = Reader { file, lines: text.lines().collect(), found: Vec::new() };
    let tree = syn::parse_file(text).expect("our own source parses");
    reader.visit_file(&tree);
    if READ_MESSAGES.iter().any(|(known, _)| *known == file) {
        reader.found.retain(|fault| !fault.contains(" message"));
    }
    reader.found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The extension's sources without files of tests: their names below `src`, and their texts.
fn sources() -> Vec<(String, String)> {
    let top = Workspace::find().unwrap().root().join("src");
    let mut all = files(&top);
    assert!(all.len() > 100, "{} files", all.len());
    all.retain(|path| !path.to_string_lossy().ends_with("_tests.rs"));
    let name = |path: &Path| path.strip_prefix(&top).unwrap().to_string_lossy().into_owned();
    all.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn functions_are_short_and_nothing_hangs_on_the_text_of_a_message() {
    let found: Vec<_> = sources().iter().flat_map(|(file, text)| faults(file, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_oid_has_the_type_of_its_catalog() {
    let (mut found, mut counts) = (Vec::new(), BTreeSet::new());
    for (file, text) in sources() {
        let (more, of_file) = numbers(&file, &text);
        found.extend(more);
        counts.extend(of_file);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let gone: Vec<_> = COUNTS.iter().filter(|count| !counts.contains(*count)).collect();
    assert!(gone.is_empty(), "counts that no source has: {gone:?}");
}

#[test]
fn what_is_wrong_is_found() {
    let long = format!("fn long() {{\n{}}}\n", "    work();\n".repeat(59));
    assert_eq!(faults("a.rs", &long), ["src/a.rs:1: long has 61 lines"]);
    assert_eq!(faults("a.rs", &format!("{LONG}a list.\n#[inline]\n{long}")), [""; 0]);
    assert_eq!(faults("a.rs", &long.replacen("    work();\n", "", 1)), [""; 0]);
    let many = "impl T { fn many(&self, a: A, b: B, c: C, d: D, e: E, f: F) {} }";
    assert_eq!(faults("a.rs", many), ["src/a.rs:1: many has 6 parameters"]);
    assert_eq!(faults("a.rs", &many.replace(", f: F", "")), [""; 0]);
    for (code, what) in [
        ("fn f() { if e.message == X {} }", "compares a message"),
        ("fn f() { e.error.message.as_str().ends_with(\"x\"); }", "looks into a message"),
        ("fn f() { match report.message() { _ => {} } }", "chooses by a message"),
    ] {
        assert_eq!(faults("a.rs", code), [format!("src/a.rs:1: {what}")]);
        assert_eq!(faults("pg/xact.rs", code), [""; 0]);
        assert_eq!(faults("a.rs", &format!("#[cfg(test)] mod tests {{ {code} }}")), [""; 0]);
    }
}

#[test]
fn a_bare_number_is_found() {
    for (code, name) in [
        ("struct T { oid: u32, depth: u32 }", "oid"),
        ("struct T(u32);", "T"),
        ("enum E { Logged(Option<u32>) }", "Logged"),
        ("const TEXT: u32 = 25;", "TEXT"),
        ("type Pairs = HashMap<Ident, (u32, Ident)>;", "Pairs"),
        ("fn find(table: &[u32]) {}", "table"),
        ("impl T { fn find(&self, (one, other): (u32, Side)) {} }", "one, other"),
        ("fn find() -> Result<Option<u32>> {}", "find"),
        ("fn f() { let known: Vec<u32> = all(); }", "known"),
        ("fn f() { let of = |owner: u32| owner; }", "owner"),
        ("fn depth() { word.parse::<u32>(); }", "the body of depth"),
        ("thread_local! { static KNOWN: RefCell<HashSet<u32>> = default(); }", "KNOWN"),
    ] {
        let found = vec![format!("src/a.rs:1: {name} is a u32")];
        assert_eq!(numbers("a.rs", code).0, found, "{code}");
        assert_eq!(numbers("pg/a.rs", code).0, [""; 0]);
        let of_tests = format!("#[cfg(test)] mod tests {{ {code} }}");
        assert_eq!(numbers("a.rs", &of_tests).0, [""; 0]);
    }
    let fine = "fn f(depth: u32) { let id = RelationId::new(oid as u32); u32::try_from(id); }";
    assert_eq!(numbers("a.rs", fine), (vec![], BTreeSet::from(["depth"])));
}
