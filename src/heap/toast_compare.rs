//! Long values (TOAST) of two tables, compared where they lie, piece by piece.
//!
//! A table's values were mostly written in the order of its rows. So the scan of the TOAST table's index
//! that has given one value mostly goes on with the next, and only else begins anew. Of one row the server
//! writes the largest first, so those of a row are read in the order in which they lie.
//!
//! Sources: `heaptoast.c` (`heap_fetch_toast_slice`: how a value's pieces are found), `toast_internals.c`
//! (`toast_save_datum`: how they are kept).

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::pg::snapshot::Snapshot;

/// Rows without long values after which the scans end.
const PATIENCE: u32 = 16;
/// Where rows come more slowly, because something is computed for each, the scans end after each.
const SLOW: Duration = Duration::from_millis(1);

/// The values beside two tables.
///
/// Locks: ACCESS SHARE on the TOAST tables and their indexes, while it lives. A scan keeps a page of its
/// index pinned, on which a VACUUM would have to wait: so it goes from value to value only while these
/// follow soon.
pub(crate) struct ToastComparer<'s> {
    left: Pieces,
    right: Pieces,
    /// Those of the rows at hand that are to be compared.
    pairs: Vec<Pair>,
    /// Rows since there were any.
    idle: u32,
    /// When the last ones were compared.
    compared: Instant,
    snapshot: PhantomData<&'s Snapshot>,
}

/// Two values of the same length and compression, and where they lie.
struct Pair {
    values: [*mut pg_sys::varlena; 2],
    left: pg_sys::varatt_external,
    right: pg_sys::varatt_external,
}

impl<'s> ToastComparer<'s> {
    /// Nothing is opened before a value asks for it.
    pub(crate) fn new(snapshot: &'s Snapshot) -> Self {
        let pieces = || Pieces {
            // SAFETY: the context of the caller, who drops this before it is deleted.
            outer: unsafe { pg_sys::CurrentMemoryContext },
            snapshot: Box::new(toast_snapshot(snapshot)),
            open: None,
        };
        Self {
            left: pieces(),
            right: pieces(),
            pairs: Vec::new(),
            idle: 0,
            compared: Instant::now(),
            snapshot: PhantomData,
        }
    }

    /// Forgets the rows at hand.
    pub(crate) fn next_rows(&mut self) {
        self.pairs.clear();
        self.idle += 1;
        if self.idle == PATIENCE {
            self.rest();
        }
    }

    /// Ends the scans: nothing is asked for soon.
    pub(crate) fn rest(&mut self) {
        // SAFETY: scans of ours, with the resource owner under which they began.
        unsafe {
            self.left.end();
            self.right.end();
        }
    }

    /// Two values of the rows at hand, of which at least one is kept elsewhere: false where they surely
    /// differ, true where [`ToastComparer::same`] is to say it. None: they do not both lie beside their tables.
    ///
    /// # Safety
    /// Values without fixed length that may be fetched now, which stay where they are until the next rows.
    pub(crate) unsafe fn differ_or_wait(
        &mut self,
        values: [*mut pg_sys::varlena; 2],
    ) -> Option<bool> {
        // SAFETY: as the caller says.
        let (left, right) = unsafe { (pointer(values[0])?, pointer(values[1])?) };
        // Length with and without compression, and its method.
        let alike = (left.va_rawsize, left.va_extinfo) == (right.va_rawsize, right.va_extinfo);
        if alike {
            self.pairs.push(Pair { values, left, right });
        }
        Some(alike)
    }

    /// Whether all that waits has the same bytes. Fetches what is not found by its pieces.
    ///
    /// # Safety
    /// As for the values.
    pub(crate) unsafe fn same(&mut self) -> bool {
        if self.pairs.is_empty() {
            return true;
        }
        self.pairs.sort_unstable_by_key(|pair| pair.left.va_valueid.to_u32());
        let Self { left, right, pairs, .. } = self;
        let same = pairs.iter().all(|pair| {
            // SAFETY: as the caller says.
            let piecewise = unsafe { same_pieces((left, &pair.left), (right, &pair.right)) };
            piecewise.unwrap_or_else(|| {
                // SAFETY: as above; what is fetched is freed with the caller's memory.
                let [left, right] = pair.values.map(|value| unsafe { fetched(value) });
                left == right
            })
        });
        let last = std::mem::replace(&mut self.compared, Instant::now());
        self.idle = 0;
        if self.compared - last > SLOW {
            self.rest();
        }
        same
    }
}

