//! The pieces of work that a deployment's processes share: ranges of green's blocks to copy, indexes
//! of blue to build.
//!
//! A batch takes the first piece that is not complete and that no other process has locked at this
//! moment, and writes in its own transaction how far it came. So whoever dies gives its piece back,
//! with everything that it committed.

use serde::Deserialize;

use crate::error::Result;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};

/// Ranges for each process: as the last of them is copied by one process alone, more than one.
const RANGES: u32 = 8;
/// Blocks of a range at least: a batch ends with its range.
const LEAST_BLOCKS: u32 = 4096;

/// What a piece is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Blocks of green.
    Blocks,
    /// One index of the plan, by its number.
    Index,
}

impl Kind {
    fn letter(self) -> &'static str {
        match self {
            Kind::Blocks => "b",
            Kind::Index => "i",
        }
    }
}

/// A piece of which the row is locked by this transaction.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Piece {
    /// Its first block or the index's number, by which it is known.
    pub first: u32,
    /// What comes next.
    pub next: u32,
    /// What comes after its last.
    pub end: u32,
}

/// How far all pieces of a kind are.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Totals {
    /// Blocks copied, or indexes built.
    pub done: u32,
    /// Rows copied.
    pub rows: i64,
    /// Every piece is complete.
    pub complete: bool,
}

/// Divides `blocks` into ranges for so many processes.
pub fn lay_out_blocks(deployment: i64, blocks: u32, processes: u32) -> Result<()> {
    let _us = Identity::extension()?;
    let size = match processes {
        0 | 1 => blocks.max(1),
        many => blocks.div_ceil(many.saturating_mul(RANGES)).max(LEAST_BLOCKS),
    };
    spi::run(
        "INSERT INTO bluegreen.piece (deployment, kind, first, next, \"end\")
         SELECT $1, 'b', b, b, least(b + $3, $2) FROM pg_catalog.generate_series(0::bigint, $2 - 1, $3) b",
        &[Arg::Int(deployment), Arg::Int(blocks.into()), Arg::Int(size.into())],
    )?;
    Ok(())
}

/// Adds an index to build; those of greater weight come first.
pub fn add_index(deployment: i64, number: usize, weight: i64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "INSERT INTO bluegreen.piece (deployment, kind, first, next, \"end\", weight)
         VALUES ($1, 'i', $2, $2, $2 + 1, $3)",
        &[
            Arg::Int(deployment),
            Arg::Int(i64::try_from(number).unwrap_or(i64::MAX)),
            Arg::Int(weight),
        ],
    )?;
    Ok(())
}

/// The first piece that is neither complete nor being worked on by another process.
pub fn take(deployment: i64, kind: Kind) -> Result<Option<Piece>> {
    let _us = Identity::extension()?;
    // Locked in the subquery: under an aggregate rows cannot be.
    let sql = "SELECT p.first, p.next, p.\"end\" FROM (
                   SELECT first, next, \"end\" FROM bluegreen.piece
                    WHERE deployment = $1 AND kind = $2 AND next < \"end\"
                    ORDER BY weight DESC, first LIMIT 1 FOR UPDATE SKIP LOCKED) p";
    Ok(spi::rows(sql, &[Arg::Int(deployment), Arg::Text(kind.letter())])?.pop())
}

/// Writes how far a piece is.
pub fn advance(deployment: i64, kind: Kind, piece: &Piece, next: u32, rows: u64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.piece SET next = $4, rows = rows + $5
          WHERE deployment = $1 AND kind = $2 AND first = $3",
        &[
            Arg::Int(deployment),
            Arg::Text(kind.letter()),
            Arg::Int(piece.first.into()),
            Arg::Int(next.into()),
            Arg::Int(i64::try_from(rows).unwrap_or(i64::MAX)),
        ],
    )?;
    Ok(())
}

/// How far all pieces of a kind are.
pub fn totals(deployment: i64, kind: Kind) -> Result<Totals> {
    let _us = Identity::extension()?;
    spi::row(
        "SELECT coalesce(pg_catalog.sum(next - first), 0) AS done,
                coalesce(pg_catalog.sum(rows), 0) AS rows,
                coalesce(pg_catalog.bool_and(next >= \"end\"), true) AS complete
           FROM bluegreen.piece WHERE deployment = $1 AND kind = $2",
        &[Arg::Int(deployment), Arg::Text(kind.letter())],
    )
}

/// Forgets the pieces of a deployment.
pub fn forget(deployment: i64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run("DELETE FROM bluegreen.piece WHERE deployment = $1", &[Arg::Int(deployment)])?;
    Ok(())
}
