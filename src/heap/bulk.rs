//! INSERT … SELECT through the table access method's multi-insert, as COPY writes.
//!
//! The server plans the INSERT, with all its casts and defaults; the plan below the insertion is run
//! into a receiver of ours that computes generated columns, checks NOT NULL and CHECK, and writes many
//! rows at once. What only the server's own INSERT does (triggers, indexes, row security, partitions,
//! other access methods) is left to it: see [`insert`].
//!
//! Sources: `copyfrom.c` (buffering, its bounds), `createas.c` (a receiver that writes a table),
//! `nodeModifyTable.c` (order of generated columns and constraints).

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

use crate::error::Result;
use crate::heap::extension::Room;
use crate::heap::index_entries::Entries;
use crate::heap::row::attributes;
use crate::heap::toast::Moved;
use crate::heap::toast::Needs;
use crate::oid::RelationId;
use crate::pg::buffer_strategy;
use crate::pg::executor;
use crate::pg::tid::Place;
use crate::product;

/// Rows that are written at once, at most: COPY's number.
const MAX_ROWS: usize = 1000;
/// Bytes that are written at once; a larger row goes alone.
const MAX_BYTES: usize = 65_536;

/// How the only process that fills a table writes. PostgreSQL 16 and later add up to 64 pages at once: what a batch
/// leaves of them, the next one finds in the free space map.
const ALONE: u32 = if cfg!(feature = "pg15") { pg_sys::TABLE_INSERT_SKIP_FSM } else { 0 };

unsafe extern "C-unwind" {
    // executor/nodeModifyTable.h is not among pgrx's headers; the symbol is exported by every server.
    fn ExecComputeStoredGenerated(
        result: *mut pg_sys::ResultRelInfo,
        estate: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
        command: pg_sys::CmdType::Type,
    );
}

/// Whether other processes write to the table too; then about how many pages this one is going to fill
/// one after the other, in this call and the next ones.
pub(crate) type Shared = Option<u32>;

/// What came of an INSERT.
pub(crate) enum Inserted {
    /// So many rows were written.
    Rows(u64),
    /// Nothing was: the server's own INSERT has to do it, for this reason.
    ByServer(&'static str),
    /// Nothing was: a rule makes another statement of it.
    Rewritten,
}

/// Runs `sql`, which is INSERT … SELECT into `table`, in bulk.
pub(crate) fn insert(sql: &str, table: RelationId, shared: Shared) -> Result<Inserted> {
    let text = executor::text(sql)?;
    // SAFETY: inside a transaction. What is opened here is closed here, or by the abort when an error
    // unwinds: the frames between own nothing but memory. Snapshot, relation and executor state are
    // released in the reverse order of their making.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let none = std::ptr::null_mut();
        let done = match executor::plan_of_write(&text, none, table, pg_sys::CmdType::CMD_INSERT) {
            None => Inserted::Rewritten,
            Some(statement) => run(statement, &text, table, shared),
        };
        pg_sys::PopActiveSnapshot();
        pg_sys::CommandCounterIncrement();
        Ok(done)
    }
}

unsafe fn run(
    statement: *mut pg_sys::PlannedStmt,
    text: &CStr,
    table: RelationId,
    shared: Shared,
) -> Inserted {
    // SAFETY: see `insert`. The plan is a ModifyTable for this table, ours alone, and changed before
    // anybody runs it.
    unsafe {
        let modify: *mut pg_sys::ModifyTable = (*statement).planTree.cast();
        if !(*modify).withCheckOptionLists.is_null() {
            return Inserted::ByServer("row security checks its rows");
        }
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        let obstacle = obstacle(relation);
        if let Some(why) = obstacle {
            pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            return Inserted::ByServer(why);
        }
        let moved = Moved::of(source(statement), relation);
        let mut receiver = Receiver::new(relation, moved, shared, None);
        // The executor writes to it through this pointer, and so do we until it has ended.
        let target = &raw mut receiver;
        let none = std::ptr::null_mut();
        executor::run(statement, text, target.cast(), none, || (*target).flush());
        let (rows, _) = receiver.finish();
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        Inserted::Rows(rows)
    }
}

