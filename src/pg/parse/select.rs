//! One target expression, told from everything else that a SELECT can have.

use super::raw::{self, Place};
use super::scan;
use crate::error::{Error, Result};
use crate::ident::plain;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ffi::CString;

/// What the parser sees before the text.
const SELECT: &str = "SELECT ";

/// The hint of every refusal.
pub(super) const ONE_EXPRESSION: &str = "Write one expression over the columns of the row.";

/// The expression that the text is, unresolved, in the current memory context.
///
/// # Errors
/// 42601 where it is not exactly one target without an alias, 0A000 for a star.
pub(super) fn target(text: &str, what: &str) -> Result<*mut pg_sys::Node> {
    let source = source(text, what)?;
    let place = Place { what, prefix: SELECT.len(), offset: 0, comma: None };
    let list = raw::statements(&source, &place)?;
    // SAFETY: the tree is the parser's, in the current context.
    unsafe { target_of(list, what) }
}

/// The statement that the parser is to read: the text behind SELECT.
fn source(text: &str, what: &str) -> Result<CString> {
    let tokens = scan::scan(text, what)?;
    let Some(first) = tokens.first() else {
        return Err(syntax(format!("{what} is empty")).hint(ONE_EXPRESSION));
    };
    if tokens.iter().any(|token| token.is(';')) {
        return Err(syntax(format!("{what} contains a semicolon")).hint(ONE_EXPRESSION));
    }
    if first.is_keyword(text, "all") {
        return Err(not_one(what));
    }
    raw::c_string(&format!("{SELECT}{text}"), what)
}

fn syntax(message: String) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, message)
}

fn not_one(what: &str) -> Error {
    syntax(format!("{what} is not exactly one expression")).hint(ONE_EXPRESSION)
}

/// The one target of the one SELECT that has nothing else.
///
/// # Safety
/// The list is the parser's.
unsafe fn target_of(list: *const pg_sys::List, what: &str) -> Result<*mut pg_sys::Node> {
    // SAFETY: the caller's promise.
    unsafe {
        let select = raw::only(list)
            .and_then(|node| raw::cast::<pg_sys::RawStmt, _>(node))
            .and_then(|raw| raw::cast::<pg_sys::SelectStmt, _>(raw.stmt))
            .ok_or_else(|| not_one(what))?;
        let bare = select.distinctClause.is_null()
            && select.intoClause.is_null()
            && select.fromClause.is_null()
            && select.whereClause.is_null()
            && select.groupClause.is_null()
            && select.havingClause.is_null()
            && select.windowClause.is_null()
            && select.valuesLists.is_null()
            && select.sortClause.is_null()
            && select.limitOffset.is_null()
            && select.limitCount.is_null()
            && select.lockingClause.is_null()
            && select.withClause.is_null()
            && select.op == pg_sys::SetOperation::SETOP_NONE;
        let target = raw::only(select.targetList)
            .and_then(|node| raw::cast::<pg_sys::ResTarget, _>(node))
            .filter(|target| bare && target.indirection.is_null() && !target.val.is_null())
            .ok_or_else(|| not_one(what))?;
        if let Some(alias) = raw::name(target.name) {
            return Err(syntax(format!("{what} has an alias, {}", plain(&alias)))
                .hint("Leave the alias out: the column's name is the mapping's key."));
        }
        if is_star(target.val) {
            return Err(Error::unsupported(format!("{what} cannot contain *")).hint(ONE_EXPRESSION));
        }
        Ok(target.val)
    }
}

/// Whether a target is `*`, `t.*` or `(…).*`.
///
/// # Safety
/// The node is the parser's.
unsafe fn is_star(node: *const pg_sys::Node) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let parts = raw::cast::<pg_sys::ColumnRef, _>(node)
            .map(|column| column.fields)
            .or_else(|| raw::cast::<pg_sys::A_Indirection, _>(node).map(|of| of.indirection));
        parts.is_some_and(|parts| {
            raw::members(parts)
                .next_back()
                .is_some_and(|last| raw::cast::<pg_sys::A_Star, _>(last).is_some())
        })
    }
}