/// None: not all pieces are found.
unsafe fn same_pieces(
    (left, ours): (&mut Pieces, &pg_sys::varatt_external),
    (right, theirs): (&mut Pieces, &pg_sys::varatt_external),
) -> Option<bool> {
    // SAFETY: errors unwind to the abort, which closes what is open. A piece stays where it is until the
    // next of its table is asked for.
    unsafe {
        if !left.has_open(ours) || !right.has_open(theirs) {
            // Both are free of pins while one waits for a lock.
            left.close();
            right.close();
            left.open(ours);
            right.open(theirs);
        }
        let size = (ours.va_extinfo & pg_sys::VARLENA_EXTSIZE_MASK) as usize;
        let (mut compared, mut number) = (0, 0);
        while compared < size {
            let (a, b) = (left.piece(ours, number)?, right.piece(theirs, number)?);
            if a.is_empty() || a.len() != b.len() {
                return None;
            }
            if a != b {
                return Some(false);
            }
            compared += a.len();
            number += 1;
        }
        (compared == size).then_some(true)
    }
}

/// The bytes of a value with its header, which says whether they are compressed.
unsafe fn fetched<'v>(value: *mut pg_sys::varlena) -> &'v [u8] {
    // SAFETY: a value that is kept elsewhere.
    unsafe {
        let value = pg_sys::detoast_external_attr(value);
        std::slice::from_raw_parts(value.cast::<u8>(), pgrx::varlena::varsize_any(value))
    }
}

/// The pieces of the values beside one table.
struct Pieces {
    /// Longer-lived than any row.
    outer: pg_sys::MemoryContext,
    snapshot: Box<pg_sys::SnapshotData>,
    open: Option<Open>,
}

struct Open {
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: Option<pg_sys::SysScanDesc>,
    /// What the scan needs lives here.
    memory: pg_sys::MemoryContext,
}

/// What a row of a TOAST table begins with; its bytes follow.
#[repr(C)]
struct Head {
    value: pg_sys::Oid,
    number: i32,
}

