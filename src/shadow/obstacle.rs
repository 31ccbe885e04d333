//! What on the new table is in the way of a change: found by trying the change without it.

use crate::catalog;
use crate::ddl;
use crate::error::Result;
use crate::ident::{QualifiedName, plain};
use crate::oid::RelationId;
use crate::pg::security::Identity;
use crate::pg::spi;
use crate::pg::xact::{self, SubtransactionError};

/// Something that a column's new type has to go with.
struct Part {
    /// As messages name it.
    title: String,
    /// The statement that takes it off.
    off: String,
}

/// Applies a change. Where it fails, but does not without one index, constraint or default, the error names
/// that.
pub(crate) fn applied(
    shadow: RelationId,
    table: &QualifiedName,
    apply: impl Fn() -> Result<()>,
) -> Result<()> {
    let caught = match xact::subtransaction(&apply) {
        Ok(()) => return Ok(()),
        Err(caught) => caught,
    };
    if !is_of_the_table(&caught) {
        return caught.raise();
    }
    for part in parts(shadow, table)? {
        let without = xact::trial(|| {
            {
                let _us = Identity::extension()?;
                spi::run(&part.off, &[])?;
            }
            apply()
        });
        if without.as_ref().is_err_and(|other| other.class() == "57") {
            return without.or_else(SubtransactionError::raise);
        }
        if without.is_ok() {
            let Part { title, .. } = part;
            let detail = format!("Without {title}, which is in the way, the change can be made.");
            return Err(caught.error.detail(detail).hint(format!(
                "Drop {title} first and make one that fits after the swap, or make the new table by hand with the one that fits and pass it as target."
            )));
        }
    }
    caught.raise()
}

/// What the server says where something does not go with a column's new type.
fn is_of_the_table(caught: &SubtransactionError) -> bool {
    let code = xact::sqlstate(caught.error.code);
    matches!(code.as_str(), "0A000" | "42725" | "42804" | "42846" | "42883" | "42P17")
        || &code[..2] == "22"
}

fn parts(shadow: RelationId, table: &QualifiedName) -> Result<Vec<Part>> {
    let _us = Identity::extension()?;
    let mut parts = Vec::new();
    for index in catalog::indexes(shadow)? {
        let (kind, name) = match &index.recorded.constraint {
            Some(constraint) => ("constraint", &constraint.name),
            None => ("index", &index.recorded.name),
        };
        let title = format!("{kind} {}", plain(name.as_str()));
        parts.push(Part { title, off: ddl::shadow::drop_index(table, &index.recorded) });
    }
    for check in catalog::checks(shadow)? {
        let name = &check.recorded.name;
        let title = format!("constraint {}", plain(name.as_str()));
        parts.push(Part { title, off: ddl::constraint::drop(table, name) });
    }
    for column in
        catalog::columns(shadow)?.iter().filter(|c| c.has_default && c.generated.is_empty())
    {
        let title = format!("default of column {}", plain(column.name.as_str()));
        parts.push(Part { title, off: ddl::table::drop_default(table, &column.name) });
    }
    for statistics in catalog::statistics(shadow)? {
        let title = format!("statistics object {}", plain(statistics.name.as_str()));
        parts.push(Part { title, off: ddl::statistics::drop(&statistics.qualified()) });
    }
    Ok(parts)
}
