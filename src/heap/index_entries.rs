//! Index entries of rows that were just written, in all indexes, without looking for equal ones.

use pgrx::pg_sys;

use crate::pg::tid::{Place, place_of};

/// As many columns as an index has at most.
const MAX_COLUMNS: usize = pg_sys::INDEX_MAX_KEYS as usize;

/// The index entries of rows that are written, and the places of the rows.
#[derive(Default)]
pub(crate) struct Entries {
    /// The table with its indexes, open.
    result: Option<*mut pg_sys::ResultRelInfo>,
    places: Vec<Place>,
}

impl Entries {
    /// Opens the indexes of a table.
    ///
    /// # Safety
    /// The table is open and locked, and stays so until [`Entries::close`].
    pub(crate) unsafe fn open(&mut self, result: *mut pg_sys::ResultRelInfo) {
        // SAFETY: as the caller says; closed in `close`, or by the abort.
        unsafe { pg_sys::ExecOpenIndices(result, false) };
        self.result = Some(result);
    }

    /// Makes the entries of rows that were just written.
    ///
    /// # Safety
    /// The slots hold rows of the table with their places.
    pub(crate) unsafe fn add(
        &mut self,
        estate: *mut pg_sys::EState,
        rows: &[*mut pg_sys::TupleTableSlot],
    ) {
        let Some(result) = self.result else { return };
        // SAFETY: the arrays of the table have an element for each index; the expressions of indexes are
        // computed in the estate's memory, which is reset for each row.
        unsafe {
            let context = match (*estate).es_per_tuple_exprcontext {
                context if context.is_null() => pg_sys::MakePerTupleExprContext(estate),
                context => context,
            };
            for slot in rows {
                self.places.push(place_of(&(**slot).tts_tid));
                (*context).ecxt_scantuple = *slot;
                for number in 0..(*result).ri_NumIndices as usize {
                    let index = *(*result).ri_IndexRelationDescs.add(number);
                    let info = *(*result).ri_IndexRelationInfo.add(number);
                    insert_entry(*slot, (*result).ri_RelationDesc, index, info, estate);
                }
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }
        }
    }

    /// Closes the indexes; the places of the rows, in the order in which they were written.
    pub(crate) unsafe fn close(self) -> Vec<Place> {
        if let Some(result) = self.result {
            // SAFETY: opened by `open`.
            unsafe { pg_sys::ExecCloseIndices(result) };
        }
        self.places
    }
}

/// Makes the entry of a row in an index, if the row belongs there.
unsafe fn insert_entry(
    slot: *mut pg_sys::TupleTableSlot,
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    estate: *mut pg_sys::EState,
) {
    // SAFETY: index and info are of one open index of the table; the arrays hold as many values as any
    // index has columns.
    unsafe {
        if index.is_null() || !(*info).ii_ReadyForInserts {
            return;
        }
        if !(*info).ii_Predicate.is_null() {
            if (*info).ii_PredicateState.is_null() {
                (*info).ii_PredicateState = pg_sys::ExecPrepareQual((*info).ii_Predicate, estate);
            }
            if !pg_sys::ExecQual((*info).ii_PredicateState, (*estate).es_per_tuple_exprcontext) {
                return;
            }
        }
        let mut values = [pg_sys::Datum::from(0); MAX_COLUMNS];
        let mut nulls = [true; MAX_COLUMNS];
        pg_sys::FormIndexDatum(info, slot, estate, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::index_insert(
            index,
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
            &mut (*slot).tts_tid,
            table,
            pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
            false,
            info,
        );
    }
}
