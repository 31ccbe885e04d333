//! The rows of a query as the executor has them, one at a time: nothing of them is kept or copied.
//!
//! Sources: `spi.c` (a receiver of the caller's own), `dest.h`.

use std::ffi::CString;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::log::{self, Place};
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::Connection;

/// A row, as long as the executor has it.
pub struct Row<'r> {
    slot: *mut pg_sys::TupleTableSlot,
    /// For each column: whether it is passed by value, and its length as the catalog has it.
    types: &'r [(bool, i16)],
}

impl Row<'_> {
    /// Appends the bytes of the first `count` columns, so that rows of the same columns give the same
    /// bytes only if their values are the same. Values that are kept elsewhere are fetched; a
    /// compressed one stays as it is, so that the same value may also give other bytes.
    pub fn image(&self, count: usize, bytes: &mut Vec<u8>) {
        for (column, (by_value, length)) in self.types.iter().take(count).enumerate() {
            // SAFETY: the slot holds a virtual row of as many columns as its descriptor has.
            let (datum, null) = unsafe {
                (*(*self.slot).tts_values.add(column), *(*self.slot).tts_isnull.add(column))
            };
            if null {
                bytes.push(0);
            } else if *by_value {
                bytes.push(1);
                bytes.extend_from_slice(&(datum.value() as u64).to_ne_bytes());
            } else {
                bytes.push(1);
                push_bytes(datum, *length, bytes);
            }
        }
    }

    /// The place that the column (from 0) says, which is a tid.
    pub fn place(&self, column: usize) -> Place {
        // SAFETY: as above; the caller's query has a tid there, which is never NULL.
        log::place(unsafe { *(*self.slot).tts_values.add(column) })
    }
}

/// The bytes of a value that is passed by reference, with its length where that differs.
fn push_bytes(datum: pg_sys::Datum, length: i16, bytes: &mut Vec<u8>) {
    // SAFETY: the datum is of a type of that length; what is fetched is freed with the row's memory.
    unsafe {
        if length > 0 {
            let value = std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), length as usize);
            bytes.extend_from_slice(value);
            return;
        }
        if length == -2 {
            let value = std::ffi::CStr::from_ptr(datum.cast_mut_ptr()).to_bytes_with_nul();
            bytes.extend_from_slice(value);
            return;
        }
        let mut value: *mut pg_sys::varlena = datum.cast_mut_ptr();
        if pgrx::varlena::varatt_is_1b_e(value) {
            value = pg_sys::detoast_external_attr(value);
        }
        // Compressed: its header says so, and how long it is when it is not.
        let compressed = pgrx::varlena::varatt_is_4b_c(value);
        let data = pgrx::varlena::vardata_any(value).cast::<u8>();
        let size = pgrx::varlena::varsize_any_exhdr(value);
        bytes.push(u8::from(compressed));
        bytes.extend_from_slice(&(size as u64).to_ne_bytes());
        bytes.extend_from_slice(std::slice::from_raw_parts(data, size));
    }
}

/// Gives each row of a query, as `snapshot` sees it, to `row`.
///
/// An error that PostgreSQL raises in the middle unwinds through here: what `row` has changed until
/// then stays changed.
pub fn each(sql: &str, snapshot: &Snapshot, mut row: impl FnMut(&Row<'_>)) -> Result<()> {
    let text = CString::new(sql).map_err(|_| Error::internal("a statement contains a NUL byte"))?;
    let _connection = Connection::open()?;
    // SAFETY: the receiver and what it points to outlive the statement; its memory is deleted here,
    // or with the memory context that it hangs on. The snapshot is pushed and popped in pairs, or
    // popped by the abort.
    unsafe {
        let memory = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"bluegreen row".as_ptr(),
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
            types: Vec::new(),
            row: &mut row,
        };
        let options = pg_sys::SPIExecuteOptions {
            read_only: true,
            dest: (&raw mut receiver).cast(),
            ..Default::default()
        };
        pg_sys::PushActiveSnapshot(snapshot.as_ptr());
        let code = pg_sys::SPI_execute_extended(text.as_ptr(), &options);
        pg_sys::PopActiveSnapshot();
        pg_sys::MemoryContextDelete(memory);
        if code < 0 {
            return Err(Error::internal(format!("a statement failed with SPI code {code}: {sql}")));
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
    types: Vec<(bool, i16)>,
    row: &'a mut dyn FnMut(&Row<'_>),
}

/// The columns of a descriptor.
pub(super) unsafe fn attributes<'d>(
    descriptor: pg_sys::TupleDesc,
) -> &'d [pg_sys::FormData_pg_attribute] {
    // SAFETY: the descriptor has `natts` attributes, since 18 behind as many compact ones.
    unsafe {
        let count = (*descriptor).natts as usize;
        #[cfg(not(feature = "pg18"))]
        let attributes = (*descriptor).attrs.as_slice(count);
        #[cfg(feature = "pg18")]
        let attributes = {
            let compact = (*descriptor).compact_attrs.as_ptr().add(count);
            std::slice::from_raw_parts(compact.cast::<pg_sys::FormData_pg_attribute>(), count)
        };
        attributes
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn begin(
    receiver: *mut pg_sys::DestReceiver,
    _operation: std::ffi::c_int,
    descriptor: pg_sys::TupleDesc,
) {
    // SAFETY: the executor gives back the receiver that it was started with, and its rows' columns.
    unsafe {
        let columns = attributes(descriptor);
        (*receiver.cast::<Receiver<'_>>()).types =
            columns.iter().map(|a| (a.attbyval, a.attlen)).collect();
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
        let count = receiver.types.len();
        if usize::try_from((*slot).tts_nvalid).unwrap_or(0) < count {
            pg_sys::slot_getsomeattrs_int(slot, count as i32);
        }
        let outer = pg_sys::MemoryContextSwitchTo(receiver.memory);
        (receiver.row)(&Row { slot, types: &receiver.types });
        pg_sys::MemoryContextSwitchTo(outer);
        if !(*receiver.memory).isReset {
            pg_sys::MemoryContextReset(receiver.memory);
        }
    }
    true
}

#[pg_guard]
unsafe extern "C-unwind" fn end(_receiver: *mut pg_sys::DestReceiver) {}
