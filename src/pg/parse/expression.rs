//! Mappings: one expression over the columns of one row, resolved and written down again.
//!
//! Names are resolved under the caller's search_path and rights. Nothing is evaluated but input
//! functions of literals, as in any statement that the server analyses.

use super::analysis::{Open, Search, transform};
use super::columns;
use super::deparse;
use super::exact::{self, Way};

use super::{arena, raw};
use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::oid::OperatorId;
use pgrx::{PgSqlErrorCode, pg_sys};
use serde::{Deserialize, Serialize};

/// An expression over the columns of one relation, as the server writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expression {
    /// The server's deparse under the search_path of [`Search`], with the relation's real column names,
    /// bare. It is read as the same tree under that search_path, as a
    /// target of a SELECT from this relation alone; in parentheses it can stand anywhere else.
    /// A backslash in its strings is itself: run it with `standard_conforming_strings = on`.
    pub sql: String,
    /// The attnums that it reads, ascending.
    pub columns: Vec<i16>,
    /// The type of its values: the target's where there is one.
    pub type_oid: pg_sys::Oid,
    /// Their typmod, -1 where there is none.
    pub typmod: i32,
    /// The worst of the functions it calls. Defaults of their arguments are not looked at.
    pub volatility: Volatility,
    /// The column, if it is just that, at most seen as another type with the same bits.
    pub is_column: Option<i16>,
    /// Operators that the text does not name: those of IS DISTINCT FROM and the like.
    pub unnamed: Vec<OperatorId>,
    /// Its tree, as it is written down.
    pub tree: String,
    /// Whether it can make one value of two of its column.
    pub way: Way,
}

/// How much the value may change between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Volatility {
    /// Always the same for the same row.
    Immutable,
    /// The same within one statement; depends on settings or other tables.
    Stable,
    /// May differ each time.
    Volatile,
}

/// The column that an expression is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// Its name, for messages.
    pub column: &'a str,
    /// Its type.
    pub type_oid: pg_sys::Oid,
    /// Its typmod.
    pub typmod: i32,
}

impl Target<'_> {
    fn what(&self) -> String {
        format!("mapping for column {}", Ident::new(self.column))
    }
}

/// Reads one expression over the columns of `relation`; an untyped literal becomes text.
///
/// `names` gives columns (attnum, name) the names that the text uses for them; others keep theirs,
/// and an empty name hides a column. The relation is locked ACCESS SHARE to the transaction's end.
///
/// # Errors
/// 42601 where the text is not exactly one expression, 0A000 for subqueries, aggregates, window
/// and set-returning functions, whole rows and system columns. Other errors of the server, such as
/// 42703 for an unknown column, unwind as they are.
#[cfg(any(test, feature = "pg_test"))]
pub(crate) fn parse_mapping(
    text: &str,
    relation: pg_sys::Oid,
    names: Option<&[(i16, String)]>,
) -> Result<Expression> {
    arena::with(|| {
        let open = Open::new(relation);
        // SAFETY: the relation is open, and the tree stays in the arena.
        unsafe {
            let (pstate, expr) = transform(text, "mapping", &open, names)?;
            let expr = if pg_sys::exprType(expr) == pg_sys::UNKNOWNOID {
                coerce(pstate, expr, pg_sys::TEXTOID, -1)
            } else {
                expr
            };
            let typmod = pg_sys::exprTypmod(expr);
            finish(&open, pstate, expr, typmod, "mapping", Search::Then(&[]))
        }
    })
}

/// As [`parse_mapping`], with the value cast to the target's type by its assignment cast, as INSERT
/// casts it: a value that is too long is an error and not cut.
///
/// # Errors
/// Also 42804 where there is no such cast.
pub(crate) fn parse_mapping_as(
    text: &str,
    relation: pg_sys::Oid,
    names: Option<&[(i16, String)]>,
    target: &Target<'_>,
    search: Search<'_>,
) -> Result<Expression> {
    arena::with(|| {
        let what = target.what();
        let open = Open::new(relation);
        // SAFETY: the relation is open, and the tree stays in the arena.
        unsafe {
            let (pstate, expr) = transform(text, &what, &open, names)?;
            let assigned = assign(pstate, expr, target, &what)?.ok_or_else(|| {
                Error::new(
                    PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                    format!(
                        "{what} is of type {}, column is of type {}",
                        type_name(pg_sys::exprType(expr), -1),
                        type_name(target.type_oid, target.typmod)
                    ),
                )
                .hint("Rewrite the mapping or cast it.")
            })?;
            finish(&open, pstate, assigned, target.typmod, &what, search)
        }
    })
}

