//! Where an error came from.
//!
//! Of an error that was raised in a statement of ours, pgrx gives its message, but not its CONTEXT: the
//! functions that were running, which tell whether it was an event trigger that refused. So a callback of
//! our own stands on the server's stack of them; the inner ones have written their lines when it is its
//! turn.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};

use pgrx::{pg_guard, pg_sys};

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// The last error that was raised while a witness stood.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its message.
    pub message: String,
    /// The functions and statements in which it was raised, the innermost first.
    pub context: String,
}

/// Sees the errors that are raised while it lives.
pub(crate) struct Witness(Box<pg_sys::ErrorContextCallback>);

impl Witness {
    /// Begins, and forgets what was seen before.
    pub(crate) fn stand() -> Self {
        SEEN.with(|seen| seen.borrow_mut().take());
        // SAFETY: the callback lies in a box of its own, which stays where it is until `drop` has taken it
        // off the stack; an error's unwinding runs `drop`, too.
        unsafe {
            let mut callback = Box::new(pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(see),
                arg: std::ptr::null_mut(),
            });
            pg_sys::error_context_stack = &raw mut *callback;
            Self(callback)
        }
    }

    /// The last error that was seen.
    pub(crate) fn seen(&self) -> Option<Seen> {
        SEEN.with(|seen| seen.borrow().clone())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // SAFETY: what stood above it is gone: callbacks are put up and taken off in pairs, and an error
        // that is caught puts the stack back to where the one who catches stands.
        unsafe { pg_sys::error_context_stack = self.0.previous };
    }
}

/// The part of an SQLSTATE that is its class (`elog.h`: six bits a letter).
const CLASS: u32 = (1 << 12) - 1;
const NO_ERROR: u32 = 0;
const WARNING: u32 = 1 << 6;
const NO_DATA: u32 = 2 << 6;

#[pg_guard]
unsafe extern "C-unwind" fn see(_arg: *mut c_void) {
    // SAFETY: the server calls this while it completes an error, in its memory for errors, into which an
    // error must not be copied; the copy is freed here.
    unsafe {
        // Lines for the log come here too, and warnings.
        if matches!(pg_sys::geterrcode() as u32 & CLASS, NO_ERROR | WARNING | NO_DATA) {
            return;
        }
        let outer = pg_sys::CurrentMemoryContext;
        pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let error = pg_sys::CopyErrorData();
        pg_sys::MemoryContextSwitchTo(outer);
        if (*error).elevel >= pgrx::PgLogLevel::ERROR as i32 {
            let seen = Seen { message: text((*error).message), context: text((*error).context) };
            SEEN.with(|last| last.replace(Some(seen)));
        }
        pg_sys::FreeErrorData(error);
    }
}

unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a NUL-terminated string of the server's.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
