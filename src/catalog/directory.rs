//! Directories of the server to which a deployment writes.

use serde::Deserialize;

use crate::error::Result;
use crate::model::server_load::Volume;
use crate::oid::RelationId;
use crate::pg::disk;
use crate::pg::spi::{self, Arg};

/// A directory, and what work will write there.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Directory {
    /// Relative to the data directory.
    pub path: String,
    /// What people know it by.
    pub name: String,
    /// Bytes that a copy of the relations needs, about.
    pub needed: i64,
}

/// Those to which work on these relations writes, without what it needs there.
pub(crate) fn directories(relations: &[RelationId]) -> Result<Vec<Directory>> {
    read(relations, false)
}

/// The volumes to which a copy of these relations will write, with what it will need, about. Locks the relations
/// and their indexes with ACCESS SHARE, one at a time.
pub(crate) fn needs(relations: &[RelationId]) -> Result<Vec<Volume>> {
    Ok(read(relations, true)?.iter().filter_map(Directory::volume).collect())
}

fn read(relations: &[RelationId], with_sizes: bool) -> Result<Vec<Directory>> {
    let relations: Vec<_> = relations.iter().map(|oid| i64::from(*oid)).collect();
    let args = [Arg::Ints(&relations), Arg::Bool(with_sizes)];
    spi::rows(include_str!("queries/directories.sql"), &args)
}

impl Directory {
    /// As it is now; None where the system does not tell.
    pub(crate) fn volume(&self) -> Option<Volume> {
        let free = i64::try_from(disk::free(&self.path)?).unwrap_or(i64::MAX);
        Some(Volume { name: self.name.clone(), free, needed: self.needed })
    }
}

/// Bytes of a table.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Sizes {
    /// Of itself, with its TOAST table.
    pub table: i64,
    /// Of its indexes.
    pub indexes: i64,
}

/// The bytes of a table. Locks it and its indexes with ACCESS SHARE, one at a time.
pub(crate) fn sizes(table: RelationId) -> Result<Sizes> {
    spi::row(include_str!("queries/sizes.sql"), &[Arg::oid(table)])
}

/// The server's table of locks.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct LockTable {
    /// How many it has room for at least.
    pub room: i64,
    /// How many are there.
    pub held: i64,
}

/// As it is now.
pub(crate) fn lock_table() -> Result<LockTable> {
    spi::row(include_str!("queries/lock_table.sql"), &[])
}
