//! The pieces of work that a deployment's processes share: ranges of green's blocks to copy, indexes
//! of blue to build.
//!
//! A batch takes the first piece that is not complete and that no other process has locked at this
//! moment, and writes in its own transaction how far it came. So whoever dies gives its piece back,
//! with everything that it committed.
//!
//! Ranges of blocks are laid out little by little, not far ahead of the copy: the rows of ranges that
//! are copied at the same time lie mixed in blue, and whoever compares the tables has to hold as many.

use serde::Deserialize;

use crate::error::Result;
use crate::oid::BlockNumber;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};

/// Blocks of a range that several processes share: a batch ends with its range.
const SHARED_BLOCKS: BlockNumber = 2048;
/// Blocks of a range where one process copies alone.
const LONE_BLOCKS: BlockNumber = 8 * SHARED_BLOCKS;
/// Ranges for each process that are not complete. Those that are laid out with a batch can be taken when
/// it has committed.
const AHEAD: u32 = 4;

/// What a piece is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
pub(crate) struct Piece {
    /// Its first block or the index's number, by which it is known.
    pub first: BlockNumber,
    /// What comes next.
    pub next: BlockNumber,
    /// What comes after its last.
    pub end: BlockNumber,
    /// How much there is to do, as against others.
    pub weight: i64,
}

/// How far all pieces of a kind are.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Totals {
    /// Blocks copied, or indexes built.
    pub done: BlockNumber,
    /// Rows copied.
    pub rows: i64,
    /// Every piece is complete.
    pub complete: bool,
}

/// A range, as far as it is copied.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Range {
    /// Its first block.
    pub first: BlockNumber,
    /// Its blocks.
    pub blocks: BlockNumber,
    /// Rows copied.
    pub rows: i64,
    /// Nothing of it is left to copy.
    pub complete: bool,
}

/// An index to build.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct IndexPiece {
    /// Its number in the plan.
    pub number: usize,
    /// Its size as against others.
    pub weight: f64,
    /// Milliseconds that its build took; none before it is built.
    pub took: Option<i64>,
}

/// The indexes that are laid out, in the order in which they are taken.
pub(crate) fn indexes(deployment: i64) -> Result<Vec<IndexPiece>> {
    let _us = Identity::extension()?;
    spi::rows(
        "SELECT first AS number, weight, CASE WHEN next >= \"end\" THEN rows END AS took
           FROM bluegreen.piece WHERE deployment = $1 AND kind = 'i' ORDER BY weight DESC, first",
        &[Arg::Int(deployment)],
    )
}

/// The ranges that are laid out.
pub(crate) fn ranges(deployment: i64) -> Result<Vec<Range>> {
    let _us = Identity::extension()?;
    spi::rows(
        "SELECT first, \"end\" - first AS blocks, rows, next >= \"end\" AS complete
           FROM bluegreen.piece WHERE deployment = $1 AND kind = 'b'",
        &[Arg::Int(deployment)],
    )
}

/// Forgets a range.
pub(crate) fn forget_range(deployment: i64, range: &Range) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "DELETE FROM bluegreen.piece WHERE deployment = $1 AND kind = 'b' AND first = $2",
        &[Arg::Int(deployment), Arg::Int(range.first.into())],
    )?;
    Ok(())
}

/// Divides blocks `from..end`, or the first of them, into ranges for so many processes, of which `open`
/// ranges are not complete. Returns up to which block there are ranges.
pub(crate) fn lay_out_blocks(
    deployment: i64,
    (from, end): (BlockNumber, BlockNumber),
    processes: u32,
    open: u32,
) -> Result<BlockNumber> {
    let _us = Identity::extension()?;
    let size = if processes > 1 { SHARED_BLOCKS } else { LONE_BLOCKS };
    let more = processes.max(1).saturating_mul(AHEAD).saturating_sub(open);
    let to = from.saturating_add(more.saturating_mul(size)).min(end);
    if to > from {
        spi::run(
            "INSERT INTO bluegreen.piece (deployment, kind, first, next, \"end\")
             SELECT $1, 'b', b, b, least(b + $4, $3) FROM pg_catalog.generate_series($2, $3 - 1, $4) b",
            &[
                Arg::Int(deployment),
                Arg::Int(from.into()),
                Arg::Int(to.into()),
                Arg::Int(size.into()),
            ],
        )?;
    }
    Ok(to)
}

/// Adds an index to build; those of greater weight come first.
pub(crate) fn add_index(deployment: i64, number: usize, weight: i64) -> Result<()> {
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
pub(crate) fn take(deployment: i64, kind: Kind) -> Result<Option<Piece>> {
    let _us = Identity::extension()?;
    // Locked in the subquery: under an aggregate rows cannot be.
    let sql = "SELECT p.first, p.next, p.\"end\", p.weight FROM (
                   SELECT first, next, \"end\", weight FROM bluegreen.piece
                    WHERE deployment = $1 AND kind = $2 AND next < \"end\"
                    ORDER BY weight DESC, first LIMIT 1 FOR UPDATE SKIP LOCKED) p";
    Ok(spi::rows(sql, &[Arg::Int(deployment), Arg::Text(kind.letter())])?.pop())
}

/// The weight of all that is not complete.
pub(crate) fn open_weight(deployment: i64, kind: Kind) -> Result<f64> {
    let _us = Identity::extension()?;
    let sql = "SELECT pg_catalog.sum(weight)::float8 FROM bluegreen.piece
                WHERE deployment = $1 AND kind = $2 AND next < \"end\"";
    Ok(spi::one(sql, &[Arg::Int(deployment), Arg::Text(kind.letter())])?.unwrap_or(0.0))
}

/// Writes how far a piece is, with the rows that were copied, or the milliseconds in which the index was built.
pub(crate) fn advance(
    deployment: i64,
    kind: Kind,
    piece: &Piece,
    next: BlockNumber,
    rows: u64,
) -> Result<()> {
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
pub(crate) fn totals(deployment: i64, kind: Kind) -> Result<Totals> {
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
pub(crate) fn forget(deployment: i64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run("DELETE FROM bluegreen.piece WHERE deployment = $1", &[Arg::Int(deployment)])?;
    Ok(())
}
