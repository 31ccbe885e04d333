//! `bluegreen.truncation`: a marker for each TRUNCATE of a table whose changes are logged.

use crate::error::Result;
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::{self, Arg, Options};

/// Takes the markers of a deployment that `snapshot` sees, or that are there now; how many there were.
pub(crate) fn take(deployment: i64, snapshot: Option<&Snapshot>) -> Result<u64> {
    let _us = Identity::extension()?;
    spi::run_with(
        "DELETE FROM bluegreen.truncation WHERE deployment = $1",
        &[Arg::Int(deployment)],
        Options { snapshot, ..Options::default() },
    )
}

/// Whether `snapshot` sees a marker.
pub(crate) fn is_marked(deployment: i64, snapshot: &Snapshot) -> Result<bool> {
    let _us = Identity::extension()?;
    let sql = "SELECT FROM bluegreen.truncation WHERE deployment = $1";
    let options = Options { snapshot: Some(snapshot), ..Options::default() };
    spi::with_rows(sql, &[Arg::Int(deployment)], options, |rows, _| Ok(!rows.is_empty()))
}
