//! Multi-insert into a table that several processes fill at the same time.
//!
//! PostgreSQL 15 adds one page at a time under the table's extension lock, and holds it while it makes
//! room in its ring of buffers, for which WAL may have to be written: two processes are hardly faster
//! than one. PostgreSQL 16 and later add up to 64, so that the rows of several processes lie mixed, and a
//! comparison with the source has to look for them. Here a process adds as many as it is going to fill under one
//! lock, does nothing else under it, and fills them itself.
//!
//! Source: `hio.c` of PostgreSQL 15 to 18 (`RelationGetBufferForTuple`: which page it takes, when a tuple fits;
//! a page that is new to it is initialized).

use std::cell::Cell;

use pgrx::pg_sys;

/// The fork that holds the rows.
const MAIN: pg_sys::ForkNumber::Type = pg_sys::ForkNumber::MAIN_FORKNUM;
/// What `PageGetHeapFreeSpace` says of a page without rows.
const EMPTY: usize = pg_sys::BLCKSZ as usize
    - std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp)
    - size_of::<pg_sys::ItemIdData>();
/// Rows of up to this many bytes are neither moved out of line nor too large for a page that the
/// fillfactor leaves room on.
const PLAIN: usize = 2000;

/// Pages that are added at first; then twice as many each time, so that no more stay empty than were
/// filled.
const AT_FIRST: pg_sys::BlockNumber = 32;

/// Pages of a table that this process has added and not filled yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    /// The table's file, by its number.
    file: u32,
    next: pg_sys::BlockNumber,
    end: pg_sys::BlockNumber,
    /// How many were added with them.
    added: pg_sys::BlockNumber,
}

thread_local! {
    /// They outlive a batch that is rolled back, or one that fails often would fill the disk.
    static AHEAD: Cell<Option<Ahead>> = const { Cell::new(None) };
}

/// Where the next rows go.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// What is left of the page that was filled last.
    left: usize,
    /// Pages that are going to be needed.
    wanted: pg_sys::BlockNumber,
}

/// Rows for one page.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// It is another page than that of the group before.
    new_page: bool,
    rows: usize,
}

impl Room {
    /// For a transaction that begins to write; `wanted` is how many pages it and the next ones may fill.
    /// They are added at once, so that the rows of several processes lie mixed as little as can be, and
    /// the table is compared with its source side by side.
    ///
    /// # Safety
    ///
    /// The relation is open, and locked until the transaction ends: no VACUUM can cut off its end.
    pub(crate) unsafe fn open(relation: pg_sys::Relation, wanted: u32) -> Self {
        // SAFETY: the caller's promise.
        let (file, end) = unsafe { (file(relation), end(relation)) };
        AHEAD.set(AHEAD.get().filter(|ahead| ahead.file == file && ahead.end <= end));
        Self { left: 0, wanted }
    }

    /// Divides rows of these sizes into pages. None: some may not be written as they are.
    fn divide(&mut self, sizes: impl Iterator<Item = usize>, spared: usize) -> Option<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::new();
        for size in sizes {
            let size = size.next_multiple_of(pg_sys::MAXIMUM_ALIGNOF as usize);
            if size > PLAIN || size + spared > EMPTY / 2 {
                self.left = 0;
                return None;
            }
            let new_page = size + spared > self.left;
            if new_page {
                self.left = EMPTY;
            }
            self.left = self.left.saturating_sub(size + size_of::<pg_sys::ItemIdData>());
            match groups.last_mut() {
                Some(group) if !new_page => group.rows += 1,
                _ => groups.push(Group { new_page, rows: 1 }),
            }
        }
        Some(groups)
    }

    /// Writes the rows that the slots hold, as `heap_multi_insert`.
    ///
    /// # Safety
    ///
    /// The relation is open and locked; the slots hold heap tuples with its columns; `bulk` has written to
    /// no other relation.
    pub(crate) unsafe fn insert(
        &mut self,
        relation: pg_sys::Relation,
        slots: &mut [*mut pg_sys::TupleTableSlot],
        command: pg_sys::CommandId,
        bulk: pg_sys::BulkInsertState,
    ) {
        // SAFETY: a slot of heap tuples begins so, and holds one.
        let size = |slot: &*mut pg_sys::TupleTableSlot| unsafe {
            (*(*slot.cast::<pg_sys::HeapTupleTableSlot>()).tuple).t_len as usize
        };
        // SAFETY: the caller's promise.
        let groups = self.divide(slots.iter().map(size), unsafe { spared(relation) });
        let plain = groups.is_some();
        let groups = groups.unwrap_or_else(|| vec![Group { new_page: false, rows: slots.len() }]);
        // With the free space map the server adds many pages at once when processes wait for each other.
        let options = if plain { pg_sys::TABLE_INSERT_SKIP_FSM as i32 } else { 0 };
        // SAFETY: the caller's promise. The page that is named as the target is ours, and empty; were it
        // not, the server would look for another.
        unsafe {
            let mut from = 0;
            for group in groups {
                if group.new_page {
                    let page = next_page(relation, self.wanted);
                    self.wanted = self.wanted.saturating_sub(1);
                    pg_sys::ReleaseBulkInsertStatePin(bulk);
                    (*pg_sys::RelationGetSmgr(relation)).smgr_targblock = page;
                }
                let rows = &mut slots[from..from + group.rows];
                from += group.rows;
                pg_sys::heap_multi_insert(
                    relation,
                    rows.as_mut_ptr(),
                    rows.len() as i32,
                    command,
                    options,
                    bulk,
                );
            }
        }
    }
}

