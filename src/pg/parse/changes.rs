//! `changes`: split at its commas, each piece admitted by the parser's tree.

use super::piece::Piece;
use super::raw::{self, Comma, Place};
use super::scan::{self, Token};
use super::{action, arena, names, repeats};
use crate::error::{Error, Result};
use crate::model::changes::Change;
use crate::pg::reasons::Reasons;
use pgrx::{PgSqlErrorCode, pg_sys};

/// What messages call the text.
const WHAT: &str = "changes";
/// What the parser sees before each piece.
const PREFIX: &str = "ALTER TABLE x ";
/// The relation that the prefix names.
const RELATION: &str = "x";

/// Reads what may follow `ALTER TABLE name`: actions separated by commas, RENAME COLUMN and RENAME
/// CONSTRAINT among them. A text of white space and comments only has no changes.
///
/// The returned texts mean what they say only under the settings of this call
/// (standard_conforming_strings): apply them in the same transaction.
///
/// # Errors
/// 42601 with the position for what the server's grammar does not know, and for a second
/// statement; 0A000 for what it knows but a deployment cannot do. Errors of the server without a
/// position unwind as they are.
pub(crate) fn parse_changes(text: &str) -> Result<Vec<Change>> {
    read_changes(text, &Reasons::first())
}

/// The same; where reasons are gathered, those changes that nothing is said against.
pub(crate) fn read_changes(text: &str, reasons: &Reasons<'_>) -> Result<Vec<Change>> {
    arena::with(|| {
        let tokens = scan::scan(text, WHAT)?;
        refuse_statement(text, &tokens)?;
        let tokens = without_semicolon(&tokens, reasons)?;
        let mut changes = Vec::new();
        for (tokens, comma) in split(tokens) {
            let read = reasons.part(|| admit(&piece(text, tokens, comma)?))?;
            if read.is_none() {
                reasons.unsettle(names::of_unread(text, tokens));
            }
            changes.extend(read);
        }
        repeats::refuse(changes, reasons)
    })
}

/// Refuses what somebody has pasted from a migration: a whole statement.
fn refuse_statement(text: &str, tokens: &[Token]) -> Result<()> {
    let words: Vec<_> = tokens.iter().take(2).filter_map(|t| text.get(t.start..t.end)).collect();
    let is = |number: usize, word: &str| {
        words.get(number).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    if is(0, "alter") && is(1, "table") {
        return Err(syntax("changes begin with ALTER TABLE").hint(
            "Leave out ALTER TABLE and the name: pass what follows them, for example 'ADD COLUMN phone text'.",
        ));
    }
    if is(0, "create") && (is(1, "index") || is(1, "unique")) {
        return Err(syntax("changes contain CREATE INDEX").hint(
            "Run CREATE INDEX CONCURRENTLY on the live table before bg_prepare, which carries the index over; or call bg_prepare again after it.",
        ));
    }
    if is(0, "drop") && is(1, "index") {
        return Err(syntax("changes contain DROP INDEX")
            .hint("Run DROP INDEX CONCURRENTLY before bg_prepare, or after bg_finish."));
    }
    Ok(())
}

/// The tokens before a semicolon that ends them, which is refused.
fn without_semicolon<'a>(tokens: &'a [Token], reasons: &Reasons<'_>) -> Result<&'a [Token]> {
    match tokens.iter().position(|token| token.is(';')) {
        None => Ok(tokens),
        Some(at) if at + 1 == tokens.len() => {
            let ends = syntax("changes end with a semicolon").hint("Leave the semicolon out.");
            reasons.refuse(ends)?;
            Ok(&tokens[..at])
        }
        Some(_) => Err(syntax("changes contain more than one statement")
            .hint("Separate the actions of one ALTER TABLE by commas.")),
    }
}

/// The tokens between the commas outside of parentheses and brackets, each with the comma that ends them.
fn split(tokens: &[Token]) -> Vec<(&[Token], Option<&Token>)> {
    let mut pieces = Vec::new();
    if tokens.is_empty() {
        return pieces;
    }
    let (mut depth, mut first) = (0_i32, 0);
    for (at, token) in tokens.iter().enumerate() {
        if token.is('(') || token.is('[') {
            depth += 1;
        } else if token.is(')') || token.is(']') {
            depth -= 1;
        } else if depth == 0 && token.is(',') {
            pieces.push((&tokens[first..at], Some(token)));
            first = at + 1;
        }
    }
    pieces.push((&tokens[first..], None));
    pieces
}

fn piece<'a>(text: &'a str, tokens: &'a [Token], comma: Option<&Token>) -> Result<Piece<'a>> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err(syntax(match comma {
            Some(comma) => {
                format!(
                    "syntax error at or near \",\" at character {} of changes",
                    characters(text, comma.start) + 1
                )
            }
            None => "syntax error at the end of changes: an action is missing".to_owned(),
        }));
    };
    let own = text
        .get(first.start..last.end)
        .ok_or_else(|| Error::internal("the scanner's tokens do not fit the text of changes"))?;
    let offset = characters(text, first.start);
    if !first.is_word() {
        let token = text.get(first.start..first.end).unwrap_or_default();
        return Err(syntax(format!(
            "syntax error at or near \"{token}\" at character {} of changes",
            offset + 1
        ))
        .hint("Write actions as they may follow ALTER TABLE name, separated by commas."));
    }
    let comma = comma.map(|comma| Comma {
        piece: own.chars().count(),
        position: characters(text, comma.start) + 1,
    });
    let place = Place { what: WHAT, prefix: PREFIX.chars().count(), offset, comma };
    Ok(Piece { text: own, tokens, whole: text, place })
}

