//! A client of the new definition: it fills the new column, of rows that no other client touches
//! (those with keys from 0 down), and enters each number in a table of its own in the same
//! transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use postgres::{Client, NoTls};

/// Makes the table of entered numbers. As superuser.
pub(super) fn open(admin: &mut Client, role: &str) -> Result<()> {
    admin
        .batch_execute(&format!(
            "CREATE TABLE journal.phone (id bigint PRIMARY KEY, phone text NOT NULL);
             GRANT SELECT, INSERT ON journal.phone TO {role}"
        ))
        .context("making the table for phone numbers")
}

/// How many entered numbers are not in the table `users`, as a count over both.
pub(super) fn lost(admin: &mut Client) -> Result<i64> {
    let has_column = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.users'::regclass \
                      AND attname = 'phone' AND NOT attisdropped";
    let columns: i64 = admin.query_one(has_column, &[]).context("looking for the column")?.get(0);
    let sql = if columns == 0 {
        "SELECT count(*) FROM journal.phone"
    } else {
        "SELECT count(*) FROM journal.phone p LEFT JOIN public.users u USING (id) \
         WHERE u.phone IS DISTINCT FROM p.phone"
    };
    Ok(admin.query_one(sql, &[]).context("counting phone numbers")?.get(0))
}

/// The client at work.
pub(super) struct Phones {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Phones {
    /// Begins with the first row that has no number yet.
    pub(super) fn start(config: &postgres::Config) -> Result<Self> {
        let mut client = config.connect(NoTls).context("connecting to write phone numbers")?;
        let first = "SELECT coalesce(min(id) - 1, 0) FROM journal.phone";
        let first: i64 = client.query_one(first, &[]).context("finding a row")?.get(0);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("phones".to_owned())
            .spawn(move || write(&mut client, first, &stopped))
            .context("starting a thread")?;
        Ok(Self { stop, thread })
    }

    /// Lets it end its transaction; how many it has committed.
    pub(super) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow!("the thread that writes phone numbers panicked"))?
    }
}

fn write(client: &mut Client, first: i64, stop: &AtomicBool) -> Result<u64> {
    let mut written = 0;
    let mut id = first;
    while !stop.load(Ordering::SeqCst) {
        let phone = format!("+49 30 {:07}", -id);
        let mut transaction = client.transaction().context("BEGIN")?;
        let rows = transaction
            .execute("UPDATE public.users SET phone = $1 WHERE id = $2", &[&phone, &id])
            .context("writing a phone number")?;
        if rows == 0 {
            // All have one. Had a row been lost, the ledger's sums would tell.
            break;
        }
        transaction
            .execute("INSERT INTO journal.phone VALUES ($1, $2)", &[&id, &phone])
            .context("entering a phone number")?;
        transaction.commit().context("COMMIT")?;
        written += rows;
        id -= 1;
        thread::sleep(Duration::from_millis(2));
    }
    Ok(written)
}
