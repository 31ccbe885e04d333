//! A reader in REPEATABLE READ: it takes its snapshot by reading the ledger, does something else for
//! a while, and then adds up the table. Whatever happened in between, even a swap, both must be what
//! they were at the snapshot.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use postgres::error::SqlState;
use postgres::{Client, Error};
use rand::Rng;

use super::watcher::Watcher;
use crate::journal::Schema;

/// The longest time between the ledger and the table.
const LONGEST_MS: u64 = 1_500;

/// The reader at work. It ends with the value.
pub struct Reader(Watcher);

impl Reader {
    /// Lets it begin. The table is never truncated: that is no matter of snapshots.
    pub fn start(config: &postgres::Config, schema: &Schema) -> Result<Self> {
        let schema = schema.clone();
        Ok(Self(Watcher::start(config, "reader", move |client| look(client, &schema))?))
    }

    /// How often it has looked.
    pub fn looks(&self) -> u64 {
        self.0.count()
    }

    /// What it saw that must not be.
    pub fn problem(&self) -> Option<String> {
        self.0.problem()
    }
}

fn look(client: &mut Client, schema: &Schema) -> Result<Option<String>, Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")?;
    let ledger = client.query_one(
        "SELECT sum(rows)::int8, sum(ids)::int8, sum(names)::int8, sum(emails)::int8,
             sum(whole)::int8 FROM journal.entry",
        &[],
    )?;
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..LONGEST_MS)));
    let mut table = None;
    for shape in schema.shapes() {
        client.batch_execute("SAVEPOINT shape")?;
        match client.query_one(&format!("SELECT {} FROM {}", shape.sums(), schema.table), &[]) {
            Ok(row) => {
                table = Some(row);
                break;
            }
            // The swap has brought the other one.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
                client.batch_execute("ROLLBACK TO SAVEPOINT shape")?;
            }
            Err(error) => return Err(error),
        }
    }
    client.batch_execute("COMMIT")?;
    let sums = |row: &postgres::Row| [0, 1, 2, 3, 4].map(|at| row.get::<_, i64>(at));
    let (written, read) = (sums(&ledger), table.as_ref().map(sums));
    Ok((read != Some(written))
        .then(|| format!("a snapshot sees {read:?} in the table and {written:?} in the ledger")))
}
