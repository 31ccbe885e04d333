//! What a row type has of its own, whatever its relation has: rights, a comment, labels.

use crate::catalog::dependent as reader;
use crate::error::Result;
use crate::oid::RelationId;
use crate::pg::{acl, spi};

/// Gives the row type of a copy exactly what that of its original has, and takes off what that has not. A swap
/// leaves both as they are: nothing is written through a type, so that those of the offline side need no
/// other rights.
///
/// The caller has locked the copy, or has just made it.
pub(crate) fn carry_row_type(original: RelationId, copy: RelationId) -> Result<()> {
    for statement in reader::row_type_settings(original, copy)? {
        spi::run(&statement, &[])?;
    }
    acl::copy_row_type(original, copy)
}
