//! Rows that a statement reads by name without their being in a table.
//!
//! An ephemeral named relation, as transition tables are: a tuplestore that spills to disk at
//! work_mem, registered with the statement's SPI connection. No privilege is needed to read it,
//! so keys from our logs reach statements that run as the table's owner.

use std::ffi::CString;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::oid::{CollationId, TypeId};

/// A column of the rows.
pub(crate) struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_oid: TypeId,
    /// Its collation, 0 for none.
    pub collation: CollationId,
}

/// The rows.
pub(crate) struct Work {
    name: CString,
    descriptor: pg_sys::TupleDesc,
    store: *mut pg_sys::Tuplestorestate,
    relation: Box<pg_sys::EphemeralNamedRelationData>,
    rows: u64,
}

impl Work {
    /// Empty rows with these columns.
    pub(crate) fn new(name: &str, columns: &[Column]) -> Result<Self> {
        let nul = |_| Error::internal("a name contains a NUL byte");
        // SAFETY: the descriptor has as many attributes as are filled; names are copied into it.
        let descriptor = unsafe {
            let descriptor = pg_sys::CreateTemplateTupleDesc(columns.len() as i32);
            for (i, column) in columns.iter().enumerate() {
                let attribute = (i + 1) as pg_sys::AttrNumber;
                let name = CString::new(column.name.as_str()).map_err(nul)?;
                let type_oid = pg_sys::Oid::from(column.type_oid);
                pg_sys::TupleDescInitEntry(descriptor, attribute, name.as_ptr(), type_oid, -1, 0);
                if column.collation != CollationId::INVALID {
                    let collation = pg_sys::Oid::from(column.collation);
                    pg_sys::TupleDescInitEntryCollation(descriptor, attribute, collation);
                }
            }
            descriptor
        };
        Self::with_descriptor(name, descriptor)
    }

    /// Tuples with a descriptor, under a name of their own; both are copied.
    pub(crate) fn from_tuples(
        name: &str,
        descriptor: pg_sys::TupleDesc,
        tuples: impl Iterator<Item = pg_sys::HeapTuple>,
    ) -> Result<Self> {
        // SAFETY: the copy lives in the current memory context.
        let descriptor = unsafe { pg_sys::CreateTupleDescCopy(descriptor) };
        let mut work = Self::with_descriptor(name, descriptor)?;
        tuples.for_each(|tuple| work.push_tuple(tuple));
        Ok(work)
    }

    /// The same columns under the same name, without rows.
    pub(crate) fn empty_copy(&self) -> Result<Self> {
        // SAFETY: the copy lives in the current memory context.
        let descriptor = unsafe { pg_sys::CreateTupleDescCopy(self.descriptor) };
        Self::with_descriptor(&self.name.to_string_lossy(), descriptor)
    }

    /// Two halves of the rows.
    pub(crate) fn split(&self) -> Result<(Self, Self)> {
        let (mut left, mut right) = (self.empty_copy()?, self.empty_copy()?);
        self.each(|slot| {
            let half = if left.rows * 2 < self.rows { &mut left } else { &mut right };
            // SAFETY: the slot holds a row of the same columns; it is copied.
            unsafe { pg_sys::tuplestore_puttupleslot(half.store, slot) };
            half.rows += 1;
        });
        Ok((left, right))
    }

    /// Adds the rows of another with the same columns.
    pub(crate) fn append(&mut self, other: &Self) {
        other.each(|slot| {
            // SAFETY: the slot holds a row of the same columns; it is copied.
            unsafe { pg_sys::tuplestore_puttupleslot(self.store, slot) };
            self.rows += 1;
        });
    }

