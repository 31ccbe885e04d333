//! The settings `bluegreen.*`. All work without preload.

use std::ffi::CString;
use std::time::Duration;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::model::settings::Settings;

static BATCH_TIME: GucSetting<i32> = GucSetting::<i32>::new(200);
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(200);
static RETRY_FOR: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static MAX_FINAL_DRAIN: GucSetting<i32> = GucSetting::<i32>::new(50);
static WAIT_FOR_SNAPSHOTS: GucSetting<bool> = GucSetting::<bool>::new(true);
static VERIFY_BEFORE_SWAP: GucSetting<bool> = GucSetting::<bool>::new(true);
static ALLOW_SINGLE_TRANSACTION: GucSetting<bool> = GucSetting::<bool>::new(false);
static SCHEMA_SUFFIX: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"_blue"));

/// Defines them, and reserves their prefix.
pub fn define() {
    let milliseconds = |name, what, why, setting, least, most| {
        let flags = GucFlags::UNIT_MS;
        GucRegistry::define_int_guc(
            name,
            what,
            why,
            setting,
            least,
            most,
            GucContext::Userset,
            flags,
        );
    };
    milliseconds(
        c"bluegreen.batch_time",
        c"How long a batch of copy, purge or sync should take.",
        c"Batches grow and shrink to take about this long; no snapshot of ours is older.",
        &BATCH_TIME,
        1,
        60_000,
    );
    milliseconds(
        c"bluegreen.lock_timeout",
        c"The longest that one try for the swap's locks may wait.",
        c"Tries begin at 10 ms and grow to this; writers queue behind a try for no longer.",
        &LOCK_TIMEOUT,
        1,
        60_000,
    );
    milliseconds(
        c"bluegreen.retry_for",
        c"How long tries for locks are repeated.",
        c"Also the longest wait for snapshots that are older than the last sync.",
        &RETRY_FOR,
        0,
        24 * 3600 * 1000,
    );
    milliseconds(
        c"bluegreen.max_final_drain",
        c"The longest sync inside the swap's own transaction.",
        c"With more changes than fit, the swap refuses and says who should sync.",
        &MAX_FINAL_DRAIN,
        0,
        60_000,
    );
    let switch = |name, what, why, setting| {
        let flags = GucFlags::default();
        GucRegistry::define_bool_guc(name, what, why, setting, GucContext::Userset, flags);
    };
    switch(
        c"bluegreen.wait_for_snapshots",
        c"Wait before the swap for snapshots older than the last sync.",
        c"Switched off, transactions that are older may read stale rows after the swap.",
        &WAIT_FOR_SNAPSHOTS,
    );
    switch(
        c"bluegreen.verify_before_swap",
        c"CALL bg_run(table, 'swapped') verifies the copy before it swaps.",
        c"Has no effect in this version.",
        &VERIFY_BEFORE_SWAP,
    );
    switch(
        c"bluegreen.allow_single_transaction",
        c"Allow a filled table to be prepared, copied and swapped in one transaction.",
        c"Older transactions would read it empty; only where nobody else uses the database.",
        &ALLOW_SINGLE_TRANSACTION,
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

/// The values now, with the arguments of a call put over them.
pub fn read(lock_timeout: Option<Duration>, retry_for: Option<Duration>) -> Settings {
    let ms = |setting: &GucSetting<i32>| {
        Duration::from_millis(u64::try_from(setting.get()).unwrap_or_default())
    };
    Settings {
        batch_time: ms(&BATCH_TIME),
        lock_timeout: lock_timeout.unwrap_or_else(|| ms(&LOCK_TIMEOUT)),
        retry_for: retry_for.unwrap_or_else(|| ms(&RETRY_FOR)),
        max_final_drain: ms(&MAX_FINAL_DRAIN),
        wait_for_snapshots: WAIT_FOR_SNAPSHOTS.get(),
        allow_single_transaction: ALLOW_SINGLE_TRANSACTION.get(),
        schema_suffix: SCHEMA_SUFFIX
            .get()
            .map_or_else(|| "_blue".to_owned(), |s| s.to_string_lossy().into_owned()),
    }
}
