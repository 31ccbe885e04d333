//! Writing into rows which transactions made and ended them.
//!
//! Rows that our own transaction has written, with their index entries, are given the numbers of the
//! transactions that made the same versions in another table. From then on a snapshot of any age sees in
//! this table what it sees in the other.
//!
//! What was stamped stays when our transaction is rolled back. So it is the last thing that is done with
//! these rows; and rows that belong together, as the old one and the new one of a key, are stamped by one
//! record of the WAL, so that they are as before or as after it, also when the server crashes in between.
//!
//! WAL: generic records, a page or a part of it each; they replay everywhere, and no decoder reads them. A
//! transaction's own commit record lies before them, so that saying "committed" on the page is safe even
//! where commits are asynchronous.
//!
//! Sources: `heapam.c` (`heap_insert`, `heap_delete`: which bits are set), `generic_xlog.c`.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;

use crate::heap::versions::Begun;
use crate::heap::versions::{Ended, Xid};
use crate::oid::{BlockNumber, RelationId};
use crate::pg::tid::{Place, pointer};

/// What is written into a row of our own transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Nobody is to see it, in no snapshot: it is there in other versions. With the transaction that made it,
    /// where it may be gone already, and another row in its place.
    Never(Option<Xid>),
    /// It is seen by those who see that it was begun, and not that it was ended.
    Seen {
        /// Who made it.
        begun: Begun,
        /// Everybody sees who made it: the number is older than what may stand in the table.
        frozen: bool,
        /// Who ended it.
        ended: Ended,
        /// The version that took its place, to which those come who wanted to change this one.
        next: Option<Place>,
        /// Who only keeps others from changing the key may lock it although it was ended.
        changes_key: bool,
    },
}

/// As many pages as a generic record has at most.
const MAX_PAGES: usize = pg_sys::MAX_GENERIC_XLOG_PAGES as usize;

/// Rows of a table that are stamped at once, by their blocks.
type Pages = BTreeMap<BlockNumber, Vec<(u16, Stamp)>>;

/// Stamps rows of a table, which the caller has locked against all others. The rows' pages are not marked
/// all-visible: our transaction has written to each of them.
pub(crate) fn stamp(table: RelationId, rows: impl IntoIterator<Item = (Place, Stamp)>) {
    stamp_together(table, rows.into_iter().map(|row| vec![row]));
}

/// The same for groups of rows, each of which is stamped by one record, unless it has more pages than that
/// can have: then what nobody is to see goes first, so that a row may be missing if the server crashes in
/// between, and none is there twice.
pub(crate) fn stamp_together(
    table: RelationId,
    groups: impl IntoIterator<Item = Vec<(Place, Stamp)>>,
) {
    let mut pages = Pages::new();
    let mut records: Vec<Pages> = Vec::new();
    // Neighbours share records: by the block that was written last, which has more of the rows.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_cached_key(|group| group.iter().map(|((block, _), _)| *block).max());
    for group in groups {
        let blocks: BTreeSet<BlockNumber> = group.iter().map(|((block, _), _)| *block).collect();
        let new = blocks.iter().filter(|block| !pages.contains_key(block)).count();
        if pages.len() + new > MAX_PAGES {
            records.push(std::mem::take(&mut pages));
        }
        if blocks.len() <= MAX_PAGES {
            add(&mut pages, group);
            continue;
        }
        let (first, then): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|(_, stamp)| matches!(stamp, Stamp::Never(_)));
        for rows in [first, then] {
            let mut each = Pages::new();
            add(&mut each, rows);
            records.extend(each.into_iter().map(|page| Pages::from([page])));
        }
    }
    records.push(pages);
    records.retain(|record| !record.is_empty());
    if !records.is_empty() {
        write_records(table, records);
    }
}

fn add(pages: &mut Pages, rows: Vec<(Place, Stamp)>) {
    for ((block, line), stamp) in rows {
        pages.entry(block).or_default().push((line, stamp));
    }
}