/// The plan below an insertion, made a SELECT whose columns are those of the table, in order and type.
///
/// # Safety
/// The plan is an INSERT's, and ours alone.
pub(crate) unsafe fn source(statement: *mut pg_sys::PlannedStmt) -> *mut pg_sys::PlannedStmt {
    // SAFETY: as the caller says.
    unsafe {
        (*statement).commandType = pg_sys::CmdType::CMD_SELECT;
        (*statement).planTree = (*(*statement).planTree).lefttree;
        (*statement).resultRelations = std::ptr::null_mut();
        statement
    }
}

/// What of this table only the server's own INSERT takes care of.
unsafe fn obstacle(relation: pg_sys::Relation) -> Option<&'static str> {
    // SAFETY: an open, locked relation; its index list is a copy.
    unsafe {
        if (*(*relation).rd_rel).relkind as u8 != pg_sys::RELKIND_RELATION {
            return Some("it is no plain table");
        }
        if (*relation).rd_tableam != pg_sys::GetHeapamTableAmRoutine() {
            return Some("its access method is not heap");
        }
        let triggers = (*relation).trigdesc;
        if !triggers.is_null() {
            // Ours let our own writes pass.
            let ours = pg_sys::get_namespace_oid(product::SCHEMA_C.as_ptr(), true);
            let count = (*triggers).numtriggers as usize;
            let all = std::slice::from_raw_parts((*triggers).triggers, count);
            if all.iter().any(|trigger| {
                trigger.tgtype as u32 & pg_sys::TRIGGER_TYPE_INSERT != 0
                    && pg_sys::get_func_namespace(trigger.tgfoid) != ours
            }) {
                return Some("it has triggers");
            }
        }
        let indexes = pg_sys::RelationGetIndexList(relation);
        let indexed = pg_sys::list_length(indexes) > 0;
        pg_sys::list_free(indexes);
        indexed.then_some("it has indexes")
    }
}

/// Where the executor sends its rows. The first field is what the executor knows of it.
#[repr(C)]
pub(crate) struct Receiver {
    base: pg_sys::DestReceiver,
    relation: pg_sys::Relation,
    /// Only for what generated columns and constraints need.
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    /// What lives as long as the receiver; the executor calls it in a context of its own.
    home: pg_sys::MemoryContext,
    /// Tuples of the rows to be written, and what is made while they are written.
    memory: pg_sys::MemoryContext,
    bulk: pg_sys::BulkInsertState,
    command: pg_sys::CommandId,
    /// The row as values, where columns are computed.
    computed: *mut pg_sys::TupleTableSlot,
    shared: Shared,
    room: Room,
    has_generated: bool,
    has_checks: bool,
    not_null: Vec<i32>,
    moved: Moved,
    /// Where rows get their index entries at once, and their places are noted.
    entries: Option<Entries>,
    /// Of the rows that are held.
    needs: Needs,
    slots: [*mut pg_sys::TupleTableSlot; MAX_ROWS],
    held: usize,
    bytes: usize,
    rows: u64,
}

impl Receiver {
    // Long: a line for each field.
    pub(crate) unsafe fn new(
        relation: pg_sys::Relation,
        moved: Moved,
        shared: Shared,
        mut entries: Option<Entries>,
    ) -> Self {
        // SAFETY: everything is made in the current memory context and resource owner, and given back
        // in `finish` or by the abort.
        unsafe {
            let estate = pg_sys::CreateExecutorState();
            let result: *mut pg_sys::ResultRelInfo =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
            pg_sys::InitResultRelInfo(result, relation, 0, std::ptr::null_mut(), 0);
            if let Some(entries) = &mut entries {
                entries.open(result);
            }
            let descriptor = (*relation).rd_att;
            let constraints = (*descriptor).constr;
            let has = |what: fn(&pg_sys::TupleConstr) -> bool| {
                !constraints.is_null() && what(&*constraints)
            };
            Self {
                base: pg_sys::DestReceiver {
                    receiveSlot: Some(receive),
                    rStartup: Some(begin),
                    rShutdown: Some(end),
                    rDestroy: Some(end),
                    mydest: pg_sys::CommandDest::DestIntoRel,
                },
                relation,
                estate,
                result,
                home: pg_sys::CurrentMemoryContext,
                memory: pg_sys::AllocSetContextCreateInternal(
                    pg_sys::CurrentMemoryContext,
                    c"rows to write".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    4 * MAX_BYTES,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                ),
                bulk: buffer_strategy::for_writing(),
                command: pg_sys::GetCurrentCommandId(true),
                computed: pg_sys::MakeSingleTupleTableSlot(
                    descriptor,
                    &raw const pg_sys::TTSOpsVirtual,
                ),
                shared,
                room: Room::open(relation, shared.unwrap_or_default()),
                has_generated: has(|c| c.has_generated_stored),
                has_checks: has(|c| c.num_check > 0),
                not_null: not_null_columns(descriptor),
                moved,
                entries,
                needs: Needs::default(),
                slots: [std::ptr::null_mut(); MAX_ROWS],
                held: 0,
                bytes: 0,
                rows: 0,
            }
        }
    }

