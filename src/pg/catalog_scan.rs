//! Reading a small table whole under the catalog snapshot, which sees what is committed now and our own
//! commands; no SPI, no plan, no privilege of the current user.

use std::ffi::CStr;

use crate::oid::RelationId;
use pgrx::{FromDatum, pg_sys};

/// A row of the table.
pub(crate) struct Row {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
}

impl Row {
    fn datum(&self, attribute: i16) -> Option<pg_sys::Datum> {
        let mut null = false;
        // SAFETY: tuple and descriptor are of one relation.
        let datum = unsafe {
            pg_sys::heap_getattr(self.tuple, attribute.into(), self.descriptor, &mut null)
        };
        (!null).then_some(datum)
    }

    /// A column, which has the type.
    pub(crate) fn get<T: FromDatum>(&self, attribute: i16) -> Option<T> {
        // SAFETY: the caller names the column's type.
        self.datum(attribute).and_then(|datum| unsafe { T::from_datum(datum, false) })
    }

    /// A column of type `name`.
    pub(crate) fn name(&self, attribute: i16) -> Option<String> {
        let datum = self.datum(attribute)?;
        // SAFETY: the name is at the pointer for as long as its tuple is the scan's.
        let name = unsafe {
            let data = &(*datum.cast_mut_ptr::<pg_sys::NameData>()).data;
            CStr::from_ptr(data.as_ptr())
        };
        Some(name.to_string_lossy().into_owned())
    }
}

/// Calls `each` for every row of a table.
pub(crate) fn each(table: RelationId, mut each: impl FnMut(&Row)) {
    // SAFETY: everything that is opened is closed before we leave, or by the abort; a row is used only while
    // the scan stands on it.
    unsafe {
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            each(&Row { tuple, descriptor: (*relation).rd_att });
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, mode);
    }
}
