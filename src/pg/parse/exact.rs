//! Whether an expression can make one value of two: told by the tree that the server made of it.

use super::raw;
use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

/// How a column's value becomes the expression's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// The same bits.
    Same,
    /// The same integer in another width; one that does not fit raises.
    Integer,
    /// The same text, but for blanks at its end behind so many characters, which are cut off.
    Cut(i32),
    /// Whatever it is computed to.
    Computed,
}

/// Casts between integers of the server: each gives the same number, or raises.
const INTEGERS: [u32; 6] = [
    pg_sys::F_INT4_INT2,
    pg_sys::F_INT2_INT4,
    pg_sys::F_INT8_INT4,
    pg_sys::F_INT4_INT8,
    pg_sys::F_INT8_INT2,
    pg_sys::F_INT2_INT8,
];

/// How the expression's only column becomes its value.
///
/// # Safety
/// A tree of the server's.
pub(super) unsafe fn way(node: *const pg_sys::Node) -> Way {
    // SAFETY: the caller's promise; arguments of a node are trees too.
    unsafe {
        if raw::cast::<pg_sys::Var, _>(node).is_some() {
            return Way::Same;
        }
        if let Some(arg) = unchanged(node) {
            return way(arg);
        }
        let Some(call) = raw::cast::<pg_sys::FuncExpr, _>(node) else { return Way::Computed };
        let mut args = raw::members(call.args);
        let Some(arg) = args.next() else { return Way::Computed };
        let function = call.funcid.to_u32();
        if INTEGERS.contains(&function) {
            return match way(arg) {
                Way::Same | Way::Integer => Way::Integer,
                Way::Cut(_) | Way::Computed => Way::Computed,
            };
        }
        if function != pg_sys::F_VARCHAR_VARCHAR_INT4_BOOL || way(arg) != Way::Same {
            return Way::Computed;
        }
        let (typmod, explicit) = (constant(args.next()), constant(args.next()));
        let (Some(typmod), Some(explicit)) = (typmod, explicit) else { return Way::Computed };
        let most = typmod.value() as i32 - pg_sys::VARHDRSZ as i32;
        if limit(arg).is_some_and(|limit| limit <= most) {
            Way::Same
        } else if explicit.value() != 0 {
            Way::Computed
        } else {
            Way::Cut(most)
        }
    }
}

/// What a node is the same bits of.
///
/// # Safety
/// As [`way`].
unsafe fn unchanged(node: *const pg_sys::Node) -> Option<*mut pg_sys::Node> {
    // SAFETY: the caller's promise.
    unsafe {
        raw::cast::<pg_sys::RelabelType, _>(node)
            .map(|n| n.arg)
            .or_else(|| raw::cast::<pg_sys::CollateExpr, _>(node).map(|n| n.arg))
            .or_else(|| raw::cast::<pg_sys::CoerceToDomain, _>(node).map(|n| n.arg))
            .map(|arg| arg.cast())
    }
}

/// A constant that is not NULL.
///
/// # Safety
/// As [`way`].
unsafe fn constant(node: Option<*mut pg_sys::Node>) -> Option<pg_sys::Datum> {
    // SAFETY: the caller's promise.
    let constant = unsafe { raw::cast::<pg_sys::Const, _>(node?)? };
    (!constant.constisnull).then_some(constant.constvalue)
}

/// The characters that a column of a limited length has at most.
///
/// # Safety
/// As [`way`].
unsafe fn limit(node: *const pg_sys::Node) -> Option<i32> {
    // SAFETY: the caller's promise; a catalog cache look-up.
    unsafe {
        if let Some(arg) = unchanged(node) {
            return limit(arg);
        }
        let column = raw::cast::<pg_sys::Var, _>(node)?;
        let mut typmod = column.vartypmod;
        let base = pg_sys::getBaseTypeAndTypmod(column.vartype, &mut typmod);
        let length = typmod - pg_sys::VARHDRSZ as i32;
        (base == pg_sys::VARCHAROID && length > 0).then_some(length)
    }
}
