//! Backups of a throwaway cluster, incremental ones among them, and the cluster that they give.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use super::{Cluster, Options, SUPERUSER, Workspace, make_directories, run_logged};

impl Cluster {
    /// Makes a backup of this cluster, which runs: all of it, or what has changed since an earlier backup.
    pub fn backup(&self, since: Option<&Cluster>) -> Result<Cluster> {
        let backup = self.empty()?;
        let mut basebackup = backup.server_command("pg_basebackup");
        basebackup.args(["--checkpoint=fast", "--no-sync", "--dbname"]);
        basebackup.arg(self.conn_string(SUPERUSER, "postgres")).arg("--pgdata").arg(&backup.data);
        if let Some(earlier) = since {
            basebackup.arg("--incremental").arg(earlier.data.join("backup_manifest"));
        }
        run_logged(&mut basebackup, &backup.sockets.join("pg_basebackup.log"))
            .context("making a backup")?;
        // The log came with the files.
        let _ = fs::remove_file(backup.log_file());
        Ok(backup)
    }

    /// Makes a cluster from a whole backup and the incremental ones that follow, the oldest first, and starts it.
    pub fn combined(backups: &[Cluster], options: &Options) -> Result<Cluster> {
        let first = backups.first().context("no backup")?;
        let cluster = first.empty()?;
        let mut combine = cluster.server_command("pg_combinebackup");
        combine.arg("--no-sync").args(backups.iter().map(|backup| &backup.data));
        combine.arg("--output").arg(&cluster.data);
        run_logged(&mut combine, &cluster.sockets.join("pg_combinebackup.log"))
            .context("combining backups")?;
        cluster.configure(options)?;
        cluster.restart()?;
        Ok(cluster)
    }

    /// One of the same version, for whose files there is a directory.
    pub(super) fn empty(&self) -> Result<Cluster> {
        let (data, sockets) = make_directories(&Workspace::find()?, self.account)?;
        // It must be as closed as a server wants its directory.
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("closing {}", data.display()))?;
        Self::new(self.account, self.bin.clone(), data, sockets)
    }
}
