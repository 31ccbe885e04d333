//! The settings `bluegreen.*`. All work without preload.

use std::ffi::{CStr, CString};
use std::ops::RangeInclusive;
use std::time::Duration;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::model::settings::Settings;
use crate::pg::security;

static BATCH_TIME: GucSetting<i32> = GucSetting::<i32>::new(200);
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(200);
static RETRY_FOR: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static MAX_FINAL_DRAIN: GucSetting<i32> = GucSetting::<i32>::new(50);
static WAIT_FOR_SNAPSHOTS: GucSetting<bool> = GucSetting::<bool>::new(true);
static VERIFY_BEFORE_SWAP: GucSetting<bool> = GucSetting::<bool>::new(true);
static SKIP_DAMAGED_ROWS: GucSetting<bool> = GucSetting::<bool>::new(false);
static ALLOW_SINGLE_TRANSACTION: GucSetting<bool> = GucSetting::<bool>::new(false);
static COPY_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(0);
static VACUUM: GucSetting<bool> = GucSetting::<bool>::new(true);
static NICE: GucSetting<f64> = GucSetting::<f64>::new(0.0);
static MAX_REPLICA_LAG: GucSetting<i32> = GucSetting::<i32>::new(0);
static REPLICAS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static MAX_WAL_RATE: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_SLOT_LAG: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_ACTIVE_BACKENDS: GucSetting<i32> = GucSetting::<i32>::new(0);
static MIN_FREE_SPACE: GucSetting<i32> = GucSetting::<i32>::new(1024);
static SCHEMA_SUFFIX: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"_blue"));

/// Defines them, and reserves their prefix.
// Long: an entry for each setting.
pub(crate) fn define() {
    number(
        c"bluegreen.batch_time",
        c"How long a batch of copy, purge or sync should take.",
        c"Batches grow and shrink to take about this long; no snapshot of ours is older.",
        &BATCH_TIME,
        1..=60_000,
        GucFlags::UNIT_MS,
    );
    number(
        c"bluegreen.lock_timeout",
        c"The longest that one try for the swap's locks may wait.",
        c"Tries begin at 10 ms and grow to this; writers queue behind a try for no longer.",
        &LOCK_TIMEOUT,
        1..=60_000,
        GucFlags::UNIT_MS,
    );
    number(
        c"bluegreen.retry_for",
        c"How long tries for locks are repeated.",
        c"Also the longest wait for snapshots that are older than the last large sync.",
        &RETRY_FOR,
        0..=24 * 3600 * 1000,
        GucFlags::UNIT_MS,
    );
    number(
        c"bluegreen.max_final_drain",
        c"The longest sync inside the swap's own transaction.",
        c"With more changes than fit, the swap refuses and says who should sync.",
        &MAX_FINAL_DRAIN,
        0..=60_000,
        GucFlags::UNIT_MS,
    );
    number(
        c"bluegreen.max_replica_lag",
        c"The longest that a standby may be behind before copy, purge and sync pause.",
        c"As pg_stat_replication and our own look at the WAL tell; 0 is no limit.",
        &MAX_REPLICA_LAG,
        0..=i32::MAX,
        GucFlags::UNIT_MS,
    );
    define_limits();
    let switch = |name, what, why, setting| {
        let flags = GucFlags::default();
        GucRegistry::define_bool_guc(name, what, why, setting, GucContext::Userset, flags);
    };
    switch(
        c"bluegreen.wait_for_snapshots",
        c"Wait before the swap for snapshots older than the last large sync.",
        c"Switched off, transactions that are older may read stale rows after the swap.",
        &WAIT_FOR_SNAPSHOTS,
    );
    switch(
        c"bluegreen.verify_before_swap",
        c"CALL bg_run(table, 'swapped') verifies the copy before it swaps.",
        c"What differs stops it: see bg_differences().",
        &VERIFY_BEFORE_SWAP,
    );
    switch(
        c"bluegreen.skip_damaged_rows",
        c"Leave rows of damaged pages and rows whose long values are lost out of the copy.",
        c"Each is in bg_misfits() with its block, set aside.",
        &SKIP_DAMAGED_ROWS,
    );
    switch(
        c"bluegreen.allow_single_transaction",
        c"Allow a filled table to be prepared, copied and swapped in one transaction.",
        c"Older transactions would read it empty; only where nobody else uses the database.",
        &ALLOW_SINGLE_TRANSACTION,
    );
    switch(
        c"bluegreen.vacuum",
        c"Vacuum and freeze the new table after the copy, before its indexes are built.",
        c"By a background worker; needs a free one of max_worker_processes.",
        &VACUUM,
    );
    GucRegistry::define_string_guc(
        c"bluegreen.schema_suffix",
        c"What the blue schema's name adds to the name of the source schema.",
        c"public and _blue give public_blue.",
        &SCHEMA_SUFFIX,
        GucContext::Userset,
        GucFlags::default(),
    );
    crate::pg::settings::reserve_prefix();
}

