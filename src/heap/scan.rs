//! Reading a table's blocks in their order, without the executor; and two tables side by side.
//!
//! Sources: `tableam.h` (TID range scans), `nodeTidrangescan.c`, `htup_details.h` (the form of a tuple).

use std::ffi::CString;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use crate::error::{Error, Result};
use crate::heap::row::Column;
use crate::heap::row::Row;
use crate::heap::row::attributes;
use crate::ident::Ident;
use crate::oid::{BlockNumber, RelationId};
use crate::pg::buffer_strategy;
use crate::pg::snapshot::Snapshot;
use crate::pg::tid::{self, Place};

/// The rows of some blocks of a table, as a snapshot sees them.
///
/// Locks: ACCESS SHARE on the table, until the transaction ends.
pub(crate) struct Scan {
    relation: pg_sys::Relation,
    scan: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    columns: Vec<Column>,
    /// There is no further row: asked again, a scan would begin again.
    ended: bool,
}

/// Where two scans side by side have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// At rows that are not alike.
    Unlike,
    /// The left one has no more rows; the right one was not moved.
    LeftEnded,
    /// The left one is at a row, the right one has none for it.
    RightEnded,
}

impl Scan {
    /// Reads from `from` on, up to block `to`. Of a row the `columns` count.
    pub(crate) fn open(
        table: RelationId,
        columns: &[Ident],
        snapshot: &Snapshot,
        from: Place,
        to: BlockNumber,
    ) -> Result<Self> {
        // SAFETY: inside a transaction; what is opened is closed in `drop`, or by the abort when an
        // error unwinds. The access method's functions are those of the open relation.
        unsafe {
            let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
            let all = attributes((*relation).rd_att);
            let mut numbered = Vec::with_capacity(columns.len());
            for name in columns {
                let text = CString::new(name.as_str())
                    .map_err(|_| Error::internal("a name contains a NUL byte"))?;
                let number = pg_sys::get_attnum((*relation).rd_id, text.as_ptr());
                let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                let Some((index, attribute)) = index.and_then(|i| Some((i, all.get(i)?))) else {
                    return Err(Error::internal(format!("there is no column {name} any more")));
                };
                numbered.push(Column::new(index, attribute));
            }
            let methods = (*relation).rd_tableam;
            let (Some(begin), Some(limit)) = ((*methods).scan_begin, (*methods).scan_set_tidrange)
            else {
                return Err(Error::internal("the table cannot be read by its blocks"));
            };
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            let snapshot = snapshot.as_ptr();
            let mut low = tid::pointer((from.0, from.1.max(1)));
            let mut high = tid::pointer((to.saturating_sub(1), u16::MAX));
            let scan = pg_guard_ffi_boundary(|| {
                let none = std::ptr::null_mut();
                let scan = begin(
                    relation,
                    snapshot,
                    0,
                    none,
                    std::ptr::null_mut(),
                    buffer_strategy::SOME_BLOCKS,
                );
                limit(scan, &mut low, &mut high);
                scan
            });
            Ok(Self { relation, scan, slot, columns: numbered, ended: false })
        }
    }

    /// Goes to the next row; None when there is none.
    pub(crate) fn next_row(&mut self) -> Option<Row<'_>> {
        // SAFETY: the scan is open; the row stays in the slot until the next call.
        unsafe {
            let found = pg_guard_ffi_boundary(|| self.advance());
            found.then(|| Row::new(self.slot, &self.columns))
        }
    }

    /// The row at which it is, after one was found.
    pub(crate) fn row(&self) -> Row<'_> {
        // SAFETY: as above.
        unsafe { Row::new(self.slot, &self.columns) }
    }

    /// Goes to the next row, if there is one. The caller stands in a guarded boundary.
    #[inline]
    unsafe fn advance(&mut self) -> bool {
        // SAFETY: an open scan and a slot of its table; nothing here needs to be dropped.
        unsafe {
            let methods = (*self.relation).rd_tableam;
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let found = !self.ended
                && (*methods)
                    .scan_getnextslot_tidrange
                    .is_some_and(|next| next(self.scan, forward, self.slot));
            self.ended = !found;
            found
        }
    }

    /// In how many columns equal rows have equal bytes: the compared columns are all columns of one of
    /// the tables and the first of the other, of the same types. None where it is not so.
    pub(crate) fn common_prefix(&self, other: &Scan) -> Option<usize> {
        // SAFETY: descriptors of open relations.
        unsafe {
            let own = attributes((*self.relation).rd_att);
            let others = attributes((*other.relation).rd_att);
            let count = own.len().min(others.len());
            let in_order = |columns: &[Column]| {
                let mut numbers: Vec<_> = columns.iter().map(|column| column.number).collect();
                numbers.sort_unstable();
                numbers.into_iter().eq(0..count)
            };
            let same = own.iter().zip(others).all(|(a, b)| {
                a.atttypid == b.atttypid
                    && a.attlen == b.attlen
                    && a.attalign == b.attalign
                    && !a.attisdropped
                    && !b.attisdropped
            });
            let paired = self.columns.iter().zip(&other.columns).all(|(a, b)| a.number == b.number);
            (same && paired && in_order(&self.columns)).then_some(count)
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: reverse order of `open`.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            if let Some(end) = (*(*self.relation).rd_tableam).scan_end {
                pg_guard_ffi_boundary(|| end(self.scan));
            }
            pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        }
    }
}