    /// Gives each row in a slot.
    fn each(&self, mut row: impl FnMut(*mut pg_sys::TupleTableSlot)) {
        // SAFETY: the store's first read pointer is ours alone: scans add their own. The slot is
        // dropped here, or with its memory context by the abort.
        unsafe {
            let slot = pg_sys::MakeSingleTupleTableSlot(
                self.descriptor,
                &raw const pg_sys::TTSOpsMinimalTuple,
            );
            pg_sys::tuplestore_select_read_pointer(self.store, 0);
            pg_sys::tuplestore_rescan(self.store);
            while pg_sys::tuplestore_gettupleslot(self.store, true, false, slot) {
                row(slot);
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
        }
    }

    /// Adds a tuple of the same columns.
    pub(crate) fn push_tuple(&mut self, tuple: pg_sys::HeapTuple) {
        // SAFETY: the tuple has the columns of our descriptor, by position and type; it is copied.
        unsafe { pg_sys::tuplestore_puttuple(self.store, tuple) };
        self.rows += 1;
    }

    fn with_descriptor(name: &str, descriptor: pg_sys::TupleDesc) -> Result<Self> {
        let name = CString::new(name).map_err(|_| Error::internal("a name contains a NUL byte"))?;
        // SAFETY: a random-access store, so that a scan may add its own read pointer at any time;
        // it lives in the current memory context and is ended in `drop` or by the abort.
        let store = unsafe { pg_sys::tuplestore_begin_heap(true, false, pg_sys::work_mem) };
        let relation = Box::new(pg_sys::EphemeralNamedRelationData::default());
        Ok(Self { name, descriptor, store, relation, rows: 0 })
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, values: &[Option<pg_sys::Datum>]) {
        let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
        let mut datums: Vec<pg_sys::Datum> =
            values.iter().map(|v| v.unwrap_or(pg_sys::Datum::from(0))).collect();
        // SAFETY: as many values as attributes (the callers build both from one list); the tuple
        // is copied into the store.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        self.rows += 1;
    }

    /// The name under which statements read them.
    pub(crate) fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> u64 {
        self.rows
    }

    /// No rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rows under their name, for as long as `self` is there.
    pub(crate) fn named(&self) -> pg_sys::EphemeralNamedRelation {
        let relation = (&raw const *self.relation).cast_mut();
        // SAFETY: the struct is boxed, so its address stays; nobody else uses it meanwhile.
        unsafe {
            (*relation).md.name = self.name.as_ptr().cast_mut();
            (*relation).md.reliddesc = pg_sys::InvalidOid;
            (*relation).md.tupdesc = self.descriptor;
            (*relation).md.enrtype = pg_sys::EphemeralNameRelationType::ENR_NAMED_TUPLESTORE;
            (*relation).md.enrtuples = self.rows as f64;
            (*relation).reldata = self.store.cast();
        }
        relation
    }

    /// Makes the rows known to the SPI connection that is open; forgotten when it is finished.
    pub(crate) fn register(&self) -> Result<()> {
        // SAFETY: the rows outlive the connection, because the caller holds `self` while the statement
        // runs.
        let code = unsafe { pg_sys::SPI_register_relation(self.named()) };
        if code < 0 {
            return Err(Error::internal(format!("rows could not be registered: {code}")));
        }
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: nobody reads it any more; on an error the abort frees store and files.
            unsafe { pg_sys::tuplestore_end(self.store) };
        }
    }
}

/// The bytes of a value: equal bytes are the same value, whatever its equality operator says.
pub(crate) fn image(datum: pg_sys::Datum, type_oid: TypeId) -> Vec<u8> {
    // SAFETY: the datum is of that type, as the descriptor of the log says; a toasted value is
    // detoasted into the current memory context.
    unsafe {
        let mut length: i16 = 0;
        let mut by_value = false;
        pg_sys::get_typlenbyval(pg_sys::Oid::from(type_oid), &mut length, &mut by_value);
        if by_value {
            return (datum.value() as u64).to_le_bytes().to_vec();
        }
        match length {
            -1 => {
                let value = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
                let data = pgrx::varlena::vardata_any(value).cast::<u8>();
                let size = pgrx::varlena::varsize_any_exhdr(value);
                std::slice::from_raw_parts(data, size).to_vec()
            }
            -2 => std::ffi::CStr::from_ptr(datum.cast_mut_ptr()).to_bytes().to_vec(),
            fixed => {
                std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), fixed as usize).to_vec()
            }
        }
    }
}
