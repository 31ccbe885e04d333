//! A cluster that another one is upgraded to by pg_upgrade, of the same version or a later one.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::{
    Cluster, Options, SUPERUSER, StopMode, Workspace, make_directories, output, run_logged,
};

impl Cluster {
    /// Stops this cluster, checks whether it can be upgraded, does it, and starts the new one, of the version that
    /// the options name.
    pub fn upgraded(&self, options: &Options) -> Result<Cluster> {
        let workspace = options.workspace()?;
        let (data, sockets) = make_directories(&workspace, self.account)?;
        let new = Self::new(self.account, workspace.bin(options.tree), data, sockets)?;
        new.init(options)?;
        self.stop(StopMode::Fast)?;
        // Since 18 a new cluster has checksums, and pg_upgrade wants both to have them or neither.
        if new.has_checksums()? && !self.has_checksums()? {
            let mut disable = new.server_command("pg_checksums");
            disable.arg("--disable").arg("-D").arg(&new.data);
            run_logged(&mut disable, &new.sockets.join("pg_checksums.log"))
                .context("disabling checksums")?;
        }
        run_logged(self.pg_upgrade(&new).arg("--check"), &new.sockets.join("check.log"))
            .context("checking for an upgrade")?;
        run_logged(&mut self.pg_upgrade(&new), &new.sockets.join("pg_upgrade.log"))
            .context("upgrading")?;
        new.restart()?;
        Ok(new)
    }

    fn has_checksums(&self) -> Result<bool> {
        let mut controldata = self.server_command("pg_controldata");
        let said = output(controldata.env("LC_ALL", "C").arg("-D").arg(&self.data))?;
        let version =
            said.lines().find_map(|line| line.strip_prefix("Data page checksum version:"));
        Ok(version.is_some_and(|version| version.trim() != "0"))
    }

    fn pg_upgrade(&self, new: &Cluster) -> Command {
        let mut command = new.server_command("pg_upgrade");
        // It leaves a script where it runs, and finds no setting of ours in the new directory.
        command.current_dir(&new.sockets).args(["--username", SUPERUSER]);
        for (option, value) in [
            ("--old-bindir", &self.bin),
            ("--new-bindir", &new.bin),
            ("--old-datadir", &self.data),
            ("--new-datadir", &new.data),
            ("--socketdir", &new.sockets),
        ] {
            command.arg(option).arg(value);
        }
        command
    }
}

/// A script that upgrades the extension from its version to another, in a server's tree while it lives.
#[derive(Debug)]
pub struct Script(std::path::PathBuf);

impl Script {
    /// Writes it, for the tree of the release.
    pub fn to_version(version: &str, sql: &str) -> Result<Self> {
        let workspace = Workspace::find()?;
        let from = env!("CARGO_PKG_VERSION");
        let file = workspace
            .extensions(crate::setup::Tree::Release)?
            .join(format!("pg_bluegreen--{from}--{version}.sql"));
        fs::write(&file, sql).with_context(|| format!("writing {}", file.display()))?;
        Ok(Self(file))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
