//! Snapshots, and waiting for those that others hold.

use pgrx::pg_sys;

/// A registered snapshot: what one round of sync sees.
pub struct Snapshot(pg_sys::Snapshot);

impl Snapshot {
    /// What is committed now (under READ COMMITTED).
    pub fn now() -> Self {
        // SAFETY: inside a transaction; the registered copy belongs to the current resource
        // owner and is released in `drop`, or by the abort when an error unwinds.
        Self(unsafe { pg_sys::RegisterSnapshot(pg_sys::GetTransactionSnapshot()) })
    }

    /// For SPI.
    pub(crate) fn as_ptr(&self) -> pg_sys::Snapshot {
        self.0
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

/// A transaction of this database whose snapshot does not see transaction `xid` as finished.
///
/// Like CREATE INDEX CONCURRENTLY it leaves out vacuum and other databases, with them the walsenders of
/// standbys. The one that makes the first copy of a subscription is of this database, and counts.
pub fn holders_older_than(xid: u64) -> Vec<String> {
    if xid == 0 {
        return Vec::new();
    }
    let flags = (pg_sys::PROC_IS_AUTOVACUUM | pg_sys::PROC_IN_VACUUM) as i32;
    let mut count = 0;
    // SAFETY: returns a palloc'd array of `count` entries; our own backend is left out.
    unsafe {
        let list = pg_sys::GetCurrentVirtualXIDs(
            pg_sys::TransactionId::from(xid as u32),
            true,
            false,
            flags,
            &mut count,
        );
        (0..count as usize)
            .map(|i| {
                let vxid = *list.add(i);
                #[cfg(any(feature = "pg15", feature = "pg16"))]
                let backend = vxid.backendId;
                #[cfg(any(feature = "pg17", feature = "pg18"))]
                let backend = vxid.procNumber;
                format!("{}/{}", backend, vxid.localTransactionId)
            })
            .collect()
    }
}
