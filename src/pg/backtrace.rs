//! Errors without a backtrace of Rust.

use std::backtrace::Backtrace;

/// What Rust's library asks first, before RUST_BACKTRACE.
const NAME: &str = "RUST_LIB_BACKTRACE";

/// Lets no error of this library have a backtrace in its DETAIL, whatever the server's environment says. Called once,
/// when the library is loaded, before anything else of it.
pub(crate) fn leave_out() {
    let given = std::env::var_os(NAME);
    // SAFETY: a process of the server has one thread. Another library finds the environment as it was.
    unsafe { std::env::set_var(NAME, "0") };
    // The first question decides, for this library alone, which has a copy of Rust's own.
    let _first = Backtrace::capture();
    // SAFETY: as above.
    unsafe {
        match given {
            Some(given) => std::env::set_var(NAME, given),
            None => std::env::remove_var(NAME),
        }
    }
}
