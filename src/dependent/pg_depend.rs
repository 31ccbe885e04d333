//! What a definition depends on, before and after it was read again.
//!
//! A text that is read again may find other objects than it was made of: somebody may have put a
//! function of the same name where it is found first, and the copy of another role's view would run
//! it with that role's rights. So what a copy depends on is compared with what its original depends
//! on, object by object.

use std::collections::HashMap;

use crate::catalog::dependent::Use;
use crate::error::{Error, Result};
use crate::model::dependent::Uses;
use crate::oid::{ObjectAddress, ObjectId, RoleId};
use crate::pg::security;
use crate::pg::spi::{self, Arg};

/// Refuses a copy that depends on an original, or on something that the original does not depend on
/// and that neither a superuser nor the copy's own owner owns. `made`: copies by their originals.
/// `exact`: on anything that the original does not depend on.
pub(super) fn compare(
    title: &str,
    (before, after): (&[Use], &[Use]),
    made: &HashMap<ObjectId, ObjectId>,
    owner: Option<RoleId>,
    exact: bool,
) -> Result<()> {
    for used in after {
        let is_original = made.contains_key(&used.oid);
        let counterpart = made.iter().find(|(_, copy)| **copy == used.oid).map(|(first, _)| *first);
        let first = counterpart.unwrap_or(used.oid);
        let known = before.iter().any(|u| u.class == used.class && u.oid == first);
        let trusted =
            !exact && (used.owner.is_none_or(security::is_superuser) || used.owner == owner);
        if is_original || !(known || trusted) {
            return Err(unexpected_dependency(title, used)?);
        }
    }
    Ok(())
}

/// What is recorded of a definition: members of the family by their originals.
pub(super) fn recorded(found: &[Use], made: &HashMap<ObjectId, ObjectId>) -> Uses {
    let original =
        |oid: ObjectId| made.iter().find(|(_, copy)| **copy == oid).map_or(oid, |(o, _)| *o);
    found.iter().map(|u| ObjectAddress(u.class, original(u.oid))).collect()
}

/// Refuses a definition that depends on anything else than was recorded.
pub(super) fn require(
    title: &str,
    recorded: &Uses,
    found: &[Use],
    made: &HashMap<ObjectId, ObjectId>,
) -> Result<()> {
    for used in found {
        if !self::recorded(std::slice::from_ref(used), made).is_subset(recorded) {
            return Err(unexpected_dependency(title, used)?);
        }
    }
    Ok(())
}

/// The error for a definition that would use something else.
pub(super) fn unexpected_dependency(title: &str, used: &Use) -> Result<Error> {
    let sql = "SELECT o.type || ' ' || o.identity FROM pg_catalog.pg_identify_object($1, $2, 0) o";
    let what: Option<String> = spi::one(sql, &[Arg::oid(used.class), Arg::oid(used.oid)])?;
    Ok(Error::unsupported(format!(
        "{title} would use {} when it is read again, which it does not use now",
        what.unwrap_or_default()
    ))
    .hint("Rename or drop that object: one in another schema has the same name."))
}
