//! The names of array types. The server calls the one of `users` `_users`, or otherwise where that is taken; a copy that
//! is called otherwise than its original could not take its place.

use crate::catalog::row_type;
use crate::error::Result;
use crate::oid::ObjectId;
use crate::pg::relation;

/// Gives the array types of some relations' row types the names of those of others: pairs of a copy, which is ours, and
/// its original.
pub(crate) fn same_names(pairs: &[(ObjectId, ObjectId)]) -> Result<()> {
    for found in row_type::other_array_names(pairs)? {
        relation::rename_type(found.array, found.schema, found.name.as_str())?;
    }
    Ok(())
}
