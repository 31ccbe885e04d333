//! The ledger: `journal.entry`, append-only, a row per transaction and the table's first sums.
//!
//! Why the sums are exact also with TRUNCATE: a writer that truncates begins its transaction with it
//! and so holds ACCESS EXCLUSIVE on the table. Everybody who wrote the table before has then ended,
//! and a transaction's entry becomes visible before its locks go; everybody who writes later
//! commits later. So the next statement's snapshot sees the entries of exactly those transactions
//! whose rows TRUNCATE has removed, and minus their sum is TRUNCATE's effect.

use std::fmt;

use anyhow::{Context, Result, bail};
use postgres::Client;
use postgres::error::SqlState;

use super::schema::{Schema, Shape, Statement};
use super::session::function;
use super::sums::Sums;

/// Makes a new ledger with the table's present sums in it, and what `role` needs to write the table
/// and the ledger. As superuser, while nobody writes.
pub fn open(client: &mut Client, schema: &Schema, role: &str) -> Result<()> {
    client
        .batch_execute(
            "DROP SCHEMA IF EXISTS journal CASCADE;
             CREATE SCHEMA journal;
             CREATE TABLE journal.entry (
                 writer bigint NOT NULL,
                 txn bigint NOT NULL,
                 what text NOT NULL,
                 rows bigint NOT NULL,
                 ids bigint NOT NULL,
                 names bigint NOT NULL,
                 emails bigint NOT NULL,
                 whole bigint NOT NULL,
                 PRIMARY KEY (writer, txn, what)
             );
             CREATE SEQUENCE journal.block;
             CREATE TYPE journal.line AS
                 (id text, name text, email text, names text, emails text, whole text)",
        )
        .context("making the ledger")?;
    for shape in schema.shapes() {
        for statement in Statement::ALL {
            client
                .batch_execute(&create_function(schema, shape, statement))
                .with_context(|| format!("making the function for {}", statement.label()))?;
        }
    }
    let table = &schema.table;
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA journal TO \"{role}\";
             GRANT SELECT, INSERT ON journal.entry TO \"{role}\";
             GRANT USAGE ON SEQUENCE journal.block TO \"{role}\";
             GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {table} TO \"{role}\""
        ))
        .with_context(|| format!("granting {role} what the writers need"))?;
    let shape = present_shape(client, schema)?;
    client
        .batch_execute(&format!(
            "INSERT INTO journal.entry SELECT 0, 0, 'opening', {} FROM {table}",
            shape.sums()
        ))
        .context("entering the table's first sums")
}

fn create_function(schema: &Schema, shape: &Shape, statement: Statement) -> String {
    let name = function(&shape.label, statement);
    let parameters = statement.parameters().join(", ");
    let sql = schema.sql(shape, statement);
    if statement.gives_rows() {
        format!(
            "CREATE FUNCTION {name}({parameters}) RETURNS SETOF journal.line LANGUAGE plpgsql AS \
             $function$BEGIN RETURN QUERY {sql}; END$function$"
        )
    } else if statement == Statement::Look {
        let rest = sql.trim_start_matches("SELECT ");
        format!(
            "CREATE FUNCTION {name}({parameters}) RETURNS void LANGUAGE plpgsql AS \
             $function$BEGIN PERFORM {rest}; END$function$"
        )
    } else {
        format!(
            "CREATE FUNCTION {name}({parameters}) RETURNS void LANGUAGE plpgsql AS \
             $function$BEGIN {sql}; END$function$"
        )
    }
}

/// The table beside the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// What the table holds.
    pub table: Sums,
    /// What it must hold.
    pub ledger: Sums,
    /// How many entries the ledger has, the opening one included.
    pub entries: i64,
}

impl Balance {
    /// Committed writes that are missing from the table's row count; negative when rows are too
    /// many. Zero does not yet mean that the contents are right: see [`Balance::check`].
    pub fn rows_lost(&self) -> i64 {
        self.ledger.rows - self.table.rows
    }

    /// An error unless the two are equal.
    pub fn check(&self) -> Result<()> {
        if self.table != self.ledger {
            bail!("the table is not what was written: {self}");
        }
        Ok(())
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "table: {}; ledger: {}; difference: {}; {} entries",
            self.table,
            self.ledger,
            self.table - self.ledger,
            self.entries
        )
    }
}

/// Puts the table beside the ledger, under one snapshot: also while writers are at work.
pub fn balance(client: &mut Client, schema: &Schema) -> Result<Balance> {
    let shape = present_shape(client, schema)?;
    let row = client
        .query_one(
            &format!(
                "SELECT t.*, e.* FROM (SELECT {} FROM {}) t, \
                 (SELECT sum(rows)::int8, sum(ids)::int8, sum(names)::int8, sum(emails)::int8, \
                 sum(whole)::int8, count(*) FROM journal.entry) e",
                shape.sums(),
                schema.table
            ),
            &[],
        )
        .context("adding up the table and the ledger")?;
    let sums = |at: usize| Sums {
        rows: row.get(at),
        ids: row.get(at + 1),
        names: row.get(at + 2),
        emails: row.get(at + 3),
        whole: row.get(at + 4),
    };
    Ok(Balance { table: sums(0), ledger: sums(5), entries: row.get(10) })
}

/// The shape that the schema's table has now.
pub fn present_shape(client: &mut Client, schema: &Schema) -> Result<Shape> {
    shape_of(client, schema, &schema.table)
}

/// The shape that a table has: the schema's own one, or its other one of the deployment.
pub fn shape_of(client: &mut Client, schema: &Schema, table: &str) -> Result<Shape> {
    for shape in schema.shapes() {
        match client.batch_execute(&format!("{} LIMIT 0", shape.rows(table))) {
            Ok(()) => return Ok(shape.clone()),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {}
            Err(error) => return Err(error).with_context(|| format!("looking at {table}")),
        }
    }
    bail!("{table} has none of the shapes that the writers know")
}

/// How many rows one table has that the other has not, both ways, each table in its own shape. While
/// nobody writes and blue is in step it is 0.
pub fn difference(client: &mut Client, schema: &Schema, one: &str, other: &str) -> Result<i64> {
    let first = shape_of(client, schema, one)?.rows(one);
    let second = shape_of(client, schema, other)?.rows(other);
    let row = client
        .query_one(
            &format!(
                "SELECT count(*) FROM (({first} EXCEPT ALL {second}) \
                 UNION ALL ({second} EXCEPT ALL {first})) d"
            ),
            &[],
        )
        .with_context(|| format!("comparing {one} and {other}"))?;
    Ok(row.get(0))
}
