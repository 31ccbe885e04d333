//! The tables that are changed, one file each.
//!
//! Each has a column that the clients count up, so that lost writes can be counted exactly by the
//! ledger, and a key of another kind, so that a cost that only shows with one of them is found.

mod composite;
mod huge;
mod narrow;
mod users;
mod uuid;
mod wide;

use anyhow::{Context, Result};
use clap::ValueEnum;
use postgres::Client;
use serde::Serialize;

use super::OWNER;
pub(super) use huge::TABLE as HUGE;

/// A table, and what clients do to it. In `fill`, `{rows}` is the number of rows and `{pad}` some
/// 30 kB of text that pglz cannot make smaller; in `at`, `doomed`, `set` and `insert`, `:id` is a
/// random number of a row.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name, in the schema `public`.
    pub(super) name: &'static str,
    columns: &'static str,
    fill: &'static str,
    /// Columns of the primary key, and then of each unique constraint.
    unique: &'static [&'static str],
    /// Columns of each other index.
    indexes: &'static [&'static str],
    /// A bigint made of the key, for the ledger.
    pub(super) key: &'static str,
    /// The column that counts the updates of a row, 0 at first.
    pub(super) version: &'static str,
    /// The condition that finds a row.
    pub(super) at: &'static str,
    /// The condition that finds a row to delete.
    pub(super) doomed: &'static str,
    /// What an update assigns; it adds 1 to `version`.
    pub(super) set: &'static str,
    /// An insert of one row.
    pub(super) insert: &'static str,
    /// The table has this many times fewer rows than asked for.
    fewer: i64,
}

/// The choice on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    /// Bigint identity key, unique email, two more indexes, jsonb
    Users,
    /// As pgbench_accounts: int key, 100 bytes a row
    Narrow,
    /// Bigint key and 10 kB of text beside the table; 1/50 of the rows
    Wide,
    /// A uuid as key, one more index
    Uuid,
    /// A key of three columns, one more index
    Composite,
}

impl Name {
    pub(super) fn table(self) -> &'static Table {
        match self {
            Self::Users => &users::TABLE,
            Self::Narrow => &narrow::TABLE,
            Self::Wide => &wide::TABLE,
            Self::Uuid => &uuid::TABLE,
            Self::Composite => &composite::TABLE,
        }
    }

    /// As it is typed.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Narrow => "narrow",
            Self::Wide => "wide",
            Self::Uuid => "uuid",
            Self::Composite => "composite",
        }
    }
}

/// 350 lines of base64, all different.
const PAD: &str =
    "(SELECT string_agg(translate(encode(sha512(i::text::bytea), 'base64'), E'\\n', ''), '')
                      FROM generate_series(1, 350) i)";

impl Table {
    /// How many rows it gets where `rows` are asked for.
    pub(super) fn rows(&self, rows: i64) -> i64 {
        (rows / self.fewer).max(1)
    }

    /// Makes the table with so many rows. As superuser.
    pub(super) fn create(&self, admin: &mut Client, rows: i64) -> Result<()> {
        let Self { name, columns, .. } = self;
        let fill = self.fill.replace("{rows}", &rows.to_string()).replace("{pad}", PAD);
        let mut statements = vec![format!("CREATE TABLE public.{name} ({columns})"), fill];
        for (number, columns) in self.unique.iter().enumerate() {
            let kind = if number == 0 { "PRIMARY KEY" } else { "UNIQUE" };
            statements.push(format!("ALTER TABLE public.{name} ADD {kind} ({columns})"));
        }
        statements.extend(self.plain_indexes(&format!("public.{name}")));
        statements.push(format!("ALTER TABLE public.{name} OWNER TO {OWNER}"));
        for sql in statements {
            admin.batch_execute(&sql).with_context(|| format!("making the table {name}: {sql}"))?;
        }
        Ok(())
    }

    /// What builds the same indexes on another table.
    pub(super) fn all_indexes(&self, table: &str) -> Vec<String> {
        let unique = self.unique.iter();
        let unique = unique.map(|columns| format!("CREATE UNIQUE INDEX ON {table} ({columns})"));
        unique.chain(self.plain_indexes(table)).collect()
    }

    fn plain_indexes(&self, table: &str) -> Vec<String> {
        let columns = self.indexes.iter();
        columns.map(|columns| format!("CREATE INDEX ON {table} ({columns})")).collect()
    }
}
