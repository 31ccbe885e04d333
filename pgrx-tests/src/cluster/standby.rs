//! A streaming standby of a throwaway cluster.

use std::fs;

use anyhow::{Context, Result};

use super::{Cluster, Options, PORT, SUPERUSER, run_logged};

impl Cluster {
    /// Makes a standby and starts it. `name` is its `application_name`; `options` are those of the
    /// primary, some of which a standby may not have lower, and what is to be different.
    ///
    /// It is a [`Cluster`] like any other, on which nothing can be written.
    pub fn standby(&self, name: &str, options: &Options) -> Result<Cluster> {
        let standby = self.empty()?;
        let primary = format!(
            "host={} port={PORT} user={SUPERUSER} application_name={name}",
            self.sockets.display()
        );
        let mut backup = standby.server_command("pg_basebackup");
        backup
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"])
            .arg(&primary)
            .arg("--pgdata")
            .arg(&standby.data);
        run_logged(&mut backup, &standby.sockets.join("pg_basebackup.log"))
            .context("copying the primary")?;

        // The primary's log and settings came with the copy.
        let _ = fs::remove_file(standby.log_file());
        standby.configure(options)?;
        standby.restart()?;
        Ok(standby)
    }
}
