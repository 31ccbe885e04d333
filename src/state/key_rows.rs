//! Keys as rows that a statement reads by name.

use crate::error::Result;
use crate::model::key::Key;
use crate::pg::snapshot::Snapshot;
use crate::pg::spi;
use crate::pg::transient_relation::{Column, Work};
use crate::pg::xact;

/// The columns of a key, under the names that `name` gives them.
pub(crate) fn key_columns(key: &Key, name: fn(usize) -> String) -> Vec<Column> {
    let columns = key.columns.iter().enumerate();
    columns
        .map(|(i, k)| Column { name: name(i), type_oid: k.type_oid, collation: k.collation })
        .collect()
}

/// The keys that a query gives, as `snapshot` sees them, under names of ours.
pub(crate) fn read_keys(
    name: &str,
    key: &Key,
    column: fn(usize) -> String,
    sql: &str,
    snapshot: &Snapshot,
) -> Result<Work> {
    let mut work = Work::new(name, &key_columns(key, column))?;
    let options = spi::Options { snapshot: Some(snapshot), ..spi::Options::default() };
    spi::fill(&mut work, sql, &[], options)?;
    Ok(work)
}

/// Fills `to` with what `sql` makes of the rows of `from`. Rows for which it fails are left out:
/// halves are tried, down to the row.
pub(crate) fn fill_what_can_be(to: &mut Work, sql: &str, from: &Work) -> Result<()> {
    // Made outside: its files belong to the transaction, not to the subtransaction.
    let mut part = to.empty_copy()?;
    let filled = xact::subtransaction(|| {
        spi::fill(&mut part, sql, &[], spi::Options { work: &[from], ..Default::default() })
    });
    match filled {
        Ok(()) => {
            to.append(&part);
            Ok(())
        }
        Err(caught) if caught.is_data_error() && from.len() > 1 => {
            let (left, right) = from.split()?;
            fill_what_can_be(to, sql, &left)?;
            fill_what_can_be(to, sql, &right)
        }
        Err(caught) if caught.is_data_error() => Ok(()),
        Err(caught) => caught.raise(),
    }
}
