//! Rows that are written for the sake of older snapshots: earlier versions of rows that are there already.
//!
//! They are written and indexed by our own transaction, and are given the transactions of the versions that
//! they stand for afterwards ([`super::stamp`]). Their index entries are made without a look for others of
//! the same value: of the versions of a row, and of rows that have given a value to one another, no two are
//! seen by one snapshot.
//!
//! Source: `execIndexing.c` (`ExecInsertIndexTuples`: how a row's entries are made).

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::pg::bulk::{self, Receiver};
use crate::pg::executor;
use crate::pg::log::{Place, place_of};
use crate::pg::toast::Moved;
use crate::pg::work::Work;

/// As many columns as an index has at most.
const MOST_COLUMNS: usize = pg_sys::INDEX_MAX_KEYS as usize;

/// Runs `sql`, an INSERT … SELECT into `table` whose rows are one for each of `work`, in their order, and
/// returns their places. The caller holds ACCESS EXCLUSIVE on the table.
pub fn insert(sql: &str, work: &Work, table: u32) -> Result<Vec<Place>> {
    let text = executor::text(sql)?;
    // SAFETY: `work` outlives the statement. The snapshot is pushed and popped in pairs, or popped by the
    // abort; what is opened is closed, or so by the abort.
    let places = unsafe {
        let names = pg_sys::create_queryEnv();
        pg_sys::register_ENR(names, work.named());
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let command = pg_sys::CmdType::CMD_INSERT;
        let places = executor::plan_of_write(&text, names, table, command)
            .map(|plan| write(plan, &text, names, table));
        pg_sys::PopActiveSnapshot();
        pg_sys::CommandCounterIncrement();
        places
    };
    match places {
        Some(places) if places.len() as u64 == work.len() => Ok(places),
        _ => Err(Error::internal("earlier versions of rows were not written one by one")),
    }
}

unsafe fn write(
    plan: *mut pg_sys::PlannedStmt,
    text: &CStr,
    names: *mut pg_sys::QueryEnvironment,
    table: u32,
) -> Vec<Place> {
    let mode = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: see `insert`; the plan is ours alone.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        let plan = bulk::source(plan);
        let mut receiver =
            Receiver::new(relation, Moved::default(), None, Some(Entries::default()));
        // The executor writes to it through this pointer, and so do we until it has ended.
        let target = &raw mut receiver;
        executor::run(plan, text, target.cast(), names, || (*target).flush());
        let (_, places) = receiver.finish();
        pg_sys::table_close(relation, mode);
        places
    }
}

/// The index entries of rows that are written, and the places of the rows.
#[derive(Default)]
pub(super) struct Entries {
    /// The table with its indexes, open.
    result: Option<*mut pg_sys::ResultRelInfo>,
    places: Vec<Place>,
}

impl Entries {
    /// Opens the indexes of a table.
    ///
    /// # Safety
    /// The table is open and locked, and stays so until [`Entries::close`].
    pub(super) unsafe fn open(&mut self, result: *mut pg_sys::ResultRelInfo) {
        // SAFETY: as the caller says; closed in `close`, or by the abort.
        unsafe { pg_sys::ExecOpenIndices(result, false) };
        self.result = Some(result);
    }

    /// Makes the entries of rows that were just written.
    ///
    /// # Safety
    /// The slots hold rows of the table with their places.
    pub(super) unsafe fn add(
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
    pub(super) unsafe fn close(self) -> Vec<Place> {
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
        let mut values = [pg_sys::Datum::from(0); MOST_COLUMNS];
        let mut nulls = [true; MOST_COLUMNS];
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
