//! An old table that stays for good in the blue schema, under a name that no deployment wants. Runs as the
//! extension, with the table locked.

use crate::catalog;
use crate::ddl::object;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::oid::RelationId;
use crate::pg::spi;

/// What a name may have, in bytes.
const MAX_BYTES: usize = 63;

/// Names the table, and what has a name in its schema because of it, after the deployment too: the next
/// one of a table of that name makes all of it anew. Returns the table's new name.
pub(crate) fn rename(table: RelationId, deployment: i64) -> Result<QualifiedName> {
    let own = catalog::existing_table(table)?.qualified();
    for index in catalog::indexes(table)? {
        let name = QualifiedName { schema: own.schema.clone(), name: index.recorded.name };
        put_aside("INDEX", &name, deployment)?;
    }
    for sequence in catalog::sequences(table)?.iter().filter(|s| s.schema == own.schema) {
        put_aside("SEQUENCE", &sequence.qualified(), deployment)?;
    }
    for statistics in catalog::statistics(table)?.iter().filter(|s| s.schema == own.schema) {
        put_aside("STATISTICS", &statistics.qualified(), deployment)?;
    }
    put_aside("TABLE", &own, deployment)
}

/// Renames an object; `kind` is the server's word for it. Returns its new name.
pub(crate) fn put_aside(
    kind: &str,
    name: &QualifiedName,
    deployment: i64,
) -> Result<QualifiedName> {
    let to = QualifiedName { schema: name.schema.clone(), name: free(name, deployment)? };
    spi::run(&object::rename(kind, name, &to.name), &[])?;
    Ok(to)
}

/// `name_7`, or where something has that name `name_7_2` ….
pub(crate) fn free(name: &QualifiedName, deployment: i64) -> Result<Ident> {
    let mut number = 1;
    loop {
        let suffix = match number {
            1 => format!("_{deployment}"),
            _ => format!("_{deployment}_{number}"),
        };
        let candidate = Ident::new(with_suffix(name.name.as_str(), &suffix));
        let wanted = QualifiedName { schema: name.schema.clone(), name: candidate.clone() };
        if !catalog::is_taken(&wanted)? {
            return Ok(candidate);
        }
        number += 1;
    }
}

/// The name cut before the suffix where both are too long, and not within a character.
fn with_suffix(name: &str, suffix: &str) -> String {
    let mut end = name.len().min(MAX_BYTES.saturating_sub(suffix.len()));
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_kept_whole_and_a_character_is_not_cut() {
        assert_eq!(with_suffix("users", "_7"), "users_7");
        assert_eq!(with_suffix(&"x".repeat(63), "_1234"), format!("{}_1234", "x".repeat(58)));
        assert_eq!(with_suffix(&"ä".repeat(31), "_7"), format!("{}_7", "ä".repeat(30)));
        assert_eq!(with_suffix(&format!("a{}", "ä".repeat(31)), "_7").len(), 63);
    }
}