/// Goes on in both, row by row, as long as they give the same. Returns where that ended, and how many
/// rows were the same.
///
/// `prefix` is what [`Scan::common_prefix`] says of them. Two rows may be called unlike although they are
/// not: what is kept elsewhere is not looked at.
pub(crate) fn side_by_side(left: &mut Scan, right: &mut Scan, prefix: Option<usize>) -> (Met, u64) {
    let mut count = 0;
    // SAFETY: both scans are open. No frame below owns anything, so that an error may jump over them, and
    // none of them calls what has a boundary of its own, from which an error would come as a panic.
    let met = unsafe {
        pg_guard_ffi_boundary(|| {
            loop {
                if !left.advance() {
                    break Met::LeftEnded;
                }
                if !right.advance() {
                    break Met::RightEnded;
                }
                let same = prefix.is_some_and(|count| same_bytes(left.slot, right.slot, count))
                    || same_values(left, right);
                if !same {
                    break Met::Unlike;
                }
                count += 1;
            }
        })
    };
    (met, count)
}

/// Whether the compared columns have the same values. False where that would need fetching.
#[inline]
unsafe fn same_values(left: &Scan, right: &Scan) -> bool {
    // SAFETY: both are at a row.
    unsafe {
        let rows = (
            Row::within_boundary(left.slot, &left.columns),
            Row::within_boundary(right.slot, &right.columns),
        );
        matches!(rows, (Some(left), Some(right)) if left.surely_equals(&right))
    }
}

/// Whether two tuples have the same bytes in their first `count` columns, which are all columns of one
/// of the tables. False where that would need a look at the values.
#[inline]
unsafe fn same_bytes(
    left: *mut pg_sys::TupleTableSlot,
    right: *mut pg_sys::TupleTableSlot,
    count: usize,
) -> bool {
    // SAFETY: slots that hold tuples of pinned buffers, as their kind says.
    unsafe {
        let heap = &raw const pg_sys::TTSOpsBufferHeapTuple;
        if (*left).tts_ops != heap || (*right).tts_ops != heap {
            return false;
        }
        let tuple = |slot: *mut pg_sys::TupleTableSlot| {
            let tuple = (*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple;
            let (data, length) = ((*tuple).t_data, (*tuple).t_len as usize);
            prefetch_below(data.cast(), length);
            (data, length)
        };
        let (short, long) = {
            let (left, right) = (tuple(left), tuple(right));
            if columns(left.0) <= columns(right.0) { (left, right) } else { (right, left) }
        };
        let elsewhere = ((*short.0).t_infomask | (*long.0).t_infomask) as u32;
        if columns(short.0) != count || elsewhere & pg_sys::HEAP_HASEXTERNAL != 0 {
            return false;
        }
        let longer = columns(long.0) > count;
        let (short_data, long_data) = (data(short), data(long));
        let alike = if longer {
            long_data.get(..short_data.len()) == Some(short_data)
        } else {
            long_data == short_data
        };
        alike && same_nulls(short.0, long.0, count)
    }
}

/// Has the memory brought that lies some rows below: the rows of a page lie from its end downwards.
#[inline]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused))]
fn prefetch_below(row: *const i8, length: usize) {
    const ROWS: usize = 2;
    #[cfg(target_arch = "x86_64")]
    for line in 0..=(length / 64).min(8) {
        let address = row.wrapping_sub(length * ROWS + line * 64);
        // SAFETY: a hint, which reads nothing.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address) };
    }
}

unsafe fn columns(tuple: pg_sys::HeapTupleHeader) -> usize {
    // SAFETY: a tuple's header.
    unsafe { (u32::from((*tuple).t_infomask2) & pg_sys::HEAP_NATTS_MASK) as usize }
}

/// The bytes of a tuple's values.
unsafe fn data<'t>((tuple, length): (pg_sys::HeapTupleHeader, usize)) -> &'t [u8] {
    // SAFETY: the header says where they begin.
    unsafe {
        let offset = usize::from((*tuple).t_hoff);
        std::slice::from_raw_parts(tuple.cast::<u8>().add(offset), length.saturating_sub(offset))
    }
}

/// Whether the same of the first `count` columns are NULL.
unsafe fn same_nulls(
    left: pg_sys::HeapTupleHeader,
    right: pg_sys::HeapTupleHeader,
    count: usize,
) -> bool {
    // SAFETY: the bitmap has a bit for each column of the tuple, if there is one: set where a value is.
    unsafe {
        let has = |tuple: pg_sys::HeapTupleHeader| {
            u32::from((*tuple).t_infomask) & pg_sys::HEAP_HASNULL != 0
        };
        let (left_has, right_has) = (has(left), has(right));
        if !left_has && !right_has {
            return true;
        }
        let bits = |tuple: pg_sys::HeapTupleHeader, has: bool, byte: usize| {
            if has { *(&raw const (*tuple).t_bits).cast::<u8>().add(byte) } else { 0xff }
        };
        (0..count.div_ceil(8)).all(|byte| {
            let used = (count - byte * 8).min(8);
            let mask = (0xff_u16 >> (8 - used)) as u8;
            (bits(left, left_has, byte) ^ bits(right, right_has, byte)) & mask == 0
        })
    }
}
