//! How text is shown.

use std::ffi::c_char;

use pgrx::pg_sys;

/// The columns that a terminal shows a character in, as psql counts them.
pub(crate) fn columns(c: char) -> usize {
    let mut bytes = [0; 5];
    c.encode_utf8(&mut bytes);
    let encoding = pg_sys::pg_enc::PG_UTF8 as i32;
    // SAFETY: a whole character, and a zero behind it.
    let columns = unsafe { pg_sys::pg_encoding_dsplen(encoding, bytes.as_ptr().cast::<c_char>()) };
    usize::try_from(columns).unwrap_or(0)
}
