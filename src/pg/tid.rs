//! Tuple identifiers.

use crate::oid::BlockNumber;
use pgrx::pg_sys;

/// The physical place of a row: block and line pointer.
pub(crate) type Place = (BlockNumber, u16);

/// The place that a `ctid` holds.
pub(crate) fn place(ctid: pg_sys::Datum) -> Place {
    // SAFETY: the caller's column is a tid, which is passed by reference.
    unsafe { place_of(&*ctid.cast_mut_ptr::<pg_sys::ItemPointerData>()) }
}

/// What a pointer points to.
pub(crate) fn place_of(pointer: &pg_sys::ItemPointerData) -> Place {
    let block = (u32::from(pointer.ip_blkid.bi_hi) << 16) | u32::from(pointer.ip_blkid.bi_lo);
    (block, pointer.ip_posid)
}

/// The pointer to a place.
pub(crate) fn pointer((block, line): Place) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (block >> 16) as u16,
            bi_lo: (block & 0xffff) as u16,
        },
        ip_posid: line,
    }
}