impl Pieces {
    /// A piece of a value, from 0, where they are asked for in their order. None: it is not found.
    unsafe fn piece<'p>(
        &mut self,
        value: &pg_sys::varatt_external,
        number: i32,
    ) -> Option<&'p [u8]> {
        // SAFETY: the context lives as long as the table is open.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.open.as_ref()?.memory);
            let mut found = self.next(value.va_valueid, number);
            if found.is_none() && number == 0 {
                self.begin(value.va_valueid);
                found = self.next(value.va_valueid, number);
            }
            pg_sys::MemoryContextSwitchTo(outer);
            found
        }
    }

    /// The scan's next row, if it is this piece.
    unsafe fn next<'p>(&mut self, value: pg_sys::Oid, number: i32) -> Option<&'p [u8]> {
        // SAFETY: rows of a TOAST table, none of whose columns is NULL; the last begins where an integer
        // may, whatever its own header, and is neither compressed nor kept elsewhere.
        unsafe {
            let scan = self.open.as_ref()?.scan?;
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let tuple = pg_sys::systable_getnext_ordered(scan, forward);
            if tuple.is_null() {
                self.end();
                return None;
            }
            let data = (*tuple).t_data.cast::<u8>().add(usize::from((*(*tuple).t_data).t_hoff));
            let head = data.cast::<Head>().read_unaligned();
            let bytes = data.add(size_of::<Head>()).cast::<pg_sys::varlena>();
            (head.value == value && head.number == number).then(|| {
                let size = pgrx::varlena::varsize_any_exhdr(bytes);
                std::slice::from_raw_parts(pgrx::varlena::vardata_any(bytes).cast(), size)
            })
        }
    }

    /// Begins a scan at a value.
    unsafe fn begin(&mut self, value: pg_sys::Oid) {
        // SAFETY: the key is copied; the snapshot lives as long as the scan.
        unsafe {
            self.end();
            let Some(open) = &mut self.open else { return };
            let mut key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyInit(
                &mut key,
                1,
                pg_sys::BTGreaterEqualStrategyNumber as u16,
                pg_sys::Oid::from(pg_sys::F_OIDGE),
                pg_sys::Datum::from(value),
            );
            let snapshot = &raw mut *self.snapshot;
            let scan =
                pg_sys::systable_beginscan_ordered(open.table, open.index, snapshot, 1, &mut key);
            open.scan = Some(scan);
        }
    }

    /// Ends the scan, if there is one: asked for more after its end, one would begin again.
    unsafe fn end(&mut self) {
        let Some(open) = &mut self.open else { return };
        if let Some(scan) = open.scan.take() {
            // SAFETY: a scan of `begin`; nothing else is kept in its memory.
            unsafe {
                pg_sys::systable_endscan_ordered(scan);
                pg_sys::MemoryContextReset(open.memory);
            }
        }
    }

    unsafe fn has_open(&self, value: &pg_sys::varatt_external) -> bool {
        // SAFETY: an open relation.
        self.open.as_ref().is_some_and(|open| unsafe { (*open.table).rd_id == value.va_toastrelid })
    }

    /// Opens the TOAST table of a value.
    unsafe fn open(&mut self, value: &pg_sys::varatt_external) {
        // SAFETY: a value that may be fetched: what is opened is what that would open.
        unsafe {
            let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let table = pg_sys::table_open(value.va_toastrelid, mode);
            let indexes = pg_sys::RelationGetIndexList(table);
            for number in 0..pg_sys::list_length(indexes) {
                let index = pg_sys::index_open(pg_sys::list_nth_oid(indexes, number), mode);
                // Beside it there may be one that is being built.
                if self.open.is_none() && (*(*index).rd_index).indisvalid {
                    let memory = pg_sys::AllocSetContextCreateInternal(
                        self.outer,
                        c"long values".as_ptr(),
                        pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                        pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                        pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
                    );
                    self.open = Some(Open { table, index, scan: None, memory });
                } else {
                    pg_sys::index_close(index, mode);
                }
            }
            pg_sys::list_free(indexes);
            if self.open.is_none() {
                pg_sys::table_close(table, mode);
            }
        }
    }

    unsafe fn close(&mut self) {
        // SAFETY: reverse order of `open`.
        unsafe {
            self.end();
            if let Some(open) = self.open.take() {
                let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
                pg_sys::MemoryContextDelete(open.memory);
                pg_sys::index_close(open.index, mode);
                pg_sys::table_close(open.table, mode);
            }
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: opened by us, with the resource owner that is current again here.
            unsafe { self.close() };
        }
    }
}

/// Where a value lies beside its table. None: it does not.
///
/// # Safety
/// A value of a column without fixed length.
pub(crate) unsafe fn pointer(value: *const pg_sys::varlena) -> Option<pg_sys::varatt_external> {
    // SAFETY: what says where it lies need not be aligned.
    unsafe {
        if !pgrx::varlena::varatt_is_1b_e(value) {
            return None;
        }
        let bytes = value.cast::<u8>();
        if u32::from(*bytes.add(1)) != pg_sys::vartag_external::VARTAG_ONDISK {
            return None;
        }
        Some(bytes.add(2).cast::<pg_sys::varatt_external>().read_unaligned())
    }
}

/// How the pieces of those rows are seen that a snapshot sees.
fn toast_snapshot(
    #[cfg_attr(
        any(feature = "pg17", feature = "pg18"),
        expect(unused_variables, reason = "they have no old_snapshot_threshold")
    )]
    snapshot: &Snapshot,
) -> pg_sys::SnapshotData {
    pg_sys::SnapshotData {
        snapshot_type: pg_sys::SnapshotType::SNAPSHOT_TOAST,
        // By these a server with old_snapshot_threshold knows that they may be gone.
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        // SAFETY: a registered snapshot.
        lsn: unsafe { (*snapshot.as_ptr()).lsn },
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        // SAFETY: as above.
        whenTaken: unsafe { (*snapshot.as_ptr()).whenTaken },
        ..pg_sys::SnapshotData::default()
    }
}
