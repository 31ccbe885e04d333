//! The versions of a row: all that a table still has under a key, with the transactions that made and
//! ended them.
//!
//! Read through the key's index as CLUSTER reads a table: without a snapshot, so that versions are found
//! which nobody here sees any more. What has happened is judged by a snapshot all the same: a transaction
//! that it does not see the end of has done nothing yet. Others may write to the table meanwhile; a version
//! that some snapshot sees stays where it is, because ours is as old as theirs or older than the version's end.
//!
//! Sources: `heapam_handler.c` (`heapam_relation_copy_for_cluster`: an index scan that gives all versions),
//! `heapam_visibility.c` (what the bits of a tuple's header mean).

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::heap::row::attributes;
use crate::heap::toast_compare::pointer as pointer_to;
use crate::oid::{RelationId, TransactionId};
use crate::pg::snapshot::Snapshot;
use crate::pg::tid::{Place, place_of, pointer};

/// The number of a transaction or subtransaction.
pub(crate) type Xid = pg_sys::TransactionId;

/// Who made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Our own transaction.
    Ours,
    /// One that has committed.
    By(Xid),
    /// One that is older than every snapshot: its number no longer counts.
    Frozen,
}

/// Who ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nobody: it is the present one. Those who only locked it do not count.
    Never,
    /// Our own transaction.
    Ours,
    /// One that has committed.
    By(Xid),
}

/// Whether a transaction is older than another.
pub(crate) fn is_older(xid: Xid, than: Xid) -> bool {
    // SAFETY: compares two numbers.
    unsafe { pg_sys::TransactionIdPrecedes(xid, than) }
}

/// Whether a transaction is ours.
pub(crate) fn is_ours(xid: TransactionId) -> bool {
    // SAFETY: asks for a transaction of this process.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(Xid::from_inner(xid)) }
}

/// A version that was not rolled back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    /// Where it lies.
    pub place: Place,
    /// Who made it.
    pub begun: Begun,
    /// Who ended it.
    pub ended: Ended,
    /// Who ended it has deleted the row or changed its key.
    pub changes_key: bool,
    /// Where the version is that took its place; none of a row that was deleted. It may be gone, and another row
    /// there: that one was begun by somebody else.
    pub next: Option<Place>,
    /// The number of who made it as it stands in the table, also where it no longer counts.
    pub number: Xid,
    /// A copy in the memory context in which it was read.
    tuple: pg_sys::HeapTuple,
}

impl Version {
    /// Whether some of its values lie in the TOAST table.
    pub(crate) fn has_external(&self) -> bool {
        // SAFETY: the tuple is ours.
        unsafe { u32::from((*(*self.tuple).t_data).t_infomask) & pg_sys::HEAP_HASEXTERNAL != 0 }
    }
}

/// Who may work on a table's long values meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// No VACUUM: it must neither take pieces away nor freeze while they are read and written.
    VacuumKeptOut,
    /// A VACUUM too. Pieces of versions that somebody sees stay; of others they may be gone.
    Vacuum,
}

/// A table whose rows are looked up by a unique key, version by version.
pub(crate) struct Versions<'s> {
    snapshot: &'s Snapshot,
    horizon: Xid,
    passed_over: Option<Xid>,
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    keys: Vec<pg_sys::ScanKeyData>,
}

impl<'s> Versions<'s> {
    /// Opens the table and the index of its key, by its name. `snapshot` says what has happened. The caller has
    /// locked the table, at least for reading.
    ///
    /// Locks: ACCESS SHARE on the index; SHARE UPDATE EXCLUSIVE on the TOAST table, to keep VACUUM out.
    pub(crate) fn open(
        table: RelationId,
        index: &str,
        snapshot: &'s Snapshot,
        beside: Beside,
    ) -> Result<Self> {
        let mode = pg_sys::NoLock as pg_sys::LOCKMODE;
        // SAFETY: the table and so its indexes are locked; what is opened is closed in `drop` or by the
        // abort. The snapshot is a constant of the server.
        unsafe {
            let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
            let toast = (*(*relation).rd_rel).reltoastrelid;
            if toast != pg_sys::InvalidOid && beside == Beside::VacuumKeptOut {
                let vacuum = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;
                pg_sys::LockRelationOid(toast, vacuum);
            }
            let indexes = pg_sys::RelationGetIndexList(relation);
            let named = (0..pg_sys::list_length(indexes)).find_map(|number| {
                let oid = pg_sys::list_nth_oid(indexes, number);
                let name = pg_sys::get_rel_name(oid);
                (!name.is_null() && CStr::from_ptr(name).to_bytes() == index.as_bytes())
                    .then_some(oid)
            });
            pg_sys::list_free(indexes);
            let Some(oid) = named else {
                pg_sys::table_close(relation, mode);
                return Err(Error::state(format!("index {index} of the key does not exist"))
                    .hint("Make it again, or end the deployment with SELECT bg_abort(table), after a swap with SELECT bg_finish(table)."));
            };
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let keys = equal_keys(index);
            let any = (&raw mut pg_sys::SnapshotAnyData).cast();
            let count = keys.len() as i32;
            #[cfg(not(feature = "pg18"))]
            let scan = pg_sys::index_beginscan(relation, index, any, count, 0);
            #[cfg(feature = "pg18")]
            let scan =
                pg_sys::index_beginscan(relation, index, any, std::ptr::null_mut(), count, 0);
            // Entries that nobody here needs any more: somebody on a standby may.
            (*scan).ignore_killed_tuples = false;
            let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
            let horizon = pg_sys::GetOldestNonRemovableTransactionId(relation);
            Ok(Self { snapshot, horizon, passed_over: None, relation, index, scan, slot, keys })
        }
    }

