//! What must hold after every step, while nobody writes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use postgres::Client;

use super::likeness;
use super::operator::Refusal;
use super::plan::Verb;
use super::table::{Derived, Table, caseless};
use crate::cluster::{Cluster, SUPERUSER};
use crate::journal::{self, ledger, schema::Schema};

/// How long workers may outlive their runner.
const WORKERS_END: Duration = Duration::from_secs(10);

/// Where the deployment stands.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The number of the open deployment.
    pub open: Option<i64>,
    /// Its phase; of the last one, if none is open.
    pub phase: String,
    /// Whether it is paused.
    pub paused: bool,
    /// Rows that do not fit.
    pub misfits: i64,
}

/// What an examination found out besides that all is well.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Where the deployment stands.
    pub status: Status,
    /// Rows that bg_verify compared.
    pub verified: u64,
    /// Why blue could not be compared with green.
    pub not_compared: Option<Refusal>,
}

/// A superuser's session that looks, and never waits long.
pub fn inspector(cluster: &Cluster, database: &str) -> Result<Client> {
    let mut client = cluster.connect(SUPERUSER, database)?;
    client
        .batch_execute("SET application_name = 'inspector'; SET statement_timeout = '60s'")
        .context("setting the inspector's parameters")?;
    Ok(client)
}

/// Reads the status.
pub fn status(client: &mut Client) -> Result<Status> {
    let row = client
        .query_opt(
            "SELECT id, phase, paused,
                 (SELECT count(*) FROM bluegreen.misfit m WHERE m.deployment = d.id AND NOT set_aside)
             FROM bluegreen.deployment d ORDER BY id DESC LIMIT 1",
            &[],
        )
        .context("reading the status")?;
    let Some(row) = row else { return Ok(Status::default()) };
    let phase: String = row.get(1);
    let open = !["finished", "aborted"].contains(&phase.as_str());
    Ok(Status { open: open.then(|| row.get(0)), phase, paused: row.get(2), misfits: row.get(3) })
}

/// Looks at everything. The writers stand still, no operator is at work.
pub fn examine(cluster: &Cluster, database: &str, table: &Table) -> Result<Health> {
    let mut client = inspector(cluster, database)?;
    workers_have_ended(&mut client)?;
    nothing_is_locked(&mut client)?;
    let status = status(&mut client)?;
    one_live_table(&mut client, table, status.open.is_some())?;
    live_table_is_published(&mut client, table)?;
    account(&mut client, table)?;
    derived_columns(&mut client, table, &table.schema.table, &table.derived)?;
    likeness::examine(&mut client, table)?;
    let mut health = Health { status, ..Health::default() };
    match health.status.open {
        None => nothing_is_left(&mut client)?,
        Some(_) if ["ready", "swapped"].contains(&health.status.phase.as_str()) => {
            compare(cluster, database, &mut client, table, &mut health)?;
            workers_have_ended(&mut client)?;
            nothing_is_locked(&mut client)?;
        }
        Some(_) => {}
    }
    Ok(health)
}

/// What the writers committed is what the live table holds.
fn account(client: &mut Client, table: &Table) -> Result<()> {
    let balance = journal::balance(client, &table.schema)?;
    if let Err(error) = balance.check() {
        bail!("{error}");
    }
    Ok(())
}

