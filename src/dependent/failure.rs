//! Why something that depends on the table cannot be carried over.

use crate::catalog;
use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::pg::xact::SubtransactionError;

/// An object that the changes break.
pub(super) fn broken(title: &str, cause: &str) -> Error {
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!("{title} cannot be made over the new definition: {cause}"),
    )
    .hint("Change or drop it first. What a DROP in changes breaks can be left behind with CASCADE behind it; a revert brings it back.")
}

/// The cause, unless the server itself is in trouble.
pub(super) fn cause(caught: SubtransactionError) -> Result<String> {
    if caught.is_lock_failure() || matches!(caught.class().as_str(), "57" | "53" | "58") {
        return caught.raise();
    }
    let crate::error::Error { message, detail, .. } = caught.error;
    Ok(detail.map_or_else(|| message.clone(), |detail| format!("{message} ({detail})")))
}

/// Fails if another open deployment has already created a copy with this name in the blue schema.
pub(super) fn require_free(blue: &Ident, name: &Ident, title: &str) -> Result<()> {
    let wanted = crate::ident::QualifiedName { schema: blue.clone(), name: name.clone() };
    if catalog::relation_oid(&wanted)?.is_none() {
        return Ok(());
    }
    Err(Error::state(format!(
        "{title} has a copy in schema {} already: it also depends on a table with an open deployment",
        crate::ident::plain(blue.as_str())
    ))
    .hint("Finish or abort that deployment first; see bg_status()."))
}
