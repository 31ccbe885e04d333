//! The server's raw parser, its errors with their place, and reading of its trees.

use crate::error::{Error, Result};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::AssertUnwindSafe;
use std::ptr;

/// Where a text that the server reads stands in what the user wrote. All lengths in characters.
pub(super) struct Place<'a> {
    /// What messages call the user's text.
    pub(super) what: &'a str,
    /// What we put before it.
    pub(super) prefix: usize,
    /// What the user wrote before it.
    pub(super) offset: usize,
    /// Where the user's comma behind it is, and how long the text before the comma.
    pub(super) comma: Option<Comma>,
}

/// The comma that ends a piece.
#[derive(Clone, Copy)]
pub(super) struct Comma {
    /// The piece's length.
    pub(super) piece: usize,
    /// The comma's position in the user's text, from 1.
    pub(super) position: usize,
}

impl<'a> Place<'a> {
    /// A text that the server reads as the user wrote it.
    pub(super) fn whole(what: &'a str) -> Self {
        Self { what, prefix: 0, offset: 0, comma: None }
    }

    /// The server's error, told in terms of the user's text. `position` is the server's, from 1.
    fn error(&self, code: PgSqlErrorCode, message: &str, position: usize) -> Error {
        let position = position.saturating_sub(self.prefix).max(1);
        let (message, position) = match self.comma {
            // What the server takes for the end of its input is a comma to the user.
            Some(comma)
                if position > comma.piece && code == PgSqlErrorCode::ERRCODE_SYNTAX_ERROR =>
            {
                ("syntax error at or near \",\"", comma.position)
            }
            _ => (message, position + self.offset),
        };
        Error::new(code, format!("{message} at character {position} of {}", self.what))
    }
}

/// A text as C has it.
pub(super) fn c_string(text: &str, what: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::argument(format!("{what} contains a NUL byte")).hint("Write it without that byte.")
    })
}

/// Notes the position of the error that is being raised.
unsafe extern "C-unwind" fn note_position(position: *mut c_void) {
    // SAFETY: called by the server while it raises, with the pointer that `located` gave; the
    // Cell outlives the callback's place on the stack. geterrposition is made for callbacks.
    unsafe {
        let position: *const Cell<i32> = position.cast();
        (*position).set(pg_sys::geterrposition());
    }
}

/// Our callback on the server's stack of them; gone from it when dropped.
struct Callback(*mut pg_sys::ErrorContextCallback);

impl Drop for Callback {
    fn drop(&mut self) {
        // SAFETY: the entry is alive, as `located` declares it before this guard. pgrx's guard
        // restores the stack that its caller had, so that our entry is the top one here.
        unsafe { pg_sys::error_context_stack = (*self.0).previous }
    }
}

/// Runs a scanner or parser of the server. An error that it raises with a position becomes one of
/// ours which names the position in the user's text; any other passes.
///
/// pgrx loses an error's position, so it is read while the error is raised, by a context
/// callback. Catching without a subtransaction is right here, because scanner and raw parser hold
/// nothing but memory; `run` must do nothing else.
pub(super) fn located<T>(place: &Place<'_>, run: impl FnOnce() -> T) -> Result<T> {
    let position = Cell::new(0);
    let mut entry = pg_sys::ErrorContextCallback {
        // SAFETY: reading the server's pointer in its only thread.
        previous: unsafe { pg_sys::error_context_stack },
        callback: Some(note_position),
        arg: (&raw const position).cast_mut().cast(),
    };
    let entry = &raw mut entry;
    // SAFETY: the entry stays where it is until `Callback` has taken it off the stack, and
    // `position` lives longer.
    unsafe { pg_sys::error_context_stack = entry };
    let callback = Callback(entry);
    let position = AssertUnwindSafe(&position);
    let result = PgTryBuilder::new(AssertUnwindSafe(|| Ok(run())))
        .catch_others(|error| {
            let at = usize::try_from(position.get()).unwrap_or_default();
            match &error {
                CaughtError::PostgresError(report) if at > 0 => {
                    let mut own = place.error(report.sql_error_code(), report.message(), at);
                    own.detail = report.detail().map(str::to_owned);
                    own.hint = report.hint().map(str::to_owned);
                    Err(own)
                }
                _ => error.rethrow(),
            }
        })
        .execute();
    drop(callback);
    result
}