/// Bytes of a page that the fillfactor keeps free.
unsafe fn spared(relation: pg_sys::Relation) -> usize {
    // SAFETY: an open heap relation: its options, where it has some, are these.
    let options: *const pg_sys::StdRdOptions = unsafe { (*relation).rd_options.cast() };
    if options.is_null() {
        return 0;
    }
    // SAFETY: see above.
    let fillfactor = unsafe { (*options).fillfactor };
    pg_sys::BLCKSZ as usize * usize::try_from(100 - fillfactor).unwrap_or_default() / 100
}

/// An empty page of ours; where there is none, some are added, of which `wanted` may be needed.
unsafe fn next_page(
    relation: pg_sys::Relation,
    wanted: pg_sys::BlockNumber,
) -> pg_sys::BlockNumber {
    // SAFETY: the relation is open.
    let file = unsafe { file(relation) };
    let known = AHEAD.get().filter(|ahead| ahead.file == file);
    let ahead = known.filter(|ahead| ahead.next < ahead.end).unwrap_or_else(|| {
        let most = known.map_or(AT_FIRST, |ahead| ahead.added.saturating_mul(2));
        let added = wanted.max(AT_FIRST).min(most);
        // SAFETY: as above.
        let next = unsafe { add(relation, added) };
        Ahead { file, next, end: next + added, added }
    });
    AHEAD.set(Some(Ahead { next: ahead.next + 1, ..ahead }));
    ahead.next
}

/// The number of the table's file: another one after each TRUNCATE.
unsafe fn file(relation: pg_sys::Relation) -> u32 {
    // SAFETY: the relation is open.
    #[cfg(feature = "pg15")]
    return unsafe { (*relation).rd_node.relNode }.to_u32();
    // SAFETY: the relation is open.
    #[cfg(not(feature = "pg15"))]
    return unsafe { (*relation).rd_locator.relNumber }.to_u32();
}

/// The table's pages.
unsafe fn end(relation: pg_sys::Relation) -> pg_sys::BlockNumber {
    // SAFETY: the relation is open.
    unsafe { pg_sys::smgrnblocks(pg_sys::RelationGetSmgr(relation), MAIN) }
}

/// Adds empty pages to the table; the first one's number.
unsafe fn add(relation: pg_sys::Relation, count: pg_sys::BlockNumber) -> pg_sys::BlockNumber {
    let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: the relation is open. The lock is given back here, or by the abort where there is no room
    // on the disk; what was added by then is empty pages, as after a crash of any other extension.
    unsafe {
        pg_sys::LockRelationForExtension(relation, mode);
        let first = end(relation);
        extend(pg_sys::RelationGetSmgr(relation), first, count);
        pg_sys::UnlockRelationForExtension(relation, mode);
        first
    }
}

/// Writes empty pages behind the end, one by one. What `smgrzeroextend` of 16 and later only sets aside takes longer to
/// fill: with it one process copied two million rows on 18 in 2.7 s instead of 1.7 (ext4).
unsafe fn extend(file: pg_sys::SMgrRelation, first: pg_sys::BlockNumber, count: u32) {
    let mut empty = EmptyPage([0; pg_sys::BLCKSZ as usize]);
    for page in first..first + count {
        // SAFETY: the caller has the lock for it; the page is one of its length, aligned as the server wants it.
        unsafe { pg_sys::smgrextend(file, MAIN, page, empty.0.as_mut_ptr().cast(), false) };
    }
}

/// Aligned as for direct I/O (`PG_IO_ALIGN_SIZE`), which 16 and later ask of every page that is written.
#[repr(C, align(4096))]
struct EmptyPage([u8; pg_sys::BLCKSZ as usize]);

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(room: &mut Room, sizes: &[usize], spared: usize) -> Option<Vec<(bool, usize)>> {
        let groups = room.divide(sizes.iter().copied(), spared)?;
        Some(groups.into_iter().map(|group| (group.new_page, group.rows)).collect())
    }

    #[test]
    fn rows_fill_a_page_and_the_next_call_goes_on_there() {
        let mut room = Room::default();
        // 8 kB without the header are 8168 bytes; each row takes 1000 and a line pointer of 4.
        assert_eq!(pages(&mut room, &[997; 10], 0), Some(vec![(true, 8), (true, 2)]));
        assert_eq!(pages(&mut room, &[997; 7], 0), Some(vec![(false, 6), (true, 1)]));
    }

    #[test]
    fn a_fillfactor_keeps_room() {
        let mut room = Room::default();
        assert_eq!(pages(&mut room, &[1000; 4], 4096), None, "half of the page is not enough");
        assert_eq!(pages(&mut room, &[1000; 8], 2048), Some(vec![(true, 6), (true, 2)]));
    }

    #[test]
    fn a_row_that_may_go_out_of_line_is_left_to_the_server() {
        let mut room = Room::default();
        assert_eq!(pages(&mut room, &[100], 0), Some(vec![(true, 1)]));
        assert_eq!(pages(&mut room, &[100, 2500], 0), None);
        assert_eq!(
            pages(&mut room, &[100], 0),
            Some(vec![(true, 1)]),
            "the last page is not known"
        );
    }
}