    /// The versions that the table has under a key, those of our own transaction too; without those that
    /// were rolled back, and, beyond the first `all`, without those whose end every snapshot of this server sees
    /// ([`Versions::passed_over`]). None: there are more than `most`.
    pub(crate) fn under(
        &mut self,
        key: &[pg_sys::Datum],
        all: usize,
        most: usize,
    ) -> Option<Vec<Version>> {
        let mut found = Vec::new();
        // SAFETY: the key has the values of the index's columns, whose types are its own or stored alike.
        // The tuples are copied, in the current memory context.
        unsafe {
            for (scan_key, value) in self.keys.iter_mut().zip(key) {
                scan_key.sk_argument = *value;
            }
            let count = self.keys.len() as i32;
            pg_sys::index_rescan(self.scan, self.keys.as_mut_ptr(), count, std::ptr::null_mut(), 0);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            while pg_sys::index_getnext_slot(self.scan, forward, self.slot) {
                pgrx::check_for_interrupts!();
                let held: *mut pg_sys::BufferHeapTupleTableSlot = self.slot.cast();
                // Others may be writing to the header: what is judged is a copy.
                pg_sys::LockBuffer((*held).buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
                let tuple = pg_sys::heap_copytuple((*held).base.tuple);
                pg_sys::LockBuffer((*held).buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
                match self.judged(tuple) {
                    Some(version) if found.len() >= all && self.passes_over(&version) => {
                        pg_sys::heap_freetuple(tuple);
                    }
                    Some(version) => found.push(version),
                    None => pg_sys::heap_freetuple(tuple),
                }
                if found.len() > most {
                    return None;
                }
            }
        }
        Some(found)
    }

    /// The values of a version, as the table's columns are now; those of dropped columns are None.
    pub(crate) fn values(&self, version: &Version) -> Vec<Option<pg_sys::Datum>> {
        // SAFETY: the tuple is one of the relation's; both arrays have its number of columns.
        unsafe {
            let descriptor = (*self.relation).rd_att;
            let count = (*descriptor).natts as usize;
            let mut values = vec![pg_sys::Datum::from(0); count];
            let mut nulls = vec![true; count];
            let (first, null) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(version.tuple, descriptor, first, null);
            values.into_iter().zip(nulls).map(|(value, null)| (!null).then_some(value)).collect()
        }
    }

    /// The version at a place, whoever may see it.
    pub(crate) fn at(&self, place: Place) -> Option<Version> {
        // SAFETY: the buffer is locked while the tuple is copied, in the current memory context; an error
        // releases it.
        unsafe {
            let buffer = pg_sys::ReadBuffer(self.relation, place.0);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let page = pg_sys::BufferGetPage(buffer);
            let item = pg_sys::PageGetItemId(page, place.1);
            let mut held = pg_sys::HeapTupleData {
                t_len: (*item).lp_len(),
                t_self: pointer(place),
                t_tableOid: (*self.relation).rd_id,
                t_data: page.cast::<u8>().add((*item).lp_off() as usize).cast(),
            };
            let tuple = pg_sys::heap_copytuple(&mut held);
            pg_sys::UnlockReleaseBuffer(buffer);
            self.judged(tuple)
        }
    }

    /// Whether nobody on this server sees a version, which is noted then.
    fn passes_over(&mut self, version: &Version) -> bool {
        match version.ended {
            Ended::By(xid) if is_older(xid, self.horizon) => {
                if self.passed_over.is_none_or(|last| is_older(last, xid)) {
                    self.passed_over = Some(xid);
                }
                true
            }
            _ => false,
        }
    }

    /// The newest transaction that ended a version which was not given.
    pub(crate) fn passed_over(&self) -> Option<Xid> {
        self.passed_over
    }

    /// A version, of a copy of its tuple; None: it was rolled back, or is not there yet.
    unsafe fn judged(&self, tuple: pg_sys::HeapTuple) -> Option<Version> {
        // SAFETY: the tuple is a copy of the table's.
        unsafe {
            let header = (*tuple).t_data;
            let (begun, ended) = (begun(header, self.snapshot)?, ended(header, self.snapshot));
            let bits = u32::from((*header).t_infomask2);
            let changes_key = bits & pg_sys::HEAP_KEYS_UPDATED != 0;
            let (place, number) = (place_of(&(*tuple).t_self), (*header).t_choice.t_heap.t_xmin);
            // A row that was deleted leads to itself.
            let next = Some(place_of(&(*header).t_ctid)).filter(|next| *next != place);
            Some(Version { place, begun, ended, changes_key, next, number, tuple })
        }
    }

    /// The places in the table's TOAST table at which the values of a version lie.
    pub(crate) fn chunks(&self, version: &Version) -> Vec<Place> {
        if !version.has_external() {
            return Vec::new();
        }
        // SAFETY: values of the table's columns; the TOAST table is locked with the table.
        unsafe {
            let columns = attributes((*self.relation).rd_att);
            let toast = (*(*self.relation).rd_rel).reltoastrelid;
            let values = self.values(version);
            let outside = columns.iter().zip(values).filter(|(column, _)| column.attlen == -1);
            let pointers = outside.filter_map(|(_, value)| pointer_to(value?.cast_mut_ptr()));
            let ours: Vec<_> = pointers.filter(|value| value.va_toastrelid == toast).collect();
            if ours.is_empty() { Vec::new() } else { chunks(toast, &ours) }
        }
    }

    /// The oldest transaction that may stand in the table or its TOAST table.
    pub(crate) fn oldest(&self) -> Xid {
        // SAFETY: open relations; a question about a catalog row.
        unsafe {
            let class = (*self.relation).rd_rel;
            let own = (*class).relfrozenxid;
            if (*class).reltoastrelid == pg_sys::InvalidOid {
                return own;
            }
            let mode = pg_sys::NoLock as pg_sys::LOCKMODE;
            let toast = pg_sys::table_open((*class).reltoastrelid, pg_sys::AccessShareLock as i32);
            let beside = (*(*toast).rd_rel).relfrozenxid;
            pg_sys::table_close(toast, mode);
            if pg_sys::TransactionIdPrecedes(own, beside) { beside } else { own }
        }
    }

    /// The TOAST table, 0 if there is none.
    pub(crate) fn toast_table(&self) -> RelationId {
        // SAFETY: an open relation.
        unsafe { (*(*self.relation).rd_rel).reltoastrelid.into() }
    }

    /// From here on a transaction may not be seen by every snapshot of this server.
    pub(crate) fn horizon(&self) -> Xid {
        self.horizon
    }
}

impl Drop for Versions<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mode = pg_sys::NoLock as pg_sys::LOCKMODE;
            // SAFETY: reverse order of `open`.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::index_endscan(self.scan);
                pg_sys::index_close(self.index, mode);
                pg_sys::table_close(self.relation, mode);
            }
        }
    }
}