fn write_records(table: RelationId, records: Vec<Pages>) {
    let mode = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the table is locked, and no page is changed by anybody else. Buffers are locked in the order
    // of their blocks while their copies are changed, and given back; errors on the way unwind to the abort,
    // which releases them.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        let command = pg_sys::GetCurrentCommandId(true);
        for record in records {
            let mut buffers = Vec::new();
            let state = pg_sys::GenericXLogStart(relation);
            for (block, lines) in record {
                let buffer = pg_sys::ReadBuffer(relation, block);
                pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_EXCLUSIVE as i32);
                buffers.push(buffer);
                let page = pg_sys::GenericXLogRegisterBuffer(state, buffer, 0);
                for (line, stamp) in lines {
                    write(page, line, stamp, command);
                }
            }
            pg_sys::GenericXLogFinish(state);
            for buffer in buffers {
                pg_sys::UnlockReleaseBuffer(buffer);
            }
        }
        pg_sys::table_close(relation, mode);
        pg_sys::CommandCounterIncrement();
    }
}

/// Stamps a row on a page.
unsafe fn write(page: pg_sys::Page, line: u16, stamp: Stamp, command: pg_sys::CommandId) {
    // SAFETY: the copy of a page that has a tuple there.
    unsafe {
        let item = pg_sys::PageGetItemId(page, line);
        // A row that nobody sees may have been pruned meanwhile; new ones cannot.
        if (*item).lp_flags() != pg_sys::LP_NORMAL {
            return;
        }
        let header: pg_sys::HeapTupleHeader =
            page.cast::<u8>().add((*item).lp_off() as usize).cast();
        if matches!(stamp, Stamp::Never(Some(by)) if by != (*header).t_choice.t_heap.t_xmin) {
            return;
        }
        write_header(&mut *header, stamp, command);
        if let Stamp::Seen { ended: Ended::By(xid), .. } = stamp {
            let known = &raw mut (*page.cast::<pg_sys::PageHeaderData>()).pd_prune_xid;
            if *known == pg_sys::InvalidTransactionId || pg_sys::TransactionIdPrecedes(xid, *known)
            {
                *known = xid;
            }
        }
    }
}

/// Changes a tuple's header.
fn write_header(
    header: &mut pg_sys::HeapTupleHeaderData,
    stamp: Stamp,
    command: pg_sys::CommandId,
) {
    const BEGUN: u32 = pg_sys::HEAP_XMIN_COMMITTED | pg_sys::HEAP_XMIN_INVALID;
    const ENDED: u32 = pg_sys::HEAP_XMAX_COMMITTED
        | pg_sys::HEAP_XMAX_INVALID
        | pg_sys::HEAP_XMAX_IS_MULTI
        | pg_sys::HEAP_XMAX_EXCL_LOCK
        | pg_sys::HEAP_XMAX_KEYSHR_LOCK
        | pg_sys::HEAP_XMAX_LOCK_ONLY
        | pg_sys::HEAP_COMBOCID;
    let mut bits = u32::from(header.t_infomask);
    // SAFETY: both views of the header's first fields are those of a tuple in a table.
    let times = unsafe { &mut header.t_choice.t_heap };
    let Stamp::Seen { begun, frozen, ended, next, changes_key } = stamp else {
        bits = bits & !BEGUN | pg_sys::HEAP_XMIN_INVALID;
        times.t_xmin = pg_sys::InvalidTransactionId;
        header.t_infomask = bits as u16;
        return;
    };
    bits &= !(BEGUN | ENDED);
    // The number also of a frozen row tells whose it is.
    if let Begun::By(xid) = begun {
        times.t_xmin = xid;
        bits |= pg_sys::HEAP_XMIN_COMMITTED;
    }
    if frozen || begun == Begun::Frozen {
        bits |= pg_sys::HEAP_XMIN_FROZEN;
    }
    match ended {
        Ended::Never => {
            times.t_xmax = pg_sys::InvalidTransactionId;
            bits |= pg_sys::HEAP_XMAX_INVALID;
        }
        Ended::By(xid) => {
            times.t_xmax = xid;
            bits |= pg_sys::HEAP_XMAX_COMMITTED;
        }
        Ended::Ours => {
            // SAFETY: inside a transaction, which has a number.
            times.t_xmax = unsafe { pg_sys::GetCurrentTransactionId() };
            times.t_field3.t_cid = command;
        }
    }
    // Without a next version it counts as deleted.
    if ended != Ended::Never && (changes_key || next.is_none()) {
        header.t_infomask2 |= pg_sys::HEAP_KEYS_UPDATED as u16;
    } else {
        header.t_infomask2 &= !(pg_sys::HEAP_KEYS_UPDATED as u16);
    }
    if let Some(next) = next {
        header.t_ctid = pointer(next);
    }
    header.t_infomask = bits as u16;
}
