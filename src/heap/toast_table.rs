//! A TOAST table for a table whose columns need none.
//!
//! One that had long values once has a TOAST table, with settings of its own, although the column is gone;
//! a copy of it would get its TOAST table only with its next long column, without them. The server makes
//! one where the columns that are stored can have long values, which it looks up in this process' copy of the
//! descriptor: so the first of them passes for a text while it looks.
//!
//! Source: `toasting.c` (`create_toast_table`), `heapam_handler.c` (`heapam_relation_needs_toast_table`).

use pgrx::pg_sys;

use crate::heap::row::attribute;
use crate::heap::row::attributes;
use crate::heap::row::is_virtual;
use crate::oid::RelationId;

unsafe extern "C-unwind" {
    // catalog/toasting.h is not among pgrx's headers; the symbol is exported by every server.
    fn AlterTableCreateToastTable(
        table: pg_sys::Oid,
        options: pg_sys::Datum,
        mode: pg_sys::LOCKMODE,
    );
}

/// The first column that a table stores, as it was.
struct Passing {
    column: *mut pg_sys::FormData_pg_attribute,
    before: (i16, std::ffi::c_char),
}

impl Drop for Passing {
    fn drop(&mut self) {
        // SAFETY: the descriptor is that of an open relation, or of one that was replaced meanwhile, and
        // stays until the transaction ends. It is only written in this process' memory.
        unsafe { ((*self.column).attlen, (*self.column).attstorage) = self.before };
    }
}

/// Makes one, unless there is one or the table stores no columns.
///
/// Locks: the caller holds ACCESS EXCLUSIVE on the table, which its transaction has made.
pub(crate) fn make(table: RelationId) {
    // SAFETY: the relation is open while its descriptor is changed; the server's function does not read
    // values by it.
    unsafe {
        let mode = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
        let table = pg_sys::Oid::from(table);
        let relation = pg_sys::table_open(table, mode);
        let descriptor = (*relation).rd_att;
        let stored = attributes(descriptor).iter().position(|column| !is_virtual(column));
        if let Some(number) = stored
            && (*(*relation).rd_rel).reltoastrelid.to_u32() == 0
        {
            let column = attribute(descriptor, number);
            let before = ((*column).attlen, (*column).attstorage);
            let _passing = Passing { column, before };
            (*column).attlen = -1;
            (*column).attstorage = pg_sys::TYPSTORAGE_EXTENDED as _;
            pgrx::pg_sys::ffi::pg_guard_ffi_boundary(|| {
                AlterTableCreateToastTable(table, pg_sys::Datum::from(0_usize), mode);
            });
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::CommandCounterIncrement();
    }
}
