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
    /// Its text, with spaces for comments.
    pub text: String,
}

impl Source {
    /// A file of that text.
    pub fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        let path = path.into();
        Self { path, code: blank(text, true), text: blank(text, false) }
    }

    /// The first component of its path without the ending: the module at the crate's top.
    pub fn module(&self) -> String {
        let first = self.path.components().next();
        let first = first.map(|c| c.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
        first.strip_suffix(".rs").map(str::to_owned).unwrap_or(first)
    }

    /// Its path in the crate: `["pg", "spi"]`; nothing for `lib.rs`.
    pub fn module_path(&self) -> Vec<String> {
        let mut path: Vec<String> = self
            .path
            .with_extension("")
            .components()
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .collect();
        if path.last().is_some_and(|last| last == "mod" || (path.len() == 1 && last == "lib")) {
            path.pop();
        }
        path
    }

    /// The code without its tests, which stand at the end.
    pub fn without_tests(&self) -> &str {
        let end = self.code.find("#[cfg(test)]\nmod tests {");
        &self.code[..end.unwrap_or(self.code.len())]
    }

    /// Every path that begins with `crate` or `super`, from the crate's top, groups taken apart, with its
    /// offset. Tests are left out.
    pub fn imports(&self) -> Vec<(usize, Vec<String>)> {
        let code = self.without_tests();
        let own = self.module_path();
        let mut found = Vec::new();
        let mut supers = 0;
        for (offset, word) in words(code) {
            let after = offset + word.len();
            let continues = code[after..].trim_start().starts_with("::");
            let preceded = code[..offset].trim_end().ends_with("::");
            let top = match word {
                "crate" if continues && !preceded => Vec::new(),
                "super" if continues => {
                    supers = if preceded { supers + 1 } else { 1 };
                    own[..own.len().saturating_sub(supers)].to_vec()
                }
                _ => continue,
            };
            paths(code, after, &top, &mut found);
        }
        // Of `super::super::x` the whole is meant, not its first half.
        found.retain(|(_, path)| path.last().is_none_or(|last| last != "super"));
        found
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

/// The paths that go on at an offset, where `::` is expected, from `top`.
fn paths(code: &str, at: usize, top: &[String], found: &mut Vec<(usize, Vec<String>)>) {
    let skip = |at: usize| at + code[at..].len() - code[at..].trim_start().len();
    let at = skip(at);
    if !code[at..].starts_with("::") {
        found.push((at, top.to_vec()));
        return;
    }
    let at = skip(at + 2);
    if let Some(group) = code[at..].strip_prefix('{') {
        for (offset, member) in members(group) {
            let start = at + 1 + offset;
            let word = member.split(|c: char| c != '_' && !c.is_alphanumeric()).next();
            let word = word.unwrap_or_default();
            if word == "self" || word.is_empty() {
                found.push((start, top.to_vec()));
            } else {
                let inner = [top, &[word.to_owned()]].concat();
                paths(code, start + word.len(), &inner, found);
            }
        }
        return;
    }
    match words(&code[at..]).next() {
        Some((0, word)) => {
            let inner = [top, &[word.to_owned()]].concat();
            paths(code, at + word.len(), &inner, found);
        }
        _ => found.push((at, top.to_vec())),
    }
}

/// The members of a group, whose brace is open, with their offsets.
fn members(group: &str) -> Vec<(usize, &str)> {
    let (mut nesting, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => nesting += 1,
            '}' if nesting > 0 => nesting -= 1,
            ',' if nesting > 0 => {}
            ',' | '}' => {
                let member = &group[start..at];
                let blank = member.len() - member.trim_start().len();
                if !member.trim().is_empty() {
                    found.push((start + blank, member.trim()));
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Finds `unsafe` outside `src/pg` and `src/heap`, and attributes that would permit it there.
///
/// The lint `unsafe_code` cannot do it: what the macros of pgrx expand to is full of it. `lib.rs`
/// may have the attribute, because it is where the lint is set.
pub fn unsafe_outside(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let may = |source: &&Source| !["pg", "heap"].contains(&source.module().as_str());
    for source in sources.iter().filter(may) {
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

/// Writes spaces over comments, and over what is inside string and character literals if `literals` says so.
fn blank(text: &str, literals: bool) -> String {
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
        let is_comment = bytes[at] == b'/';
        if end > at + 1 && (is_comment || literals) {
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