/// The number of characters in the first `bytes` of the text.
fn characters(text: &str, bytes: usize) -> usize {
    text.get(..bytes).map_or(bytes, |before| before.chars().count())
}

fn syntax(message: impl Into<String>) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, message)
}

/// Takes a piece that the parser reads as one allowed action on our relation, and nothing else.
fn admit(piece: &Piece<'_>) -> Result<Change> {
    let source = raw::c_string(&format!("{PREFIX}{}", piece.text), WHAT)?;
    let list = raw::statements(&source, &piece.place)?;
    // SAFETY: the tree is the parser's, in the arena of `parse_changes`, and is not changed.
    unsafe {
        let statement = raw::only(list)
            .and_then(|node| raw::cast::<pg_sys::RawStmt, _>(node))
            .ok_or_else(|| {
                syntax("changes contain more than one statement")
                    .hint("Separate the actions of one ALTER TABLE by commas.")
            })?
            .stmt;
        if let Some(alter) = raw::cast::<pg_sys::AlterTableStmt, _>(statement) {
            if !is_ours(alter.relation) || alter.objtype != pg_sys::ObjectType::OBJECT_TABLE {
                return Err(other(piece));
            }
            let command = raw::only(alter.cmds)
                .and_then(|node| raw::cast::<pg_sys::AlterTableCmd, _>(node))
                .ok_or_else(|| other(piece))?;
            let action = action::admit(command, piece)?;
            return Ok(Change::Alter { text: piece.text.to_owned(), action });
        }
        if let Some(rename) = raw::cast::<pg_sys::RenameStmt, _>(statement) {
            return admit_rename(rename, piece);
        }
        if raw::cast::<pg_sys::AlterObjectSchemaStmt, _>(statement).is_some() {
            return Err(action::refused("SET SCHEMA", "the table keeps its schema"));
        }
        Err(other(piece))
    }
}

/// # Safety
/// The statement is a tree of the parser's.
unsafe fn admit_rename(rename: &pg_sys::RenameStmt, piece: &Piece<'_>) -> Result<Change> {
    // SAFETY: the caller's promise.
    unsafe {
        let (from, to) = (raw::name(rename.subname), raw::name(rename.newname));
        match (rename.renameType, from, to) {
            (pg_sys::ObjectType::OBJECT_TABLE, ..) => {
                Err(action::refused("RENAME TO", "the table keeps its name"))
            }
            _ if !is_ours(rename.relation) => Err(other(piece)),
            (pg_sys::ObjectType::OBJECT_COLUMN, Some(from), Some(to))
                if rename.relationType == pg_sys::ObjectType::OBJECT_TABLE =>
            {
                Ok(Change::RenameColumn { from, to })
            }
            (pg_sys::ObjectType::OBJECT_TABCONSTRAINT, Some(from), Some(to)) => {
                Ok(Change::RenameConstraint { from, to })
            }
            _ => Err(other(piece)),
        }
    }
}

/// Whether the statement is about the relation of our prefix, and no piece has said otherwise.
///
/// # Safety
/// The pointer is null or the parser's.
unsafe fn is_ours(relation: *const pg_sys::RangeVar) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        relation.as_ref().is_some_and(|relation| {
            relation.catalogname.is_null()
                && relation.schemaname.is_null()
                && raw::name(relation.relname).as_deref() == Some(RELATION)
        })
    }
}

fn other(piece: &Piece<'_>) -> Error {
    Error::unsupported(format!("changes cannot contain {}", piece.text))
        .hint("Write actions as they may follow ALTER TABLE name, separated by commas.")
}