/// Blue is green, once it has been synced; where it is paused or its definition has changed, as far
/// as bg_verify can tell.
fn compare(
    cluster: &Cluster,
    database: &str,
    client: &mut Client,
    table: &Table,
    health: &mut Health,
) -> Result<()> {
    let mut owner = cluster.connect("owner", database)?;
    owner
        .batch_execute("SET application_name = 'inspector'; SET statement_timeout = '60s'")
        .context("setting the inspector's parameters")?;
    let mut synced = false;
    if !health.status.paused {
        let call = match health.status.phase.as_str() {
            "ready" => Verb::Run("ready"),
            _ => Verb::Run("swapped"),
        };
        match owner.simple_query(&call.sql(table)) {
            Ok(_) => synced = true,
            Err(error) => {
                let refusal = Refusal::of(&error);
                if refusal.code.as_deref() != Some("55000") {
                    bail!("a sync while nobody writes: {}", refusal.text());
                }
                health.not_compared = Some(refusal);
            }
        }
    }
    health.status = status(client)?;
    let verify = format!("SELECT key::text || ' ' || problem FROM bg_verify({})", table.literal());
    match owner.query(&verify, &[]) {
        Ok(rows) => {
            if let Some(first) = rows.first() {
                let first: String = first.get(0);
                bail!("bg_verify finds {} differences, the first one {first}", rows.len());
            }
        }
        Err(error) => {
            let refusal = Refusal::of(&error);
            if synced || refusal.code.as_deref() != Some("55000") {
                bail!("bg_verify while nobody writes: {}", refusal.text());
            }
            health.not_compared = Some(refusal);
            return Ok(());
        }
    }
    let rows: i64 = client
        .query_one(&format!("SELECT count(*) FROM {}", table.schema.table), &[])
        .context("counting the rows")?
        .get(0);
    health.verified = u64::try_from(rows)?;
    if synced && health.status.misfits == 0 {
        let Schema { table: green, .. } = &table.schema;
        let apart = ledger::difference(client, &table.schema, green, &table.blue())?;
        ensure!(
            apart == 0,
            "{apart} rows that only one of green and blue has, and bg_verify is silent"
        );
        derived_columns(client, table, &table.blue(), &table.derived)?;
        // Once the new table has been live, it has rows of those who do not know these columns.
        if !has_swapped(client, health.status.open)? {
            derived_columns(client, table, &table.blue(), &table.mapped)?;
        }
    }
    Ok(())
}

/// Whether the tables of a deployment were exchanged once.
fn has_swapped(client: &mut Client, deployment: Option<i64>) -> Result<bool> {
    let sql =
        "SELECT EXISTS (SELECT FROM bluegreen.history WHERE deployment = $1 AND step = 'swap')";
    Ok(client.query_one(sql, &[&deployment]).context("reading the history")?.get(0))
}