/// The places of the pieces of values in a TOAST table, whoever may see them.
unsafe fn chunks(toast: pg_sys::Oid, values: &[pg_sys::varatt_external]) -> Vec<Place> {
    let mut places = Vec::new();
    // SAFETY: the lock is kept until the transaction ends; what is opened is closed here or by the abort.
    // The snapshot is a constant of the server.
    unsafe {
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let none = pg_sys::NoLock as pg_sys::LOCKMODE;
        let table = pg_sys::table_open(toast, mode);
        let indexes = pg_sys::RelationGetIndexList(table);
        for number in 0..pg_sys::list_length(indexes) {
            let index = pg_sys::index_open(pg_sys::list_nth_oid(indexes, number), mode);
            // Beside it there may be one that is being built.
            if places.is_empty() && (*(*index).rd_index).indisvalid {
                for value in values {
                    chunks_of(table, index, value.va_valueid, &mut places);
                }
            }
            pg_sys::index_close(index, none);
        }
        pg_sys::list_free(indexes);
        pg_sys::table_close(table, none);
    }
    places
}

unsafe fn chunks_of(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    value: pg_sys::Oid,
    places: &mut Vec<Place>,
) {
    // SAFETY: open relations; the key is copied.
    unsafe {
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            1,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::Oid::from(pg_sys::F_OIDEQ),
            pg_sys::Datum::from(value),
        );
        let any = (&raw mut pg_sys::SnapshotAnyData).cast();
        let scan = pg_sys::systable_beginscan_ordered(table, index, any, 1, &mut key);
        loop {
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let tuple = pg_sys::systable_getnext_ordered(scan, forward);
            if tuple.is_null() {
                break;
            }
            places.push(place_of(&(*tuple).t_self));
        }
        pg_sys::systable_endscan_ordered(scan);
    }
}

