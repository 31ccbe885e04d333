//! Names of extended statistics. They need not be in the schema of their table, and those of all tables that are
//! deployed to one blue schema come to that schema: a name that is taken there is refused here, before the copy.

use pgrx::PgSqlErrorCode;

use crate::catalog::{self, Statistics, Table};
use crate::error::{Error, Result};
use crate::ident::{Ident, plain};
use crate::oid::RelationId;
use crate::pg::reasons::Reasons;
use crate::state::store;

/// Refuses statistics of the table, or of the new one, whose name others have in the blue schema or will have.
/// The new table is not there yet.
pub(crate) fn require_free(
    table: &Table,
    shadow: RelationId,
    (blue, id): (&Ident, i64),
    reasons: &Reasons<'_>,
) -> Result<()> {
    let mut ours = catalog::statistics(table.oid)?;
    ours.extend(catalog::statistics(shadow)?);
    let same = |theirs: &Statistics| ours.iter().any(|own| own.name == theirs.name);
    for there in catalog::statistics_in(blue)?.iter().filter(|there| same(there)) {
        let why = "has statistics of that name already";
        reasons.refuse(taken(table, &there.name, blue, why))?;
    }
    for other in store::open()?.iter().filter(|other| other.id != id && other.blue_schema == *blue)
    {
        for theirs in catalog::statistics(other.origin.root)?.iter().filter(|s| same(s)) {
            let whose = format!(
                "will have those of {}, which has an open deployment",
                other.source.plain()
            );
            reasons.refuse(taken(table, &theirs.name, blue, &whose))?;
        }
    }
    Ok(())
}

fn taken(table: &Table, name: &Ident, blue: &Ident, why: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
        format!(
            "statistics {} of {} come to schema {}, which {why}",
            plain(name.as_str()),
            table.qualified().plain(),
            plain(blue.as_str())
        ),
    )
    .hint("Rename one of them with ALTER STATISTICS … RENAME TO, then call again.")
}