/// The statements that the server's parser finds in `text`, in the current memory context.
pub(super) fn statements(text: &CStr, place: &Place<'_>) -> Result<*mut pg_sys::List> {
    located(place, || {
        // SAFETY: the text is terminated, and the parser copies what it keeps of it.
        unsafe { pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT) }
    })
}

/// A type of node with the tag that it carries.
///
/// # Safety
/// A node with this tag must have the layout of the type.
pub(super) unsafe trait Tagged {
    /// The tag.
    const TAG: pg_sys::NodeTag;
}

macro_rules! tagged {
    ($($node:ident: $tag:ident),* $(,)?) => {$(
        // SAFETY: the server's own correspondence of tags and structs.
        unsafe impl Tagged for pg_sys::$node {
            const TAG: pg_sys::NodeTag = pg_sys::NodeTag::$tag;
        }
    )*};
}

tagged! {
    A_Indirection: T_A_Indirection,
    A_Star: T_A_Star,
    AlterObjectDependsStmt: T_AlterObjectDependsStmt,
    AlterObjectSchemaStmt: T_AlterObjectSchemaStmt,
    AlterTableCmd: T_AlterTableCmd,
    AlterTableStmt: T_AlterTableStmt,
    ArrayCoerceExpr: T_ArrayCoerceExpr,
    CoerceToDomain: T_CoerceToDomain,
    CoerceViaIO: T_CoerceViaIO,
    CollateExpr: T_CollateExpr,
    ColumnDef: T_ColumnDef,
    ColumnRef: T_ColumnRef,
    Const: T_Const,
    Constraint: T_Constraint,
    ConvertRowtypeExpr: T_ConvertRowtypeExpr,
    DefElem: T_DefElem,
    FuncExpr: T_FuncExpr,
    RawStmt: T_RawStmt,
    RelabelType: T_RelabelType,
    RenameStmt: T_RenameStmt,
    ResTarget: T_ResTarget,
    SelectStmt: T_SelectStmt,
    String: T_String,
    Var: T_Var,
}

/// The node as a `T`, if it is one.
///
/// # Safety
/// `node` is null or a node of the server's that lives through `'a`.
pub(super) unsafe fn cast<'a, T: Tagged, N>(node: *const N) -> Option<&'a T> {
    // SAFETY: every node begins with its tag, and the tag tells the type.
    unsafe {
        let tag = node.cast::<pg_sys::Node>().as_ref()?.type_;
        if tag == T::TAG { node.cast::<T>().as_ref() } else { None }
    }
}

/// The members of a list of nodes; none where the pointer is null.
///
/// # Safety
/// `list` is null or a list of pointers that lives through `'a` and is not changed in it.
pub(super) unsafe fn members<'a>(
    list: *const pg_sys::List,
) -> impl DoubleEndedIterator<Item = *mut pg_sys::Node> + ExactSizeIterator + 'a {
    // SAFETY: a list that is not null has `length` cells, all of them pointers.
    let cells: &'a [pg_sys::ListCell] = unsafe {
        match list.as_ref() {
            Some(list) => std::slice::from_raw_parts(
                list.elements,
                usize::try_from(list.length).unwrap_or_default(),
            ),
            None => &[],
        }
    };
    // SAFETY: as above.
    cells.iter().map(|cell| unsafe { cell.ptr_value }.cast())
}

/// The only member of a list.
///
/// # Safety
/// As [`members`].
pub(super) unsafe fn only(list: *const pg_sys::List) -> Option<*mut pg_sys::Node> {
    // SAFETY: the caller's promise.
    let mut members = unsafe { members(list) };
    match (members.next(), members.next()) {
        (Some(node), None) => Some(node),
        _ => None,
    }
}

/// A name in a tree; None where it is null.
///
/// # Safety
/// `name` is null or a terminated string.
pub(super) unsafe fn name(name: *const c_char) -> Option<String> {
    if ptr::eq(name, ptr::null()) {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}
