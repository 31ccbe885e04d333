//! Rings of buffers: a table that is larger than the cache is read and written without pushing out what
//! others read.
//!
//! The server's executor gives a ring to a sequential scan, but none to a scan of some blocks; and a bulk
//! insert begins a new one with each statement, so that short batches never come round.
//!
//! Sources: `storage/buffer/README` (rings), `heapam.c` (`initscan`: from which size on),
//! `nodeTidrangescan.c` (when a scan is begun), `hio.h` (the first field of a bulk insert's state).

use std::cell::Cell;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

/// How some blocks of a table are scanned, with a ring where the table is large.
pub(crate) const SOME_BLOCKS: u32 = pg_sys::ScanOptions::SO_TYPE_TIDRANGESCAN
    | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE
    | pg_sys::ScanOptions::SO_ALLOW_STRAT;

thread_local! {
    /// The ring that this process writes through, for all its batches.
    static WRITING: Cell<pg_sys::BufferAccessStrategy> = const { Cell::new(std::ptr::null_mut()) };
}

/// Begins the scan of blocks that a plan has, if any, with a ring; otherwise the executor begins it, with
/// none, when it wants its first row.
///
/// # Safety
///
/// The query is started and has given no row.
pub(crate) unsafe fn for_reading(query: *mut pg_sys::QueryDesc) {
    // SAFETY: the states of a started plan, which end the scan with the plan, as one of their own.
    unsafe {
        let mut states = vec![(*query).planstate];
        while let Some(state) = states.pop() {
            if state.is_null() {
                continue;
            }
            if (*state).type_ == pg_sys::NodeTag::T_TidRangeScanState {
                let scan: *mut pg_sys::ScanState = state.cast();
                let relation = (*scan).ss_currentRelation;
                let snapshot = (*(*query).estate).es_snapshot;
                if let Some(begin) = (*(*relation).rd_tableam).scan_begin {
                    let none = std::ptr::null_mut();
                    (*scan).ss_currentScanDesc = pg_guard_ffi_boundary(|| {
                        begin(relation, snapshot, 0, none, std::ptr::null_mut(), SOME_BLOCKS)
                    });
                }
                return;
            }
            states.extend([(*state).righttree, (*state).lefttree]);
        }
    }
}

/// A bulk insert that goes on with this process's ring.
///
/// # Safety
///
/// Inside a transaction; ended with [`written`], or by the abort.
pub(crate) unsafe fn for_writing() -> pg_sys::BulkInsertState {
    // SAFETY: a ring only has the numbers of buffers, and holds none of them. Its memory lives as long as
    // the process. The strategy is the state's first field in all versions.
    unsafe {
        if WRITING.get().is_null() {
            let outer = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let kind = pg_sys::BufferAccessStrategyType::BAS_BULKWRITE;
            WRITING.set(pg_sys::GetAccessStrategy(kind));
            pg_sys::MemoryContextSwitchTo(outer);
        }
        let bulk = pg_sys::GetBulkInsertState();
        let strategy: *mut pg_sys::BufferAccessStrategy = bulk.cast();
        pg_sys::FreeAccessStrategy(*strategy);
        *strategy = WRITING.get();
        bulk
    }
}

/// Ends a bulk insert; the ring stays.
///
/// # Safety
///
/// `bulk` is of [`for_writing`].
pub(crate) unsafe fn written(bulk: pg_sys::BulkInsertState) {
    // SAFETY: the pin goes, then the state, which is one piece of memory.
    unsafe {
        pg_sys::ReleaseBulkInsertStatePin(bulk);
        pg_sys::pfree(bulk.cast());
    }
}
