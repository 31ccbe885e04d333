//! The names of array types. The server calls the one of `users` `_users`, or otherwise where that is taken; a copy that
//! is called otherwise than its original could not take its place.

use crate::catalog::row_type;
use crate::error::Result;
use crate::oid::ObjectId;
use crate::pg::relation;

/// Gives the array type of a copy's row type the name of its original's. The copy is a table or a view, and ours.
pub(crate) fn same_name(copy: ObjectId, original: ObjectId) -> Result<()> {
    let Some(found) = row_type::other_array_name(copy, original)? else { return Ok(()) };
    relation::rename_type(found.array, found.schema, found.name.as_str())
}