/// Scan keys for equality with the columns of an index, whose values are filled in later.
unsafe fn equal_keys(index: pg_sys::Relation) -> Vec<pg_sys::ScanKeyData> {
    // SAFETY: an open btree index; its arrays have an element for each of its key columns.
    unsafe {
        let count = (*(*index).rd_index).indnkeyatts as usize;
        let equal = pg_sys::BTEqualStrategyNumber as i16;
        let key = |number: usize| {
            let operands = *(*index).rd_opcintype.add(number);
            let family = *(*index).rd_opfamily.add(number);
            let operator = pg_sys::get_opfamily_member(family, operands, operands, equal);
            let mut key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyEntryInitialize(
                &mut key,
                0,
                number as i16 + 1,
                equal as u16,
                pg_sys::InvalidOid,
                *(*index).rd_indcollation.add(number),
                pg_sys::get_opcode(operator),
                pg_sys::Datum::from(0),
            );
            key
        };
        (0..count).map(key).collect()
    }
}

/// Who made a tuple; None: it was rolled back, or is not there yet.
unsafe fn begun(header: pg_sys::HeapTupleHeader, snapshot: &Snapshot) -> Option<Begun> {
    // SAFETY: the header of a copy of a tuple.
    unsafe {
        let bits = u32::from((*header).t_infomask);
        let xid = (*header).t_choice.t_heap.t_xmin;
        if bits & pg_sys::HEAP_XMIN_FROZEN == pg_sys::HEAP_XMIN_FROZEN {
            return Some(Begun::Frozen);
        }
        if bits & pg_sys::HEAP_XMIN_INVALID != 0 {
            return None;
        }
        match fate(xid, snapshot) {
            Fate::Ours => Some(Begun::Ours),
            Fate::Committed => Some(Begun::By(xid)),
            Fate::Permanent => Some(Begun::Frozen),
            Fate::None => None,
        }
    }
}

/// Who ended a tuple.
unsafe fn ended(header: pg_sys::HeapTupleHeader, snapshot: &Snapshot) -> Ended {
    // SAFETY: as in `begun`; the number of a multixact that has an update is looked up.
    unsafe {
        let bits = u32::from((*header).t_infomask);
        if bits & pg_sys::HEAP_XMAX_INVALID != 0 || is_locked_only(bits) {
            return Ended::Never;
        }
        let xid = if bits & pg_sys::HEAP_XMAX_IS_MULTI != 0 {
            pg_sys::HeapTupleGetUpdateXid(header)
        } else {
            (*header).t_choice.t_heap.t_xmax
        };
        match fate(xid, snapshot) {
            Fate::Ours => Ended::Ours,
            Fate::Committed => Ended::By(xid),
            Fate::Permanent | Fate::None => Ended::Never,
        }
    }
}

/// Whether the transaction that stands for the end of a tuple has only locked it.
fn is_locked_only(bits: u32) -> bool {
    let lock =
        pg_sys::HEAP_XMAX_SHR_LOCK | pg_sys::HEAP_XMAX_EXCL_LOCK | pg_sys::HEAP_XMAX_KEYSHR_LOCK;
    bits & pg_sys::HEAP_XMAX_LOCK_ONLY != 0
        || bits & (pg_sys::HEAP_XMAX_IS_MULTI | lock) == pg_sys::HEAP_XMAX_EXCL_LOCK
}

enum Fate {
    /// No transaction, or one that was rolled back, or that has not ended yet.
    None,
    Ours,
    Committed,
    /// A number that stands for what has always been there.
    Permanent,
}

/// What became of a transaction, as a snapshot sees it.
fn fate(xid: Xid, snapshot: &Snapshot) -> Fate {
    let number = xid.into_inner();
    if number == pg_sys::InvalidTransactionId.into_inner() {
        return Fate::None;
    }
    if number < pg_sys::FirstNormalTransactionId.into_inner() {
        return Fate::Permanent;
    }
    // SAFETY: questions to the server about a transaction's number.
    unsafe {
        if pg_sys::TransactionIdIsCurrentTransactionId(xid) {
            return Fate::Ours;
        }
        // In this order: one that ends in between has not ended for the snapshot.
        if snapshot.sees_the_end_of(xid) && pg_sys::TransactionIdDidCommit(xid) {
            Fate::Committed
        } else {
            Fate::None
        }
    }
}
