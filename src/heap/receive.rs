//! The rows of a query as the executor has them, one at a time: nothing of them is kept or copied.
//!
//! Source: `dest.h`.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::heap::row::Column;
use crate::heap::row::Row;
use crate::heap::row::attributes;
use crate::pg::executor;
use crate::pg::snapshot::Snapshot;

/// Gives each row of a query, as `snapshot` sees it, to `row`, of which the first `count` columns count.
///
/// An error that PostgreSQL raises in the middle unwinds through here: what `row` has changed until
/// then stays changed.
pub(crate) fn each(
    sql: &str,
    count: usize,
    snapshot: &Snapshot,
    mut row: impl FnMut(&Row<'_>),
) -> Result<()> {
    // SAFETY: the receiver and what it points to outlive the statement; its memory is deleted here,
    // or with the memory context that it hangs on. The snapshot is pushed and popped in pairs, or
    // popped by the abort.
    unsafe {
        let memory = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"received row".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let mut receiver = Receiver {
            base: pg_sys::DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(begin),
                rShutdown: Some(end),
                rDestroy: Some(end),
                mydest: pg_sys::CommandDest::DestNone,
            },
            memory,
            count,
            columns: Vec::new(),
            row: &mut row,
        };
        let is_query = executor::query(sql, snapshot, (&raw mut receiver).cast())?;
        pg_sys::MemoryContextDelete(memory);
        if !is_query {
            return Err(Error::internal(format!("rules rewrite a query of ours: {sql}")));
        }
    }
    Ok(())
}

/// Where the executor sends its rows. The first field is what the executor knows of it.
#[repr(C)]
struct Receiver<'a> {
    base: pg_sys::DestReceiver,
    /// What is fetched for a row.
    memory: pg_sys::MemoryContext,
    /// So many of the columns count.
    count: usize,
    columns: Vec<Column>,
    row: &'a mut dyn FnMut(&Row<'_>),
}

#[pg_guard]
unsafe extern "C-unwind" fn begin(
    receiver: *mut pg_sys::DestReceiver,
    _operation: std::ffi::c_int,
    descriptor: pg_sys::TupleDesc,
) {
    // SAFETY: the executor gives back the receiver that it was started with, and its rows' columns.
    unsafe {
        let receiver = &mut *receiver.cast::<Receiver<'_>>();
        let columns = attributes(descriptor).iter().enumerate().take(receiver.count);
        receiver.columns = columns.map(|(number, a)| Column::new(number, a)).collect();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    // SAFETY: as in `begin`. The values are taken out of the slot before they are read; nothing of the
    // row's memory is used after the call.
    unsafe {
        let receiver = &mut *receiver.cast::<Receiver<'_>>();
        let outer = pg_sys::MemoryContextSwitchTo(receiver.memory);
        (receiver.row)(&Row::new(slot, &receiver.columns));
        pg_sys::MemoryContextSwitchTo(outer);
        if !(*receiver.memory).isReset {
            pg_sys::MemoryContextReset(receiver.memory);
        }
    }
    true
}

#[pg_guard]
unsafe extern "C-unwind" fn end(_receiver: *mut pg_sys::DestReceiver) {}