    /// Keeps a row of the executor until enough are held.
    unsafe fn keep(&mut self, slot: *mut pg_sys::TupleTableSlot) {
        // SAFETY: the slot holds a row whose columns are the table's, in order and type: the server
        // planned it so. The tuple is a copy in our memory.
        unsafe {
            let descriptor = (*self.relation).rd_att;
            let outer = pg_sys::MemoryContextSwitchTo(self.memory);
            let mut checked = slot;
            (*slot).tts_tableOid = (*self.relation).rd_id;
            if self.has_generated || !is_whole(slot, descriptor) {
                checked = self.compute(slot);
            }
            let mut tuple = copied(checked);
            if self.has_checks || self.breaks_not_null(tuple) {
                pg_sys::ExecConstraints(self.result, checked, self.estate);
            }
            let needs = self.moved.needs(checked, tuple);
            if !self.needs.agree(needs) {
                // This frees also the copy.
                self.flush();
                tuple = copied(checked);
            }
            self.needs = self.needs.and(needs);
            pg_sys::MemoryContextSwitchTo(outer);
            let context = (*self.estate).es_per_tuple_exprcontext;
            if !context.is_null() {
                pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory);
            }

            if self.slots[self.held].is_null() {
                let outer = pg_sys::MemoryContextSwitchTo(self.home);
                self.slots[self.held] = pg_sys::MakeSingleTupleTableSlot(
                    descriptor,
                    &raw const pg_sys::TTSOpsHeapTuple,
                );
                pg_sys::MemoryContextSwitchTo(outer);
            }
            pg_sys::ExecStoreHeapTuple(tuple, self.slots[self.held], true);
            self.held += 1;
            self.bytes += (*tuple).t_len as usize;
            if self.held == MAX_ROWS || self.bytes >= MAX_BYTES {
                self.flush();
            }
        }
    }

    /// The row as values of our own, with generated columns.
    unsafe fn compute(&mut self, slot: *mut pg_sys::TupleTableSlot) -> *mut pg_sys::TupleTableSlot {
        // SAFETY: both slots have the table's number of columns; the values live as long as the
        // executor's row.
        unsafe {
            let count = (*(*self.relation).rd_att).natts;
            if i32::from((*slot).tts_nvalid) < count {
                pg_sys::slot_getsomeattrs_int(slot, count);
            }
            let to = self.computed;
            if let Some(clear) = (*(*to).tts_ops).clear {
                clear(to);
            }
            let count = count as usize;
            std::ptr::copy_nonoverlapping((*slot).tts_values, (*to).tts_values, count);
            std::ptr::copy_nonoverlapping((*slot).tts_isnull, (*to).tts_isnull, count);
            pg_sys::ExecStoreVirtualTuple(to);
            (*to).tts_tableOid = (*self.relation).rd_id;
            if self.has_generated {
                let (result, estate) = (self.result, self.estate);
                pg_guard_ffi_boundary(|| {
                    ExecComputeStoredGenerated(result, estate, to, pg_sys::CmdType::CMD_INSERT);
                });
            }
            to
        }
    }

    /// Whether a NULL is in a column that is NOT NULL.
    unsafe fn breaks_not_null(&self, tuple: pg_sys::HeapTuple) -> bool {
        // SAFETY: the tuple has the table's columns.
        unsafe {
            u32::from((*(*tuple).t_data).t_infomask) & pg_sys::HEAP_HASNULL != 0
                && self
                    .not_null
                    .iter()
                    .any(|number| pg_sys::heap_attisnull(tuple, *number, std::ptr::null_mut()))
        }
    }

    /// Writes what is held.
    pub(crate) unsafe fn flush(&mut self) {
        if self.held == 0 {
            return;
        }
        // SAFETY: `held` slots hold tuples of the table; they are cleared before their memory goes.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.memory);
            // A descriptor that is replaced meanwhile stays while the slots count a reference to it, or until the
            // transaction ends (`relcache.c`).
            let moved = std::mem::take(&mut self.moved);
            let passing = moved.pass((*self.relation).rd_att, self.needs);
            self.write();
            drop(passing);
            self.moved = moved;
            if let Some(entries) = &mut self.entries {
                entries.add(self.estate, &self.slots[..self.held]);
            }
            pg_sys::MemoryContextSwitchTo(outer);
            for slot in &self.slots[..self.held] {
                if let Some(clear) = (*(**slot).tts_ops).clear {
                    clear(*slot);
                }
            }
            pg_sys::MemoryContextReset(self.memory);
        }
        self.rows += self.held as u64;
        self.held = 0;
        self.bytes = 0;
        self.needs = Needs::default();
    }

    unsafe fn write(&mut self) {
        if self.entries.is_some() {
            // SAFETY: see `flush`.
            unsafe { self.write_with(pg_sys::HEAP_INSERT_NO_LOGICAL) };
        } else if self.shared.is_some() {
            let rows = &mut self.slots[..self.held];
            // SAFETY: see `flush`; the state is used for this relation only.
            unsafe { self.room.insert(self.relation, rows, self.command, self.bulk) };
        } else {
            // SAFETY: see `flush`.
            unsafe { self.write_with(ALONE) };
        }
    }

    unsafe fn write_with(&mut self, options: u32) {
        // SAFETY: see `flush`.
        unsafe {
            pg_sys::heap_multi_insert(
                self.relation,
                self.slots.as_mut_ptr(),
                self.held as i32,
                self.command,
                options as i32,
                self.bulk,
            );
        }
    }

    /// Gives everything back; the number of rows written, and their places where these were noted.
    pub(crate) unsafe fn finish(mut self) -> (u64, Vec<Place>) {
        let entries = self.entries.take();
        // SAFETY: nothing is held any more; reverse order of `new`.
        unsafe {
            for slot in self.slots.into_iter().take_while(|slot| !slot.is_null()) {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::ExecDropSingleTupleTableSlot(self.computed);
            buffer_strategy::written(self.bulk);
            let places = entries.map(|entries| entries.close()).unwrap_or_default();
            pg_sys::MemoryContextDelete(self.memory);
            pg_sys::FreeExecutorState(self.estate);
            (self.rows, places)
        }
    }
}

