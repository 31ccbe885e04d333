//! Who keeps OIDs of the table where no dependency tells of them, for bg_check.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::catalog::dependent::family;
use crate::catalog::kept::{self, Column, Known};
use crate::check::oid_kept;
use crate::ddl;
use crate::error::Result;
use crate::model::finding::Finding;
use crate::oid::{ObjectId, RelationId};
use crate::pg::lock;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::xact;

/// How long users' tables are looked at.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a lock on one is waited for.
const LOCK: Duration = Duration::from_millis(100);

/// A warning for each keeper, a note for each column that was not looked at.
pub(crate) fn findings(table: RelationId) -> Result<Vec<Finding>> {
    let (known, columns, mut found);
    {
        let _us = Identity::extension()?;
        known = kept::known(table, &family(table)?)?;
        columns = kept::columns()?;
        found = Vec::new();
        found.extend(kept::arguments(&known)?.iter().map(|k| oid_kept::in_argument(k, &known)));
        found.extend(kept::constants(&known)?.iter().map(|k| oid_kept::in_constant(k, &known)));
    }
    let until = Instant::now() + LONGEST;
    for column in &columns {
        if column.too_large {
            found.push(oid_kept::not_looked_at(column, &oid_kept::too_large()));
        } else if Instant::now() >= until {
            found.push(oid_kept::not_looked_at(column, "it took too long"));
        } else {
            match look(column, &known) {
                Ok(oids) if oids.is_empty() => {}
                Ok(oids) => found.push(oid_kept::in_column(column, &oids, &known)),
                Err(error) if is_its_own(&error) => {
                    found.push(oid_kept::not_looked_at(column, &error.message));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// The table's lock, rights or rows are at fault; else the server, or a cancel.
fn is_its_own(error: &crate::error::Error) -> bool {
    !matches!(&xact::sqlstate(error.code)[..2], "57" | "53" | "58")
}

/// The OIDs that a column has, read as its table's owner: whatever planning the query may evaluate (an
/// index's expression) is the owner's. Locks: ACCESS SHARE for the moment.
fn look(column: &Column, known: &[Known]) -> Result<Vec<ObjectId>> {
    let oids: Vec<i64> = known.iter().map(|k| k.oid.into()).collect();
    let sql = ddl::kept::look(&column.table(), &column.column_name, column.is_array);
    let text = xact::rolled_back(|| {
        let _limited = lock::limited(LOCK)?;
        let _owner = Identity::table_owner(column.owner, &BTreeMap::new())?;
        spi::one::<String>(&sql, &[Arg::Ints(&oids)])
    })?;
    Ok(text.iter().flat_map(|text| text.split(' ')).filter_map(|oid| oid.parse().ok()).collect())
}
