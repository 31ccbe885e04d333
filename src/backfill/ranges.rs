//! The ranges of green's blocks that the copy's processes share.
//!
//! A batch takes the first range that is not complete and that no other process has locked at this
//! moment, and writes in its own transaction how far it came. So whoever dies gives its range back,
//! with everything that it committed.

use serde::Deserialize;

use crate::error::Result;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};

/// Ranges of a large table: a few more than processes, so that none of them ends long before another.
const MOST: u32 = 256;
/// Blocks of a range at least.
const LEAST_BLOCKS: u32 = 1024;

/// A range of which the row is locked by this transaction.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Range {
    /// Its first block, by which it is known.
    pub first: u32,
    /// The next block to copy.
    pub next: u32,
    /// The block after its last.
    pub end: u32,
}

/// How far the copy is.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Totals {
    /// Blocks copied.
    pub blocks: u32,
    /// Rows copied.
    pub rows: i64,
    /// Every range is complete.
    pub complete: bool,
}

/// Divides `blocks` into ranges.
pub fn lay_out(deployment: i64, blocks: u32) -> Result<()> {
    let _us = Identity::extension()?;
    let size = blocks.div_ceil(MOST).max(LEAST_BLOCKS);
    spi::run(
        "INSERT INTO bluegreen.copy_range (deployment, first, next, \"end\")
         SELECT $1, b, b, least(b + $3, $2) FROM pg_catalog.generate_series(0::bigint, $2 - 1, $3) b",
        &[Arg::Int(deployment), Arg::Int(blocks.into()), Arg::Int(size.into())],
    )?;
    Ok(())
}

/// The first range that is neither complete nor being copied by another process.
pub fn take(deployment: i64) -> Result<Option<Range>> {
    let _us = Identity::extension()?;
    // Locked in the subquery: the aggregate around it may not be.
    let sql = "SELECT r.first, r.next, r.\"end\" FROM (
                   SELECT first, next, \"end\" FROM bluegreen.copy_range
                    WHERE deployment = $1 AND next < \"end\" ORDER BY first LIMIT 1
                      FOR UPDATE SKIP LOCKED) r";
    Ok(spi::rows(sql, &[Arg::Int(deployment)])?.pop())
}

/// Writes how far a range is.
pub fn advance(deployment: i64, range: &Range, next: u32, rows: u64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.copy_range SET next = $3, rows = rows + $4
          WHERE deployment = $1 AND first = $2",
        &[
            Arg::Int(deployment),
            Arg::Int(range.first.into()),
            Arg::Int(next.into()),
            Arg::Int(i64::try_from(rows).unwrap_or(i64::MAX)),
        ],
    )?;
    Ok(())
}

/// How far all of them are.
pub fn totals(deployment: i64) -> Result<Totals> {
    let _us = Identity::extension()?;
    spi::row(
        "SELECT coalesce(pg_catalog.sum(next - first), 0) AS blocks,
                coalesce(pg_catalog.sum(rows), 0) AS rows,
                coalesce(pg_catalog.bool_and(next >= \"end\"), true) AS complete
           FROM bluegreen.copy_range WHERE deployment = $1",
        &[Arg::Int(deployment)],
    )
}

/// Forgets them.
pub fn forget(deployment: i64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run("DELETE FROM bluegreen.copy_range WHERE deployment = $1", &[Arg::Int(deployment)])?;
    Ok(())
}
