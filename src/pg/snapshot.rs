//! Snapshots, and waiting for those that others hold.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use pgrx::pg_sys;

use crate::oid::RelationId;
use crate::pg::lock;

/// A registered snapshot: what one round of sync sees.
pub(crate) struct Snapshot(pg_sys::Snapshot);

impl Snapshot {
    /// What is committed now (under READ COMMITTED).
    pub(crate) fn now() -> Self {
        // SAFETY: inside a transaction; the registered copy belongs to the current resource
        // owner and is released in `drop`, or by the abort when an error unwinds.
        Self(unsafe { pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()) })
    }

    /// For SPI.
    pub(crate) fn as_ptr(&self) -> pg_sys::Snapshot {
        self.0
    }

    /// Whether another transaction had ended when the snapshot was taken, by commit or not.
    pub(crate) fn sees_the_end_of(&self, xid: pg_sys::TransactionId) -> bool {
        // SAFETY: a registered MVCC snapshot.
        !unsafe { pg_sys::XidInMVCCSnapshot(xid, self.0) }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: registered by us, with the resource owner that is current again here.
            unsafe { pg_sys::UnregisterSnapshot(self.0) };
        }
    }
}

/// Transactions of this database whose snapshots do not see transaction `xid` as finished.
///
/// Like CREATE INDEX CONCURRENTLY it leaves out vacuum and other databases, with them the walsenders of
/// standbys. The one that makes the first copy of a subscription is of this database, and counts. Those
/// that [`announce`] it do not: two of them would wait for each other.
pub(crate) fn holders_older_than(class: RelationId, xid: u64) -> Vec<Holder> {
    if xid == 0 {
        return Vec::new();
    }
    let flags = (pg_sys::PROC_IS_AUTOVACUUM | pg_sys::PROC_IN_VACUUM) as i32;
    let mut count = 0;
    // SAFETY: returns a palloc'd array of `count` entries; our own backend is left out.
    let holders: Vec<Holder> = unsafe {
        let list = pg_sys::GetCurrentVirtualXIDs(
            pg_sys::TransactionId::from(xid as u32),
            true,
            false,
            flags,
            &mut count,
        );
        (0..count as usize).map(|i| holder(&*list.add(i))).collect()
    };
    if holders.is_empty() {
        return holders;
    }
    let announced = announced(class);
    holders.into_iter().filter(|holder| !announced.contains(holder)).collect()
}

/// The number of a transaction with its epoch; it is not newer than the next one.
pub(crate) fn full(xid: pg_sys::TransactionId) -> u64 {
    // SAFETY: reads shared memory under its own lock.
    let next = unsafe { pg_sys::ReadNextFullTransactionId() }.value;
    next - u64::from((next as u32).wrapping_sub(xid.into_inner()))
}

/// What `xl_btree_reuse_page` is: it says which table has a page whose former content nobody may need any
/// more, and nothing else.
#[repr(C)]
struct ReusedPage {
    space: u32,
    database: u32,
    table: u32,
    block: u32,
    /// Low half first, whatever the alignment.
    horizon: [u32; 2],
    #[cfg(not(feature = "pg15"))]
    is_catalog: bool,
}

/// Makes standbys end, as patiently as they are set to, what reads there with a snapshot that does not see
/// transaction `xid` as finished, before they replay what comes after this: as for a page that is used again.
///
/// Returns the position in the WAL up to which a standby has to come; None where none is needed. The record is
/// sent with the next flush of the WAL.
///
/// Source: `nbtpage.c` (`_bt_log_reuse_page`: "this record only exists to provide a conflict point").
pub(crate) fn end_older_on_standbys(xid: u64) -> Option<u64> {
    const REUSE_PAGE: u8 = 0xD0;
    // SAFETY: a record without pages, whose form is the server's; it is copied into the WAL.
    unsafe {
        let replicates = pg_sys::wal_level >= pg_sys::WalLevel::WAL_LEVEL_REPLICA as i32;
        if xid == 0 || !replicates {
            return None;
        }
        let record = ReusedPage {
            space: pg_sys::MyDatabaseTableSpace.to_u32(),
            database: pg_sys::MyDatabaseId.to_u32(),
            table: pg_sys::RelationRelationId.to_u32(),
            block: 0,
            horizon: [xid as u32, (xid >> 32) as u32],
            #[cfg(not(feature = "pg15"))]
            is_catalog: false,
        };
        let size = std::mem::offset_of!(ReusedPage, horizon) + 8;
        #[cfg(not(feature = "pg15"))]
        let size = size + 1;
        pg_sys::XLogBeginInsert();
        pg_sys::XLogRegisterData((&raw const record).cast_mut().cast(), size as _);
        let end = pg_sys::XLogInsert(pg_sys::RmgrIds::RM_BTREE_ID as pg_sys::RmgrId, REUSE_PAGE);
        Some(end)
    }
}