/// What bounds the load that copy, purge and sync put on the server.
fn define_limits() {
    number(
        c"bluegreen.copy_workers",
        c"Processes that copy a table at the same time, the calling session counted.",
        c"Those beside the session are background workers; 0 is half the processors, at most 4.",
        &COPY_WORKERS,
        0..=64,
        GucFlags::default(),
    );
    number(
        c"bluegreen.max_wal_rate",
        c"WAL that copy, purge and sync of a deployment may write in a second.",
        c"0 is no limit.",
        &MAX_WAL_RATE,
        0..=i32::MAX,
        GucFlags::UNIT_KB,
    );
    number(
        c"bluegreen.max_slot_lag",
        c"WAL that a replication slot may keep before copy, purge and sync pause.",
        c"0 is no limit.",
        &MAX_SLOT_LAG,
        0..=i32::MAX,
        GucFlags::UNIT_MB,
    );
    number(
        c"bluegreen.max_active_backends",
        c"Client sessions that may be active before copy, purge and sync pause.",
        c"0 is no limit.",
        &MAX_ACTIVE_BACKENDS,
        0..=i32::MAX,
        GucFlags::default(),
    );
    number(
        c"bluegreen.min_free_space",
        c"Free space below which copy, purge, sync and index builds pause.",
        c"On the volumes of pg_wal and of the tablespaces of table, indexes and database; 0 is no limit.",
        &MIN_FREE_SPACE,
        0..=i32::MAX,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_float_guc(
        c"bluegreen.nice",
        c"Rest after each batch, in multiples of the time that the batch took.",
        c"0 never rests; 1 works half of the time.",
        &NICE,
        0.0,
        1000.0,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"bluegreen.replicas",
        c"The standbys that bluegreen.max_replica_lag counts, by application_name.",
        c"Separated by commas; empty counts all. One that is named and not connected stops the work.",
        &REPLICAS,
        GucContext::Userset,
        GucFlags::default(),
    );
}

/// Defines a setting that is a whole number; `flags` name its unit.
// Parameters: what the server asks of a setting.
fn number(
    name: &'static CStr,
    what: &'static CStr,
    why: &'static CStr,
    setting: &'static GucSetting<i32>,
    range: RangeInclusive<i32>,
    flags: GucFlags,
) {
    let (least, most) = range.into_inner();
    GucRegistry::define_int_guc(name, what, why, setting, least, most, GucContext::Userset, flags);
}

/// Half of the processors, at most 4.
fn usual_copy_workers() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors / 2).unwrap_or(1).clamp(1, 4)
}

/// The values now, with the arguments of a call put over them.
pub(crate) fn read(lock_timeout: Option<Duration>, retry_for: Option<Duration>) -> Settings {
    let ms = |setting: &GucSetting<i32>| {
        Duration::from_millis(u64::try_from(setting.get()).unwrap_or_default())
    };
    let text = |setting: &GucSetting<Option<CString>>| {
        setting.get().map(|s| s.to_string_lossy().into_owned())
    };
    Settings {
        batch_time: ms(&BATCH_TIME),
        lock_timeout: lock_timeout.unwrap_or_else(|| ms(&LOCK_TIMEOUT)),
        retry_for: retry_for.unwrap_or_else(|| ms(&RETRY_FOR)),
        max_final_drain: ms(&MAX_FINAL_DRAIN),
        wait_for_snapshots: WAIT_FOR_SNAPSHOTS.get(),
        verify_before_swap: VERIFY_BEFORE_SWAP.get(),
        skip_damaged_rows: SKIP_DAMAGED_ROWS.get(),
        allow_single_transaction: ALLOW_SINGLE_TRANSACTION.get(),
        schema_suffix: text(&SCHEMA_SUFFIX).unwrap_or_else(|| "_blue".to_owned()),
        copy_workers: match u32::try_from(COPY_WORKERS.get()) {
            Ok(workers) if workers > 0 => workers,
            _ => usual_copy_workers(),
        },
        vacuum: VACUUM.get(),
        nice: NICE.get(),
        max_replica_lag: ms(&MAX_REPLICA_LAG),
        replicas: text(&REPLICAS)
            .unwrap_or_default()
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect(),
        max_wal_rate: i64::from(MAX_WAL_RATE.get()) << 10,
        max_slot_lag: i64::from(MAX_SLOT_LAG.get()) << 20,
        max_active_backends: MAX_ACTIVE_BACKENDS.get().into(),
        min_free_space: i64::from(MIN_FREE_SPACE.get()) << 20,
        maintenance: security::maintenance_settings(),
    }
}
