//! Positions in the WAL.

use pgrx::pg_sys;

/// Where the next record will be inserted.
pub(crate) fn insert_position() -> i64 {
    // SAFETY: reads shared memory under its own lock.
    unsafe { pg_sys::GetXLogInsertRecPtr() as i64 }
}
