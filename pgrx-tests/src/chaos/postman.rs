//! A client of the application that moves rows which point to the table: new ones come, some go, and
//! some point to another row.

use std::time::Duration;

use anyhow::Result;
use postgres::{Client, Error};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::table::children::TABLE;
use super::watcher::Watcher;
use crate::journal::{Schema, ledger};

/// Between two transactions, at most.
const REST_MS: u64 = 40;

/// What may happen: the parent goes, a swap renames its column, a deadlock, a cancelled statement.
const EXPECTED: [&str; 5] = ["23503", "42703", "40P01", "40001", "57014"];

/// The client at work. It ends with the value.
pub struct Postman(Watcher);

impl Postman {
    /// Lets it begin.
    pub fn start(config: &postgres::Config, schema: &Schema, seed: u64) -> Result<Self> {
        let schema = schema.clone();
        let mut random = StdRng::seed_from_u64(seed);
        let work = move |client: &mut Client| {
            std::thread::sleep(Duration::from_millis(random.random_range(0..REST_MS)));
            match carry(client, &schema, &mut random) {
                Err(error) => match error.as_db_error() {
                    Some(said) if EXPECTED.contains(&said.code().code()) => Ok(None),
                    Some(said) if is_ending(said.code().code()) => Err(error),
                    Some(said) => Ok(Some(format!(
                        "the postman: {} {} {}",
                        said.code().code(),
                        said.message(),
                        said.detail().unwrap_or_default()
                    ))),
                    None => Err(error),
                },
                Ok(()) => Ok(None),
            }
        };
        Ok(Self(Watcher::start(config, "postman", work)?))
    }

    /// How many rows it has moved or tried to.
    pub fn moved(&self) -> u64 {
        self.0.count()
    }

    /// An error that it must not get.
    pub fn problem(&self) -> Option<String> {
        self.0.problem()
    }
}

/// The server or the session goes.
fn is_ending(code: &str) -> bool {
    code.starts_with("57P")
}

fn carry(client: &mut Client, schema: &Schema, random: &mut StdRng) -> Result<(), Error> {
    // The error of a table without either column is told by the next statement.
    let email = ledger::present_shape(client, schema)
        .map_or_else(|_| schema.before.email.clone(), |shape| shape.email);
    let parent = format!(
        "(SELECT {email} FROM {} OFFSET {} LIMIT 1)",
        schema.table,
        random.random_range(0..1_500)
    );
    let child = format!("(SELECT id FROM {TABLE} OFFSET {} LIMIT 1)", random.random_range(0..200));
    let sql = match random.random_range(0..5) {
        0..2 => format!("INSERT INTO {TABLE} (email) VALUES ({parent})"),
        2..4 => format!("UPDATE {TABLE} SET email = {parent} WHERE id = {child}"),
        _ => format!("DELETE FROM {TABLE} WHERE id = {child}"),
    };
    client.batch_execute(&sql)
}
