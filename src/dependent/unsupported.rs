//! Constraints that the new table cannot have, whoever made them.

use crate::catalog::dependent::{self as reader, UnsupportedDependent};
use crate::error::{Error, Result};
use crate::oid::RelationId;
use crate::pg::reasons::Reasons;

/// Refuses constraints of the new table, as the changes or a target's owner made them, that the live table may not
/// have either.
pub(crate) fn require_supported(shadow: RelationId, reasons: &Reasons<'_>) -> Result<()> {
    for found in reader::unsupported_constraints(shadow)? {
        let UnsupportedDependent { kind, name } = found;
        reasons.refuse(
            Error::unsupported(format!("the new table cannot have constraint {name}, a {kind}"))
                .hint("Leave it out of the deployment, and add it after bg_finish."),
        )?;
    }
    Ok(())
}
