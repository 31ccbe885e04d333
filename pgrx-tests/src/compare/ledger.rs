//! The ledger, in which clients enter each write in the statement that makes it, and by which lost
//! writes are counted.

use anyhow::{Context, Result};
use postgres::Client;

use super::OWNER;
use super::table::Table;

/// Makes an empty ledger. As superuser.
pub(super) fn create(admin: &mut Client) -> Result<()> {
    admin
        .batch_execute(&format!(
            "CREATE TABLE public.ledger (rows bigint, keys bigint, versions bigint);
             ALTER TABLE public.ledger OWNER TO {OWNER}"
        ))
        .context("making the ledger")
}

/// Statements that change a row, add one and delete one, each with its entry.
pub(super) struct Statements {
    pub(super) update: String,
    pub(super) insert: String,
    pub(super) delete: String,
}

impl Statements {
    pub(super) fn of(table: &Table) -> Self {
        let Table { name, key, version, at, doomed, set, insert, .. } = table;
        Self {
            update: format!(
                "WITH w AS (UPDATE {name} SET {set} WHERE {at} RETURNING 1)
                 INSERT INTO ledger SELECT 0, 0, 1 FROM w;"
            ),
            insert: format!(
                "WITH w AS ({insert} RETURNING {key} AS k)
                 INSERT INTO ledger SELECT 1, k, 0 FROM w;"
            ),
            delete: format!(
                "WITH w AS (DELETE FROM {name} WHERE {doomed}
                               RETURNING {key} AS k, {version} AS v)
                 INSERT INTO ledger SELECT -1, -k, -v FROM w;"
            ),
        }
    }
}

/// What the table holds beyond what the ledger knows: rows, sum of keys, sum of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums([i64; 3]);

/// The table's sums less the ledger's; they must stay what they were. While nobody writes.
pub(super) fn beyond(admin: &mut Client, table: &Table) -> Result<Sums> {
    let Table { name, key, version, .. } = table;
    let sql = format!(
        "SELECT t.rows - l.rows, t.keys - l.keys, t.versions - l.versions FROM
             (SELECT count(*) AS rows, coalesce(sum({key}), 0)::int8 AS keys,
                     coalesce(sum({version}), 0)::int8 AS versions FROM public.{name}) t,
             (SELECT coalesce(sum(rows), 0)::int8 AS rows, coalesce(sum(keys), 0)::int8 AS keys,
                     coalesce(sum(versions), 0)::int8 AS versions FROM public.ledger) l"
    );
    let row = admin.query_one(&sql, &[]).context("adding up table and ledger")?;
    Ok(Sums([row.get(0), row.get(1), row.get(2)]))
}

impl Sums {
    /// Writes that are missing or too many: by rows or by versions, and one at least when only the
    /// keys are not those that were written.
    pub(super) fn lost_since(self, before: Sums) -> u64 {
        let [rows, keys, versions] = [0, 1, 2].map(|i| self.0[i].abs_diff(before.0[i]));
        rows.max(versions).max(u64::from(keys != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::Sums;

    #[test]
    fn a_write_is_lost_where_rows_versions_or_keys_differ() {
        let before = Sums([10, 100, 7]);
        assert_eq!(before.lost_since(before), 0);
        assert_eq!(Sums([10, 100, 4]).lost_since(before), 3);
        assert_eq!(Sums([12, 100, 7]).lost_since(before), 2);
        assert_eq!(Sums([10, 55, 7]).lost_since(before), 1);
    }
}
