//! The change log that is being written.

use crate::catalog;
use crate::error::{Error, Result};
use crate::model::member::Member;
use crate::oid::{BlockNumber, RelationId};
use crate::pg::security::Identity;

/// Size of the log in blocks.
pub(super) fn blocks(member: &Member) -> Result<BlockNumber> {
    let oid = oid(member)?;
    let _us = Identity::extension()?;
    Ok(u32::try_from(catalog::blocks(oid)?).unwrap_or(u32::MAX))
}

/// The log that is being written.
pub(super) fn oid(member: &Member) -> Result<RelationId> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&member.log())?.ok_or_else(|| {
        Error::state(format!("the change log {} is missing", member.log().plain()))
            .hint("Writes may be lost to the copy: run SELECT bg_abort(table) and begin again.")
    })
}
