//! Expression trees written down as SQL that means the same everywhere.

use super::analysis::{self, Open, Search};
use super::raw;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::model::tree::{Counterparts, Item, another};
use crate::pg::{security, xact};
use pgrx::pg_sys::{self, CoercionForm};
use std::ffi::CStr;
use std::ptr;

/// What the text of names and constants depends on. All but pg_catalog's names come out qualified.
const SETTINGS: [(&CStr, &CStr); 8] = [
    (c"DateStyle", c"ISO"),
    (c"IntervalStyle", c"postgres"),
    (c"extra_float_digits", c"1"),
    (c"bytea_output", c"hex"),
    (c"quote_all_identifiers", c"off"),
    (c"standard_conforming_strings", c"on"),
    (c"array_nulls", c"on"),
    (c"transform_null_equals", c"off"),
];

/// The server's deparse of an expression over the relation, read back: it has to be the same tree.
///
/// # Safety
/// The expression's only variables are those of range table entry 1, the open relation.
pub(super) unsafe fn sql(
    open: &Open,
    expr: *mut pg_sys::Node,
    what: &str,
    search: Search<'_>,
) -> Result<String> {
    let _settings = Settings::set(&SETTINGS);
    let _path = security::search(match search {
        Search::Unknown => &[],
        Search::Then(schemas) => schemas,
    })?;
    let (relation, name) = open.oid_and_name();
    // SAFETY: the relation is open, so its name and OID are good; the deparse is a terminated
    // string in the current context.
    let sql = unsafe {
        let context = pg_sys::deparse_context_for(name, relation);
        let text = pg_sys::deparse_expression(expr, context, false, false);
        CStr::from_ptr(text)
            .to_str()
            .map_err(|_| Error::internal(format!("the deparse of the {what} is not UTF-8")))?
            .to_owned()
    };
    if matches!(search, Search::Unknown) {
        return Ok(sql);
    }
    // SAFETY: as above; the second tree is written down before its memory goes.
    let again = xact::subtransaction(|| unsafe {
        let (pstate, again) = analysis::transform(&sql, what, open, None)?;
        pg_sys::assign_expr_collations(pstate, again);
        Ok(tree(open, again)?.to_string())
    });
    // SAFETY: as above.
    let before = unsafe { tree(open, expr)? }.to_string();
    let cause = match again {
        Ok(again) if again == before => return Ok(sql),
        Ok(_) => format!("It would be read from: {sql}"),
        Err(caught) if caught.class() == "42" => caught.error.message,
        Err(caught) => return caught.raise(),
    };
    Err(another(what).detail(cause).hint(
        "Name the operator in it: NOT (a OPERATOR(schema.=) b) for IS DISTINCT FROM, NULLIF, CASE a WHEN and the like; or write a function for it.",
    ))
}

/// The tree of an expression over the relation, as it is compared.
///
/// # Safety
/// As [`sql`].
pub(super) unsafe fn tree(open: &Open, expr: *mut pg_sys::Node) -> Result<Item> {
    let (relation, _) = open.oid_and_name();
    // SAFETY: the server writes any tree of its own as a terminated string.
    let written = unsafe { CStr::from_ptr(pg_sys::nodeToString(expr.cast())) }.to_string_lossy();
    Item::read(&written, relation.into(), &Counterparts::default())
}

/// The column that an expression is, if its bits are the column's.
///
/// # Safety
/// A tree of the server's.
pub(super) unsafe fn is_column(expr: *const pg_sys::Node) -> Option<i16> {
    let mut node = expr;
    // SAFETY: the caller's promise.
    unsafe {
        while let Some(relabel) = raw::cast::<pg_sys::RelabelType, _>(node) {
            node = relabel.arg.cast();
        }
        raw::cast::<pg_sys::Var, _>(node).map(|var| var.varattno)
    }
}

/// Makes the deparse of an assignment cast keep its meaning.
///
/// A cast to `varchar(3)` raises for a longer value in an assignment, but cuts it where it is
/// written as `x::varchar(3)`. The difference is an argument of the function that enforces the
/// length, so such functions are shown as calls with all of their arguments.
///
/// # Errors
/// 0A000 where that function works on the elements of an array: no call can express that.
///
/// # Safety
/// `assigned` is a tree made from `original` by an assignment cast, and nobody else reads it.
pub(super) unsafe fn keep_assignment(
    assigned: *mut pg_sys::Node,
    original: *mut pg_sys::Node,
    what: &str,
) -> Result<()> {
    // SAFETY: the caller's promise. Only the form of calls is written, which means nothing but
    // how they are shown.
    unsafe {
        // The server casts below a COLLATE and puts it back on top.
        let below = raw::cast::<pg_sys::CollateExpr, _>(original).map(|collate| collate.arg);
        let mut node = assigned;
        while node != original && Some(node.cast()) != below {
            if takes_explicitness(node) {
                (*node.cast::<pg_sys::FuncExpr>()).funcformat = CoercionForm::COERCE_EXPLICIT_CALL;
            }
            if let Some(array) = raw::cast::<pg_sys::ArrayCoerceExpr, _>(node) {
                let mut element: *mut pg_sys::Node = array.elemexpr.cast();
                while !element.is_null() {
                    if takes_explicitness(element) {
                        return Err(Error::unsupported(format!(
                            "{what} needs an assignment cast of array elements to a limited length"
                        ))
                        .hint("Write the mapping with an explicit cast."));
                    }
                    element = argument(element);
                }
            }
            node = argument(node);
            if node.is_null() {
                break;
            }
        }
    }
    Ok(())
}

/// Whether the node is a cast function that is told if the cast is explicit.
///
/// # Safety
/// A tree of the server's.
unsafe fn takes_explicitness(node: *const pg_sys::Node) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        raw::cast::<pg_sys::FuncExpr, _>(node)
            .is_some_and(|function| raw::members(function.args).len() >= 3)
    }
}

/// What a cast is a cast of; null for anything else.
///
/// # Safety
/// A tree of the server's.
unsafe fn argument(node: *const pg_sys::Node) -> *mut pg_sys::Node {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(cast) = raw::cast::<pg_sys::FuncExpr, _>(node) {
            raw::members(cast.args).next().unwrap_or(ptr::null_mut())
        } else if let Some(cast) = raw::cast::<pg_sys::RelabelType, _>(node) {
            cast.arg.cast()
        } else if let Some(cast) = raw::cast::<pg_sys::CoerceViaIO, _>(node) {
            cast.arg.cast()
        } else if let Some(cast) = raw::cast::<pg_sys::CoerceToDomain, _>(node) {
            cast.arg.cast()
        } else if let Some(cast) = raw::cast::<pg_sys::ArrayCoerceExpr, _>(node) {
            cast.arg.cast()
        } else if let Some(cast) = raw::cast::<pg_sys::ConvertRowtypeExpr, _>(node) {
            cast.arg.cast()
        } else if let Some(cast) = raw::cast::<pg_sys::CollateExpr, _>(node) {
            cast.arg.cast()
        } else {
            ptr::null_mut()
        }
    }
}
