//! The prefix of our settings.

use pgrx::pg_sys;

/// Makes `SET bluegreen.typo` an error.
pub(crate) fn reserve_prefix() {
    // SAFETY: called once, when the library is loaded, after all settings are defined.
    unsafe { pg_sys::MarkGUCPrefixReserved(crate::product::SETTINGS.as_ptr()) };
}
