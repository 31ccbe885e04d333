//! Positions in the WAL.

use pgrx::pg_sys;

/// Makes what was written up to a position durable, and has it sent to standbys. The position as text.
pub(crate) fn flush(position: u64) -> String {
    // SAFETY: the position is one that a record was inserted at.
    unsafe { pg_sys::XLogFlush(position) };
    format!("{:X}/{:X}", position >> 32, position as u32)
}

/// Where the next record will be inserted.
pub(crate) fn insert_position() -> i64 {
    // SAFETY: reads shared memory under its own lock.
    unsafe { pg_sys::GetXLogInsertRecPtr() as i64 }
}