/// The expression that takes a column of `relation` over into the target by the assignment cast;
/// None where no such cast exists. Locks as [`parse_mapping`].
///
/// # Errors
/// XX000 where the relation has no such column.
pub(crate) fn cast_expression(
    relation: pg_sys::Oid,
    column: i16,
    target: &Target<'_>,
    search: Search<'_>,
) -> Result<Option<Expression>> {
    arena::with(|| {
        let what = target.what();
        let open = Open::new(relation);
        // SAFETY: the relation is open, and the tree stays in the arena.
        unsafe {
            let var = open.variable(column)?;
            let (pstate, _) = open.parse_state();
            match assign(pstate, var.cast(), target, &what)? {
                Some(expr) => finish(&open, pstate, expr, target.typmod, &what, search).map(Some),
                None => Ok(None),
            }
        }
    })
}

/// The tree of an expression that was written down, as it is read now. Locks as [`parse_mapping`].
pub(crate) fn tree_of(text: &str, relation: pg_sys::Oid, what: &str) -> Result<String> {
    arena::with(|| {
        let open = Open::new(relation);
        // SAFETY: the relation is open, and the tree stays in the arena.
        unsafe {
            let (pstate, expr) = transform(text, what, &open, None)?;
            pg_sys::assign_expr_collations(pstate, expr);
            Ok(deparse::tree(&open, expr)?.to_string())
        }
    })
}

/// Casts as INSERT does. Casts are left visible to the deparse.
///
/// # Safety
/// The expression belongs to the parse state.
unsafe fn coerce(
    pstate: *mut pg_sys::ParseState,
    expr: *mut pg_sys::Node,
    type_oid: pg_sys::Oid,
    typmod: i32,
) -> *mut pg_sys::Node {
    // SAFETY: the caller's promise.
    unsafe {
        pg_sys::coerce_to_target_type(
            pstate,
            expr,
            pg_sys::exprType(expr),
            type_oid,
            typmod,
            pg_sys::CoercionContext::COERCION_ASSIGNMENT,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CAST,
            -1,
        )
    }
}

/// Casts to the target; None where there is no assignment cast.
///
/// # Safety
/// As [`coerce`].
unsafe fn assign(
    pstate: *mut pg_sys::ParseState,
    expr: *mut pg_sys::Node,
    target: &Target<'_>,
    what: &str,
) -> Result<Option<*mut pg_sys::Node>> {
    // SAFETY: the caller's promise.
    unsafe {
        let assigned = coerce(pstate, expr, target.type_oid, target.typmod);
        if assigned.is_null() {
            return Ok(None);
        }
        deparse::keep_assignment(assigned, expr, what)?;
        Ok(Some(assigned))
    }
}

/// Writes the expression down.
///
/// # Safety
/// The expression belongs to the parse state, whose entry 1 is the relation.
// Parameters: the server's state of an analysis and what is asked of it.
unsafe fn finish(
    open: &Open,
    pstate: *mut pg_sys::ParseState,
    expr: *mut pg_sys::Node,
    typmod: i32,
    what: &str,
    search: Search<'_>,
) -> Result<Expression> {
    // SAFETY: the caller's promise.
    unsafe {
        pg_sys::assign_expr_collations(pstate, expr);
        let volatility = if pg_sys::contain_volatile_functions(expr) {
            Volatility::Volatile
        } else if pg_sys::contain_mutable_functions(expr) {
            Volatility::Stable
        } else {
            Volatility::Immutable
        };
        let tree = deparse::tree(open, expr)?;
        Ok(Expression {
            sql: deparse::sql(open, expr, what, search)?,
            unnamed: tree.unnamed(),
            tree: tree.to_string(),
            columns: columns::columns(expr, what)?,
            type_oid: pg_sys::exprType(expr),
            typmod,
            volatility,
            is_column: deparse::is_column(expr),
            way: exact::way(expr),
        })
    }
}

/// A type's name for messages.
fn type_name(type_oid: pg_sys::Oid, typmod: i32) -> String {
    // SAFETY: the server returns a terminated string, or raises.
    unsafe { raw::name(pg_sys::format_type_with_typemod(type_oid, typmod)) }.unwrap_or_default()
}
