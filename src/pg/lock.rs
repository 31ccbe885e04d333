//! Locks: of relations, functions and objects, and for a bounded time.

use std::time::{Duration, Instant};

use pgrx::pg_sys;

use crate::error::Result;
use crate::oid::{FunctionId, RelationId};
use crate::pg::security::{self, SettingsLevel};
use crate::pg::xact::{self, SubtransactionError};

/// Modes that we use; the server's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Reading.
    AccessShare,
    /// VACUUM, ANALYZE: keeps them out, and lets everyone read and write.
    ShareUpdateExclusive,
    /// CREATE TRIGGER: keeps writers out.
    ShareRowExclusive,
    /// SET SCHEMA, DROP: keeps everyone out.
    AccessExclusive,
}

impl Mode {
    fn raw(self) -> pg_sys::LOCKMODE {
        (match self {
            Mode::AccessShare => pg_sys::AccessShareLock,
            Mode::ShareUpdateExclusive => pg_sys::ShareUpdateExclusiveLock,
            Mode::ShareRowExclusive => pg_sys::ShareRowExclusiveLock,
            Mode::AccessExclusive => pg_sys::AccessExclusiveLock,
        }) as pg_sys::LOCKMODE
    }
}

/// Locks a relation (also a sequence) until the end of the transaction; waits as lock_timeout says.
pub(crate) fn relation(oid: RelationId, mode: Mode) {
    // SAFETY: takes a lock; the OID need not exist.
    unsafe { pg_sys::LockRelationOid(pg_sys::Oid::from(oid), mode.raw()) };
}

/// Locks relations one after the other.
pub(crate) fn relations(relations: impl IntoIterator<Item = RelationId>, mode: Mode) {
    relations.into_iter().for_each(|oid| relation(oid, mode));
}

/// Locks a function against ALTER, DROP and COMMENT until the end of the transaction.
pub(crate) fn function(oid: FunctionId) {
    // SAFETY: takes a lock; the OID need not exist.
    unsafe {
        pg_sys::LockDatabaseObject(
            pg_sys::ProcedureRelationId,
            pg_sys::Oid::from(oid),
            0,
            pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// Locks a relation if nobody stands in the way.
pub(crate) fn relation_at_once(oid: RelationId, mode: Mode) -> bool {
    // SAFETY: takes a lock or not; the OID need not exist.
    unsafe { pg_sys::ConditionalLockRelationOid(pg_sys::Oid::from(oid), mode.raw()) }
}

/// How long lock_timeout lets a statement wait.
pub(crate) fn timeout() -> Option<Duration> {
    // SAFETY: reads a global.
    let milliseconds = unsafe { pg_sys::LockTimeout };
    u64::try_from(milliseconds).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}

/// No lock is waited for longer than `limit` while the guard lives.
pub(crate) fn limited(limit: Duration) -> Result<SettingsLevel> {
    let level = SettingsLevel::open();
    security::set("deadlock_timeout", &format!("{}ms", (limit.as_millis() / 2).clamp(1, 1000)))?;
    security::set("lock_timeout", &format!("{}ms", limit.as_millis().max(1)))?;
    Ok(level)
}

/// The tag of an object lock, filled as SET_LOCKTAG_OBJECT does. `table` is one whose object locks nobody
/// else uses; `part` keeps purposes apart.
pub(crate) fn tag(table: RelationId, number: u32, part: u16) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: reads a global.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: table.get(),
        locktag_field3: number,
        locktag_field4: part,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}

/// How an object lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectMode {
    /// Beside others who share it.
    Share,
    /// Beside nobody.
    Exclusive,
}

/// Takes an object lock until the end of the transaction; waits as lock_timeout says.
pub(crate) fn object(tag: &pg_sys::LOCKTAG, mode: ObjectMode) {
    let mode = match mode {
        ObjectMode::Share => pg_sys::ShareLock,
        ObjectMode::Exclusive => pg_sys::ExclusiveLock,
    };
    // SAFETY: takes a lock.
    unsafe { pg_sys::LockAcquire(tag, mode as pg_sys::LOCKMODE, false, false) };
}

/// Locks all of `relations` in their order, within `limit` for the whole set. Runs in the caller's
/// subtransaction. deadlock_timeout is set below the limit, or autovacuum would never give way.
/// Returns when the first of them was had: from then on others wait for us.
pub(crate) fn all_within(relations: &[(RelationId, Mode)], limit: Duration) -> Result<Instant> {
    let end = Instant::now() + limit;
    let _level = limited(limit)?;
    let mut first = None;
    for (oid, mode) in relations {
        let left = end.saturating_duration_since(Instant::now()).as_millis().max(1);
        security::set("lock_timeout", &format!("{left}ms"))?;
        relation(*oid, *mode);
        first.get_or_insert_with(Instant::now);
    }
    Ok(first.unwrap_or_else(Instant::now))
}

/// `predicate_internals.h`: what the server gives of its predicate locks.
#[repr(C)]
struct PredicateLocks {
    count: std::ffi::c_int,
    /// Database, relation, page and line pointer of each.
    targets: *const [u32; 4],
    transactions: *const std::ffi::c_void,
}

unsafe extern "C-unwind" {
    // storage/predicate_internals.h is not among pgrx's headers; the symbol is exported by every server.
    fn GetPredicateLockStatusData() -> *const PredicateLocks;
}

/// Whether a SERIALIZABLE transaction has read a table or one of its indexes. It may have committed: what it
/// read counts as long as transactions run that overlap with it. The caller keeps new readers out.
pub(crate) fn was_read_serializably(table: RelationId) -> bool {
    // SAFETY: the list of indexes is a copy; what the server gives is allocated in the current memory
    // context, with as many targets as it says.
    unsafe {
        let locks = pgrx::pg_sys::ffi::pg_guard_ffi_boundary(|| GetPredicateLockStatusData());
        let count = usize::try_from((*locks).count).unwrap_or_default();
        if count == 0 {
            return false;
        }
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        let indexes = pg_sys::RelationGetIndexList(relation);
        let mut relations = vec![table.get()];
        for number in 0..pg_sys::list_length(indexes) {
            relations.push(pg_sys::list_nth_oid(indexes, number).to_u32());
        }
        pg_sys::list_free(indexes);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        let database = pg_sys::MyDatabaseId.to_u32();
        std::slice::from_raw_parts((*locks).targets, count)
            .iter()
            .any(|[of, relation, ..]| *of == database && relations.contains(relation))
    }
}

/// Growing tries: each in a subtransaction, from 10 ms up to `longest`, with rests between, until
/// `until`. `attempt` gets the limit of the try. Nothing is held between tries.
pub(crate) fn retry<T>(
    longest: Duration,
    until: Instant,
    mut attempt: impl FnMut(Duration) -> Result<T>,
) -> std::result::Result<T, SubtransactionError> {
    let mut limit = Duration::from_millis(10).min(longest);
    let mut rest = Duration::from_millis(5);
    loop {
        match xact::subtransaction(|| attempt(limit)) {
            Ok(value) => return Ok(value),
            Err(caught) if caught.is_lock_failure() && Instant::now() + rest < until => {
                xact::sleep(jitter(rest));
                limit = (limit * 2).min(longest);
                rest = (rest * 3 / 2).min(Duration::from_secs(1));
            }
            Err(caught) => return Err(caught),
        }
    }
}

/// Half to one and a half of `rest`, so that two who collide do not collide again.
fn jitter(rest: Duration) -> Duration {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    rest / 2 + rest.mul_f64(f64::from(nanos.subsec_nanos() % 1000) / 1000.0)
}
