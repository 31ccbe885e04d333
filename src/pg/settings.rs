//! The prefix of our settings.

use pgrx::pg_sys;

/// Makes `SET bluegreen.typo` an error.
pub fn reserve_prefix() {
    // SAFETY: called once, when the library is loaded, after all settings are defined.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"bluegreen".as_ptr()) };
}
