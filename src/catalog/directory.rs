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
