//! Where a comparison takes place: a cluster with one table, its ledger, and the sessions that look
//! after them.

use anyhow::{Context, Result};
use postgres::Client;

use super::ledger::{self, Sums};
use super::side::Side;
use super::table::Table;
use super::{OWNER, session, warm};
use crate::cluster::{Cluster, Options, SUPERUSER};
use crate::setup::command::say;

/// What a server as delivered is too small in for two million rows.
pub(super) const AS_DELIVERED_BUT: [(&str, &str); 2] =
    [("shared_buffers", "1GB"), ("max_wal_size", "16GB")];

/// A cluster with a table.
pub(super) struct Place {
    pub(super) cluster: Cluster,
    pub(super) admin: Client,
    pub(super) table: &'static Table,
    /// How many rows it was filled with.
    pub(super) rows: i64,
    prewarm: bool,
}

impl Place {
    /// Starts a cluster and fills a table.
    pub(super) fn fill(table: &'static Table, rows: i64) -> Result<Self> {
        Self::fill_on(Side::Ours, table, rows)
    }

    /// The same for one of the builds.
    pub(super) fn fill_on(side: Side, table: &'static Table, rows: i64) -> Result<Self> {
        Self::fill_in(start(usual("1GB").tree(side.tree()))?, table, rows)
    }

    /// The same in a cluster with the server's own settings but those of [`AS_DELIVERED_BUT`].
    pub(super) fn fill_as_delivered(side: Side, table: &'static Table, rows: i64) -> Result<Self> {
        // What a throwaway cluster sets otherwise.
        let delivered = [("fsync", "on"), ("max_prepared_transactions", "0")];
        let set = |options: Options, (name, value): &(&str, &str)| options.set(name, value);
        let options = Options::default().tree(side.tree());
        let options = delivered.iter().chain(&AS_DELIVERED_BUT).fold(options, set);
        Self::fill_in(start(options)?, table, rows)
    }

    /// The same in a cluster with shared buffers for a large table.
    pub(super) fn fill_large(table: &'static Table, rows: i64) -> Result<Self> {
        Self::fill_in(start(usual("4GB"))?, table, rows)
    }

    fn fill_in(cluster: Cluster, table: &'static Table, rows: i64) -> Result<Self> {
        let rows = table.rows(rows);
        say(&format!("Filling {} with {rows} rows", table.name));
        let mut admin = cluster.connect(SUPERUSER, "postgres")?;
        table.create(&mut admin, rows)?;
        ledger::create(&mut admin)?;
        // What is built beside the table only to be measured.
        session::execute(&mut admin, &format!("CREATE SCHEMA floor AUTHORIZATION {OWNER}"))?;
        let prewarm = session::has_extension(&mut admin, "pg_prewarm")?;
        if prewarm {
            session::execute(&mut admin, "CREATE EXTENSION pg_prewarm")?;
        }
        Ok(Self { cluster, admin, table, rows, prewarm })
    }

    /// The same state before each run: no dead rows, hints and visibility written, statistics new,
    /// nothing to be written by a checkpoint, and the table in memory.
    pub(super) fn settle(&mut self) -> Result<()> {
        let name = self.table.name;
        let warm = if self.prewarm {
            format!(
                "SELECT pg_prewarm(relation) FROM pg_class c,
                        LATERAL (VALUES (c.oid), (nullif(c.reltoastrelid, 0))) AS r (relation)
                  WHERE c.oid = 'public.{name}'::regclass AND relation IS NOT NULL"
            )
        } else {
            format!("SELECT count(*) FROM public.{name}")
        };
        let vacuum = format!("VACUUM (ANALYZE) public.{name}");
        for sql in [&vacuum, "VACUUM public.ledger", "CHECKPOINT", &warm] {
            session::execute(&mut self.admin, sql)?;
        }
        Ok(())
    }

    /// Touches the memory that a run over a large table takes: the copy, its WAL, its indexes, and room.
    pub(super) fn warm_memory(&mut self) -> Result<()> {
        let size = format!("SELECT 4 * pg_table_size('public.{}')", self.table.name);
        let bytes: i64 =
            self.admin.query_one(&size, &[]).context("asking the table's size")?.get(0);
        warm::memory(usize::try_from(bytes)?)
    }

    /// Begins a deployment that changes nothing, and brings it to `ready`.
    pub(super) fn deploy(&self, subject: &mut Client) -> Result<()> {
        session::execute(subject, &format!("SELECT bg_prepare('{}', '')", self.table.name))?;
        session::execute(subject, &format!("CALL bg_run('{}')", self.table.name))
    }

    /// Ends the deployment; the table stays.
    pub(super) fn abandon(&self, subject: &mut Client) -> Result<()> {
        session::execute(subject, &format!("SELECT bg_abort('{}')", self.table.name))
    }

    /// The table's sums less the ledger's.
    pub(super) fn beyond_ledger(&mut self) -> Result<Sums> {
        ledger::beyond(&mut self.admin, self.table)
    }

    /// How many bytes of WAL were written up to now.
    pub(super) fn wal_position(&mut self) -> Result<i64> {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8";
        Ok(self.admin.query_one(sql, &[]).context("reading the WAL's position")?.get(0))
    }
}

/// A cluster set up as a small production server: durable, with enough WAL to need no checkpoint in
/// the middle of a run. Without autovacuum, which would come into some runs and not into others.
fn usual(shared_buffers: &str) -> Options {
    Options::default()
        .shared_buffers(shared_buffers)
        .set("fsync", "on")
        .set("autovacuum", "off")
        .set("max_wal_size", "16GB")
        .set("checkpoint_timeout", "1h")
        .set("maintenance_work_mem", "256MB")
}

fn start(options: Options) -> Result<Cluster> {
    let cluster = Cluster::start(&options)?;
    cluster.install_extension("postgres")?;
    cluster.create_owner(OWNER)?;
    Ok(cluster)
}