/// Whether transactions may have taken over older snapshots, which others have exported.
///
/// Such a snapshot is older than the transaction that has it. The server keeps a file for each snapshot that
/// is exported, as long as the transaction that did it lives; so none was taken over while there is no file
/// and none has come or gone. Source: `snapmgr.c` (`ExportSnapshot`, `ImportSnapshot`).
pub(crate) struct Exports {
    changed: Option<SystemTime>,
    is_any: bool,
}

impl Exports {
    /// In the data directory, where the server runs.
    const DIRECTORY: &str = "pg_snapshots";
    /// A file system may not tell moments apart that are nearer to each other.
    const TICK: Duration = Duration::from_millis(50);

    /// How it is now.
    pub(crate) fn now() -> Self {
        let changed = Self::changed();
        let is_fresh = changed.and_then(|at| at.elapsed().ok()).is_none_or(|age| age < Self::TICK);
        // One that cannot be read counts as full.
        let is_any = std::fs::read_dir(Self::DIRECTORY).map_or(true, |mut files| {
            files.any(|file| file.is_ok_and(|f| Self::is_ours(&f.path())))
        });
        Self { changed, is_any: is_any || is_fresh }
    }

    /// Whether a snapshot may have been taken over since.
    pub(crate) fn may_be_imported(&self) -> bool {
        self.is_any || self.changed != Self::changed()
    }

    fn changed() -> Option<SystemTime> {
        std::fs::metadata(Self::DIRECTORY).and_then(|d| d.modified()).ok()
    }

    /// Whether a file is not that of another database.
    fn is_ours(file: &Path) -> bool {
        // SAFETY: reads a global.
        let ours = unsafe { pg_sys::MyDatabaseId }.to_u32().to_string();
        let Ok(text) = std::fs::read_to_string(file) else { return true };
        text.lines().find_map(|line| line.strip_prefix("dbid:")).is_none_or(|of| of == ours)
    }
}

/// A transaction: its backend, and its number there.
pub(crate) type Holder = (i32, u32);

fn holder(transaction: &pg_sys::VirtualTransactionId) -> Holder {
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let backend = transaction.backendId;
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    let backend = transaction.procNumber;
    (backend, transaction.localTransactionId)
}

/// The lock by which [`announce`] is seen. `class` is a table whose object locks nobody else uses.
fn tag(class: RelationId) -> pg_sys::LOCKTAG {
    // Beside the class's other object locks, whose part is 0. blockers.sql looks for it too.
    const ANNOUNCEMENT: u16 = 1;
    lock::tag(class, 0, ANNOUNCEMENT)
}

/// While it lives, others know that our transaction reads nothing with its snapshot any more. For a call
/// that is all of its transaction ([`statement::is_one_call`]), and only while it reads nothing itself: what
/// it reads later has snapshots that can be too old for another.
///
/// [`statement::is_one_call`]: crate::pg::statement::is_one_call
pub(crate) struct Announcement(pg_sys::LOCKTAG);

/// Makes it; `class` is a table whose object locks nobody else uses.
pub(crate) fn announce(class: RelationId) -> Announcement {
    let tag = tag(class);
    // SAFETY: takes a lock that nobody ever has in another mode.
    unsafe { pg_sys::LockAcquire(&tag, pg_sys::ShareLock as pg_sys::LOCKMODE, false, false) };
    Announcement(tag)
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: taken by us, with the resource owner that is current again here.
            unsafe {
                pg_sys::LockRelease(&self.0, pg_sys::ShareLock as pg_sys::LOCKMODE, false);
            }
        }
    }
}

fn announced(class: RelationId) -> HashSet<Holder> {
    let mut count = 0;
    // SAFETY: returns a palloc'd array of `count` entries, without our own.
    unsafe {
        let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
        let list = pg_sys::GetLockConflicts(&tag(class), mode, &mut count);
        (0..count as usize).map(|i| holder(&*list.add(i))).collect()
    }
}
