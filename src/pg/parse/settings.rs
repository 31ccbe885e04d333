//! Settings for the time of one call.

use pgrx::pg_sys;
use std::ffi::CStr;

/// A level of settings; what was set returns when it is dropped.
pub(super) struct Settings(i32);

impl Settings {
    /// Sets each (name, value) until the returned guard is dropped. Values must be constants that
    /// the server accepts from every role.
    pub(super) fn set(values: &[(&CStr, &CStr)]) -> Self {
        // SAFETY: NewGUCNestLevel only counts; its level is undone by our Drop.
        let guard = Self(unsafe { pg_sys::NewGUCNestLevel() });
        for (name, value) in values {
            // SAFETY: both strings are terminated and copied by the server; SAVE binds the value
            // to the level above. A refusal is raised as an error and unwinds through `guard`.
            unsafe {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_USERSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SAVE,
                    true,
                    0,
                    false,
                );
            }
        }
        guard
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // SAFETY: the level is ours, and levels above it are gone, as guards nest. With the values
        // of SAVE, commit and abort both restore; the call raises nothing.
        unsafe { pg_sys::AtEOXact_GUC(true, self.0) }
    }
}
