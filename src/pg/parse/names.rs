//! The names in a text, as far as they can be told without reading it.

use super::arena;
use super::scan::{self, Token};
use crate::model::changes::{Action, Change, ConstraintKind};
use pgrx::pg_sys;
use std::ffi::CString;

/// Stands for the name of whatever key is there: no name is written so.
pub(crate) const A_KEY: &str = "PRIMARY KEY";

/// `RESERVED_KEYWORD` of `common/keywords.h`.
const RESERVED: u8 = 3;

/// What may be a name in a text. Nothing where the scanner does not take it.
pub(crate) fn names(text: &str) -> Vec<String> {
    arena::with(|| match scan::scan(text, "a text") {
        Ok(tokens) => of_tokens(text, &tokens),
        Err(_) => Vec::new(),
    })
}

/// What a change names: its column or constraint, and what stands in its parentheses and expressions.
pub(crate) fn named_by(change: &Change) -> Vec<String> {
    let mut found: Vec<String> = change.subject().map(str::to_owned).into_iter().collect();
    let Change::Alter { text, action } = change else { return found };
    if let Action::AlterType { using: Some(using), .. } = action {
        found.extend(names(using));
    }
    if let Some((_, inside)) = text.split_once('(') {
        found.extend(names(inside));
    }
    found
}

/// Names that a change would have given or changed.
pub(crate) fn unsettled_by(change: &Change) -> Vec<String> {
    let mut found = Vec::new();
    match change {
        Change::RenameColumn { to, .. } | Change::RenameConstraint { to, .. } => {
            found.push(to.clone());
        }
        Change::Alter { text, action } => {
            let is_key = match action {
                Action::AddConstraint { kind, .. } => {
                    matches!(kind, ConstraintKind::PrimaryKey | ConstraintKind::Unique)
                }
                Action::AddColumn { .. } => names_and_keys(text).contains(&A_KEY.to_owned()),
                // Nothing else depends on these.
                Action::SetStatistics { .. }
                | Action::SetStorage { .. }
                | Action::SetCompression { .. }
                | Action::SetColumnOptions { .. }
                | Action::ResetColumnOptions { .. } => return found,
                _ => false,
            };
            found.extend(change.subject().map(str::to_owned));
            found.extend(is_key.then(|| A_KEY.to_owned()));
        }
    }
    found
}

/// The same of a text that was not understood: every name in it, and a key where it speaks of one.
pub(super) fn of_unread(text: &str, tokens: &[Token]) -> Vec<String> {
    let mut found = of_tokens(text, tokens);
    if tokens.iter().any(|t| t.is_keyword(text, "primary") || t.is_keyword(text, "unique")) {
        found.push(A_KEY.to_owned());
    }
    found
}

fn names_and_keys(text: &str) -> Vec<String> {
    arena::with(|| match scan::scan(text, "a text") {
        Ok(tokens) => of_unread(text, &tokens),
        Err(_) => Vec::new(),
    })
}

fn of_tokens(text: &str, tokens: &[Token]) -> Vec<String> {
    tokens.iter().filter_map(|token| name(text.get(token.start..token.end)?)).collect()
}

/// The name that a token is: folded as the server does, without its quotes.
fn name(token: &str) -> Option<String> {
    if let Some(quoted) = token.strip_prefix('"') {
        return Some(quoted.strip_suffix('"').unwrap_or(quoted).replace("\"\"", "\""));
    }
    let is_word = token.chars().all(|c| c == '_' || c == '$' || c.is_alphanumeric())
        && token.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic());
    (is_word && !is_reserved(token)).then(|| token.to_ascii_lowercase())
}

fn is_reserved(word: &str) -> bool {
    let Ok(word) = CString::new(word) else { return false };
    // SAFETY: the server's constants; a number that the look-up gives is one of a key word, for each of
    // which there is a category.
    unsafe {
        let number = pg_sys::ScanKeywordLookup(word.as_ptr(), &raw const pg_sys::ScanKeywords);
        let Ok(number) = usize::try_from(number) else { return false };
        let categories: *const u8 = (&raw const pg_sys::ScanKeywordCategories).cast();
        *categories.add(number) == RESERVED
    }
}