/// Each row's columns belong together.
fn derived_columns(
    client: &mut Client,
    table: &Table,
    name: &str,
    columns: &[Derived],
) -> Result<()> {
    let shape = ledger::shape_of(client, &table.schema, name)?;
    let rows = client
        .query(
            "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod)
             FROM pg_catalog.pg_attribute
             WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
            &[&name],
        )
        .context("reading the columns")?;
    let mut wrong = Vec::new();
    for row in rows {
        let (column, type_name): (String, String) = (row.get(0), row.get(1));
        let Some(derived) = columns.iter().find(|d| d.before == column || d.after == column) else {
            continue;
        };
        let value = derived.value.replace("{name}", &shape.name).replace("{email}", &shape.email);
        // Not by the type's own equality where that overlooks something.
        let text = if derived.before == caseless::COLUMN { "::text" } else { "" };
        wrong.push(format!(
            "SELECT '{column}' WHERE EXISTS
                 (SELECT FROM {name}
                   WHERE ({column}){text} IS DISTINCT FROM (({value})::{type_name}){text})"
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let wrong: Vec<String> = client
        .query(&wrong.join(" UNION ALL "), &[])
        .context("checking the columns")?
        .iter()
        .map(|row| row.get(0))
        .collect();
    ensure!(wrong.is_empty(), "{name} has rows whose values do not belong together: {wrong:?}");
    Ok(())
}

/// There is one live table, and one offline one as long as a deployment is open.
fn one_live_table(client: &mut Client, table: &Table, open: bool) -> Result<()> {
    let relname = table.name.trim_matches('"');
    let schemas: Vec<String> = client
        .query(
            "SELECT n.nspname || ' ' || c.relkind::text FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relname = $1::text ORDER BY 1",
            &[&relname],
        )
        .context("looking for the tables")?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let expected: &[&str] = if open { &["public r", "public_blue r"] } else { &["public r"] };
    ensure!(schemas == expected, "tables of that name: {schemas:?}, expected {expected:?}");
    Ok(())
}

/// A publication names the live table, and never the offline one.
fn live_table_is_published(client: &mut Client, table: &Table) -> Result<()> {
    let published: Vec<String> = client
        .query(
            "SELECT pg_catalog.format('%I.%I', schemaname, tablename)
             FROM pg_catalog.pg_publication_tables",
            &[],
        )
        .context("looking what is published")?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let expected = if table.published { vec![table.schema.table.clone()] } else { Vec::new() };
    ensure!(published == expected, "published: {published:?}, expected {expected:?}");
    Ok(())
}

/// Nothing of a deployment that has ended is left.
fn nothing_is_left(client: &mut Client) -> Result<()> {
    let left: Vec<String> = client
        .query(
            "SELECT 'schema ' || nspname FROM pg_catalog.pg_namespace
                 WHERE nspname LIKE '%\\_blue' OR nspname LIKE 'bluegreen\\_%'
             UNION ALL SELECT 'log ' || relname FROM pg_catalog.pg_class
                 WHERE relname ~ '^(forward|reverse)_[0-9]+'
             UNION ALL SELECT 'trigger ' || tgname FROM pg_catalog.pg_trigger
                 WHERE tgname LIKE 'bluegreen%'
             UNION ALL SELECT 'capture ' || c::text FROM bluegreen.capture c
             UNION ALL SELECT 'piece ' || p::text FROM bluegreen.piece p
             UNION ALL SELECT 'truncation ' || t::text FROM bluegreen.truncation t
             UNION ALL SELECT 'difference ' || d::text FROM bluegreen.difference d
             UNION ALL SELECT 'misfit ' || m.id FROM bluegreen.misfit m WHERE NOT set_aside
             UNION ALL SELECT 'constraint ' || conname FROM pg_catalog.pg_constraint
                 WHERE NOT convalidated AND conname <> 'ci_check'
             UNION ALL SELECT 'index ' || indexrelid::regclass FROM pg_catalog.pg_index
                 WHERE NOT indisvalid",
            &[],
        )
        .context("looking for what is left")?
        .iter()
        .map(|row| row.get(0))
        .collect();
    ensure!(left.is_empty(), "left over after the end: {left:?}");
    Ok(())
}

/// No worker outlives its runner.
fn workers_have_ended(client: &mut Client) -> Result<()> {
    let begun = Instant::now();
    loop {
        let left: Vec<String> = client
            .query(
                "SELECT pid || ' ' || application_name || ' ' || coalesce(state, '') || ' '
                     || coalesce(wait_event, '') || ' ' || query FROM pg_catalog.pg_stat_activity
                 WHERE datname = current_database() AND backend_type = 'pg_bluegreen'",
                &[],
            )
            .context("looking for workers")?
            .iter()
            .map(|row| row.get(0))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(begun.elapsed() < WORKERS_END, "workers without a runner: {left:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Nobody holds an object's or an advisory lock, while nobody works.
fn nothing_is_locked(client: &mut Client) -> Result<()> {
    let begun = Instant::now();
    loop {
        let held: Vec<String> = client
            .query(
                "SELECT l.locktype || ' ' || l.mode || ' by ' || coalesce(l.pid::text, 'prepared')
                     || ' ' || coalesce(a.application_name, '') || ' ' || coalesce(a.query, '')
                 FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
                 WHERE l.locktype IN ('object', 'advisory') AND l.granted
                 AND l.database = (SELECT oid FROM pg_catalog.pg_database
                     WHERE datname = current_database())
                 AND a.backend_type IS DISTINCT FROM 'autovacuum worker'",
                &[],
            )
            .context("looking for locks")?
            .iter()
            .map(|row| row.get(0))
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        // A session that was ended a moment ago may still be tidying up.
        ensure!(begun.elapsed() < Duration::from_secs(5), "locks that nobody needs: {held:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
