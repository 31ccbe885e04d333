//! What the server calls when something changes.

use std::sync::OnceLock;

use crate::oid::RelationId;
use pgrx::{pg_guard, pg_sys};

static ON_CHANGE: OnceLock<fn(Option<RelationId>)> = OnceLock::new();
static AT_END: OnceLock<fn()> = OnceLock::new();

/// Registers what is done when the definition of a relation changes (None: perhaps of all of them), and at
/// each end of a transaction or subtransaction's phase. Called once per backend; neither may raise an error.
pub(crate) fn init(on_change: fn(Option<RelationId>), at_end: fn()) {
    ON_CHANGE.get_or_init(|| on_change);
    AT_END.get_or_init(|| at_end);
    // SAFETY: the callbacks are plain functions that live as long as the backend.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(changed), pg_sys::Datum::from(0));
        pg_sys::RegisterXactCallback(Some(ended), std::ptr::null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    if let Some(on_change) = ON_CHANGE.get() {
        on_change((relation != pg_sys::InvalidOid).then(|| relation.into()));
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn ended(_event: pg_sys::XactEvent::Type, _arg: *mut std::ffi::c_void) {
    if let Some(at_end) = AT_END.get() {
        at_end();
    }
}
