//! The extension's own sources, read for rules that the compiler does not know.
//!
//! Text, not syntax: comments and the contents of literals are blanked out, positions stay. That is
//! enough to find paths and keywords, inside macros too.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One source file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Relative to `src/`, for instance `pg/spi.rs`.
    pub path: PathBuf,
    /// Its text, with spaces for comments and for the contents of literals.
    pub code: String,
}

impl Source {
    /// A file of that text.
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        Self { path: path.into(), code: blank(text) }
    }

    /// The first component of its path without the ending: the module at the crate's top.
    pub fn module(&self) -> String {
        let first = self.path.components().next();
        let first = first.map(|c| c.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
        first.strip_suffix(".rs").map(str::to_owned).unwrap_or(first)
    }

    /// The number of the line that a byte of the code is in, from 1.
    pub fn line_of(&self, offset: usize) -> usize {
        self.code.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// All Rust files below a directory, sorted by path.
pub fn read_all(top: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut dirs = vec![top.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let entries = fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let relative = path.strip_prefix(top).unwrap_or(&path);
                sources.push(Source::new(relative, &text));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// The names in each `failpoint::reach(…)` of the files below a directory, with the file.
pub fn failpoints(top: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for source in read_all(top)? {
        let path = top.join(&source.path);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        for (at, call) in source.code.match_indices("failpoint::reach(") {
            let end = at + source.code[at..].find(';').unwrap_or(call.len());
            let names = text[at..end].split('"').skip(1).step_by(2);
            found.extend(names.map(|name| (name.to_owned(), source.path.clone())));
        }
    }
    Ok(found)
}

/// Finds `unsafe` outside `src/pg`, and attributes that would permit it there.
///
/// The lint `unsafe_code` cannot do it: what the macros of pgrx expand to is full of it. `lib.rs`
/// may have the attribute, because it is where the lint is set.
pub fn unsafe_outside_pg(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.module() != "pg") {
        for (offset, word) in words(&source.code) {
            let permits = word.contains("unsafe") && in_permission(&source.code, offset);
            if word == "unsafe" || (permits && source.path != Path::new("lib.rs")) {
                let line = source.line_of(offset);
                found.push(format!("src/{}:{line}: {word}", source.path.display()));
            }
        }
    }
    found
}

/// The identifiers and keywords of a blanked text, each with its offset.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code[rest..].find(is_word)?;
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |length| start + length);
        rest = end;
        Some((start, &code[start..end]))
    })
}

/// Whether an offset is within the parentheses of `allow(…)`, `warn(…)` or `expect(…)`.
fn in_permission(code: &str, offset: usize) -> bool {
    let before = &code[..offset];
    before.rfind(['(', ')', ';', '{', '}']).is_some_and(|at| {
        let opener = before[..at].trim_end();
        before[at..].starts_with('(')
            && ["allow", "warn", "expect"].iter().any(|level| opener.ends_with(level))
    })
}

/// Writes spaces over comments and over what is inside string and character literals.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at + 1),
            b'\'' => char_end(bytes, at).unwrap_or(at + 1),
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut code[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    // A byte string's b may stand before the r.
    let before = |back: usize| at.checked_sub(back).map(|i| bytes[i]);
    let is_word = |byte: Option<u8>| byte.is_some_and(|b| b == b'_' || b.is_ascii_alphanumeric());
    match before(1) {
        Some(b'b') => is_word(before(2)),
        byte => is_word(byte),
    }
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes[from..].windows(what.len()).position(|w| w == what).map_or(bytes.len(), |i| from + i)
}

fn block_comment_end(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let hashes = bytes[from + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = from + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    Some((find(bytes, open + 1, &close) + close.len()).min(bytes.len()))
}

/// The end of a character literal, or nothing when the quote begins a lifetime.
fn char_end(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.get(from + 1) == Some(&b'\\') {
        return Some((find(bytes, from + 3, b"'") + 1).min(bytes.len()));
    }
    let rest = std::str::from_utf8(&bytes[from + 1..]).ok()?;
    let first = rest.chars().next()?;
    rest[first.len_utf8()..].starts_with('\'').then_some(from + first.len_utf8() + 2)
}
