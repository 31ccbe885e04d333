//! Single rows of plain tables without indexes, written and deleted with the heap access method: no SPI, no
//! plan, no privilege of the current user.

use pgrx::pg_sys;

use crate::oid::RelationId;
use crate::pg::tid::{Place, pointer};

/// Appends a row, whatever the current user may do; whether there was a table that can have it. Columns that
/// others have added behind ours stay NULL. No logical decoder sees the row.
pub(crate) fn append(
    table: RelationId,
    mut values: Vec<pg_sys::Datum>,
    mut nulls: Vec<bool>,
) -> bool {
    // SAFETY: the lock is kept until the transaction ends; the relation is closed before we leave,
    // or by the abort; the tuple is freed here. The number of columns is checked.
    unsafe {
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::try_table_open(pg_sys::Oid::from(table), mode);
        if relation.is_null() {
            return false;
        }
        let columns = (*(*relation).rd_att).natts as usize;
        if columns < values.len()
            || (*(*relation).rd_rel).relkind != pg_sys::RELKIND_RELATION as std::ffi::c_char
            || (*(*relation).rd_rel).relam != pg_sys::HEAP_TABLE_AM_OID
        {
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            return false;
        }
        values.resize(columns, pg_sys::Datum::from(0));
        nulls.resize(columns, true);
        let tuple =
            pg_sys::heap_form_tuple((*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
        let command = pg_sys::GetCurrentCommandId(true);
        let flags = pg_sys::HEAP_INSERT_NO_LOGICAL as i32;
        pg_sys::heap_insert(relation, tuple, command, flags, std::ptr::null_mut());
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    true
}

/// Deletes rows that nobody else deletes or changes.
pub(crate) fn delete(table: RelationId, places: &[Place]) {
    // SAFETY: the lock is kept until the transaction ends; the relation is closed before we leave, or
    // by the abort.
    unsafe {
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        for place in places {
            pg_sys::simple_heap_delete(relation, &mut pointer(*place));
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::CommandCounterIncrement();
    }
}
