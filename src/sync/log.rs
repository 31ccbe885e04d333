//! The change log that is being written.

use crate::catalog;
use crate::error::{Error, Result};
use crate::model::deployment::Deployment;
use crate::pg::security::Identity;

/// Size of the log in blocks.
pub(super) fn blocks(deployment: &Deployment) -> Result<u32> {
    let oid = oid(deployment)?;
    let _us = Identity::extension()?;
    Ok(u32::try_from(catalog::existing_table(oid)?.blocks).unwrap_or(u32::MAX))
}

/// OID of the log that is being written.
pub(super) fn oid(deployment: &Deployment) -> Result<u32> {
    let _us = Identity::extension()?;
    catalog::relation_oid(&deployment.log())?.ok_or_else(|| {
        Error::state(format!("the change log {} is missing", deployment.log().plain()))
            .hint("Writes may be lost to the copy: run SELECT bg_abort(table) and begin again.")
    })
}