/// A copy of the row as a tuple, in the current memory context.
unsafe fn copied(slot: *mut pg_sys::TupleTableSlot) -> pg_sys::HeapTuple {
    // SAFETY: every kind of slot that rows come in has this function.
    unsafe {
        match (*(*slot).tts_ops).copy_heap_tuple {
            Some(copy) => pg_guard_ffi_boundary(|| copy(slot)),
            None => std::ptr::null_mut(),
        }
    }
}

/// Whether the slot has a tuple that can be written as it is: one that is older than a column of its
/// table lacks that column.
unsafe fn is_whole(slot: *mut pg_sys::TupleTableSlot, descriptor: pg_sys::TupleDesc) -> bool {
    // SAFETY: a slot of one of the two kinds begins with a HeapTupleTableSlot.
    unsafe {
        let ops = (*slot).tts_ops;
        if ops != &raw const pg_sys::TTSOpsBufferHeapTuple
            && ops != &raw const pg_sys::TTSOpsHeapTuple
        {
            return false;
        }
        let tuple = (*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple;
        !tuple.is_null()
            && u32::from((*(*tuple).t_data).t_infomask2) & pg_sys::HEAP_NATTS_MASK
                == (*descriptor).natts as u32
    }
}

/// The numbers of the columns that are NOT NULL.
unsafe fn not_null_columns(descriptor: pg_sys::TupleDesc) -> Vec<i32> {
    // SAFETY: a valid descriptor.
    let attributes = unsafe { attributes(descriptor) };
    attributes.iter().filter(|a| a.attnotnull).map(|a| a.attnum.into()).collect()
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    // SAFETY: the executor gives back the receiver that it was started with, which outlives it.
    unsafe { (*receiver.cast::<Receiver>()).keep(slot) };
    true
}

#[pg_guard]
unsafe extern "C-unwind" fn begin(
    _receiver: *mut pg_sys::DestReceiver,
    _operation: std::ffi::c_int,
    _descriptor: pg_sys::TupleDesc,
) {
}

#[pg_guard]
unsafe extern "C-unwind" fn end(_receiver: *mut pg_sys::DestReceiver) {}
