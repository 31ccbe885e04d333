//! Values.

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    // utils/datum.h is not among pgrx's headers; the symbol is exported by every server.
    fn datum_image_eq(
        value1: pg_sys::Datum,
        value2: pg_sys::Datum,
        by_value: bool,
        length: std::ffi::c_int,
    ) -> bool;
}

/// How the values of a type are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// As `typlen`.
    pub length: i16,
    /// As `typbyval`.
    pub by_value: bool,
}

/// Whether two values of one type are the same, bit by bit.
pub(crate) fn is_same(a: pg_sys::Datum, b: pg_sys::Datum, layout: Layout) -> bool {
    // SAFETY: both values have the type whose layout it is.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            datum_image_eq(a, b, layout.by_value, layout.length.into())
        })
    }
}
