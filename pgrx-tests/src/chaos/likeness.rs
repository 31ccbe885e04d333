//! Whether the live table is still what it was in what no row tells: who may see which rows, which
//! operators its definitions use, and whether anybody was at it who was not to be.
//!
//! What the definitions use is kept in `journal.likeness` as it was at first.

use anyhow::{Context, Result, bail, ensure};
use postgres::Client;

use super::table::caseless::Caseless;
use super::table::note::SUSPECTS;
use super::table::{Table, children};
use crate::journal::{Shape, ledger};

/// The operators, functions and collations in the definitions over the column whose type has an
/// equality of its own, in their order.
const USED: &str = "
    SELECT what || ': ' || coalesce((
               SELECT string_agg(found[1] || found[2], ' ')
                 FROM regexp_matches(tree, ':(opno|funcid|inputcollid) (\\d+)', 'g') found), '')
      FROM (
          SELECT 'index ' || c.relname, i.indpred::text
            FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
           WHERE i.indrelid = {table} AND c.relname LIKE 'ci\\_%'
          UNION ALL
          SELECT 'check ' || conname, conbin::text
            FROM pg_constraint WHERE conrelid = {table} AND conname LIKE 'ci\\_%'
          UNION ALL
          SELECT 'policy ' || polname, concat(polqual::text, polwithcheck::text)
            FROM pg_policy WHERE polrelid = {table}
          UNION ALL
          SELECT 'trigger ' || tgname, tgqual::text
            FROM pg_trigger WHERE tgrelid = {table} AND tgname LIKE 'ci\\_%'
          UNION ALL
          SELECT 'column ' || a.attname, d.adbin::text
            FROM pg_attrdef d
            JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
           WHERE d.adrelid = {table} AND a.attname LIKE 'ci\\_%'
          UNION ALL
          SELECT 'view ' || ev_class::regclass, ev_action::text
            FROM pg_rewrite WHERE ev_class = to_regclass('public.ci_view')
      ) definition (what, tree)
     ORDER BY what";

/// Keeps what it is now. As superuser, when all of it is there.
pub fn remember(client: &mut Client, table: &Table) -> Result<()> {
    let used = used(table);
    client
        .batch_execute(&format!("CREATE TABLE journal.likeness AS {used}"))
        .context("keeping what the definitions use")
}

/// Compares. As superuser.
pub fn examine(client: &mut Client, table: &Table) -> Result<()> {
    if let Some(caseless) = &table.caseless {
        same_operators(client, table)?;
        let shape = ledger::present_shape(client, &table.schema)?;
        same_rows(client, table, caseless, &shape)?;
    }
    nobody_else(client)?;
    no_orphans(client, table)?;
    no_trespass(client, table)
}

fn used(table: &Table) -> String {
    let name = format!("'{}'::regclass", table.schema.table);
    format!("SELECT * FROM ({}) used (definition)", USED.replace("{table}", &name))
}

/// The definitions use the same operators as at first.
fn same_operators(client: &mut Client, table: &Table) -> Result<()> {
    // The index of a table that was made by hand has another name.
    let named = if table.by_hand { "definition NOT LIKE 'index %'" } else { "true" };
    let used = used(table);
    let sql = format!(
        "(SELECT 'lost ' || definition FROM (TABLE journal.likeness EXCEPT {used}) l WHERE {named})
         UNION ALL
         (SELECT 'new ' || definition FROM ({used} EXCEPT TABLE journal.likeness) n
           WHERE {named} AND definition NOT LIKE 'column ci_mapped%')"
    );
    let different = texts(client, &sql).context("comparing what the definitions use")?;
    ensure!(different.is_empty(), "definitions mean something else: {different:?}");
    Ok(())
}

/// The view and the policy show the rows that they showed.
fn same_rows(client: &mut Client, table: &Table, caseless: &Caseless, shape: &Shape) -> Result<()> {
    let name = &table.schema.table;
    let (admin, word) = (caseless.is_admin(shape), caseless.word(shape));
    if caseless.view {
        let sql = format!(
            "SELECT (SELECT count(*) FROM public.ci_view), count(*) FROM {name} WHERE {admin}"
        );
        let row = client.query_one(&sql, &[]).context("counting what the view shows")?;
        let (shown, right): (i64, i64) = (row.get(0), row.get(1));
        ensure!(shown == right, "the view shows {shown} rows instead of {right}");
    }
    if caseless.policy {
        let sql = format!("SELECT count(*) FROM {name} WHERE {admin} OR ({word}) IS NULL");
        let right: i64 = client.query_one(&sql, &[]).context("counting")?.get(0);
        client.batch_execute("SET ROLE reader").context("SET ROLE")?;
        let sql = format!("SELECT count(*) FROM {name}");
        let shown: i64 = client.query_one(&sql, &[]).context("reading as another role")?.get(0);
        client.batch_execute("RESET ROLE").context("RESET ROLE")?;
        ensure!(shown == right, "the policy shows {shown} rows instead of {right}");
    }
    Ok(())
}

/// No trigger of the application's has fired for anybody but the application.
fn nobody_else(client: &mut Client) -> Result<()> {
    let suspects = texts(client, &format!("{SUSPECTS} LIMIT 5")).context("reading who it was")?;
    ensure!(suspects.is_empty(), "triggers have fired for {suspects:?}");
    Ok(())
}

/// Each child has its parent in the live table.
fn no_orphans(client: &mut Client, table: &Table) -> Result<()> {
    if table.children.is_none() {
        return Ok(());
    }
    let shape = ledger::present_shape(client, &table.schema)?;
    let sql = format!(
        "SELECT c.email FROM {} c
          WHERE c.email IS NOT NULL
            AND NOT EXISTS (SELECT FROM {} p WHERE p.{} = c.email) LIMIT 5",
        children::TABLE,
        table.schema.table,
        shape.email
    );
    let orphans = texts(client, &sql).context("looking for orphans")?;
    ensure!(orphans.is_empty(), "children without a parent: {orphans:?}");
    Ok(())
}

/// What an event trigger does to each new table is not seen of these.
fn no_trespass(client: &mut Client, table: &Table) -> Result<()> {
    let Some(trespasser) = table.trespasser else { return Ok(()) };
    let sql = format!(
        "WITH pair AS (SELECT unnest(ARRAY[to_regclass('{}'), to_regclass('{}')]) AS oid)
         SELECT c.oid::regclass::text FROM pg_catalog.pg_class c
          WHERE c.oid IN (SELECT pair.oid FROM pair) AND ({})",
        table.schema.table,
        table.blue(),
        trespasser.seen()
    );
    let found = texts(client, &sql).context("looking for what an event trigger has done")?;
    if !found.is_empty() {
        bail!("an event trigger was at {found:?}: {trespasser:?}");
    }
    Ok(())
}

fn texts(client: &mut Client, sql: &str) -> Result<Vec<String>> {
    let rows = client.query(sql, &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
