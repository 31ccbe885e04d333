//! The files of a new cluster: made by initdb once for each version of the server, and copied from then on,
//! which costs a tenth of it. Clusters that come from one copy have the same system identifier.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Account, Cluster, SUPERUSER, Workspace, output, run_logged};

impl Cluster {
    /// Fills the data directory.
    pub(super) fn make_files(&self) -> Result<()> {
        if let Account::Switched { .. } = self.account {
            // The clone, where the template would be, may be unreadable to it.
            return self.initdb(&self.data);
        }
        let template = self.template()?;
        let mut copy = Command::new("cp");
        copy.args(["--archive", "--reflink=auto"]).arg(template.join(".")).arg(&self.data);
        run_logged(&mut copy, &self.sockets.join("cp.log")).context("copying the template")
    }

    /// The template of this version; made by who needs it first.
    fn template(&self) -> Result<PathBuf> {
        let version = output(Command::new(self.bin.join("postgres")).arg("--version"))?;
        let name: String =
            version.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let clusters = Workspace::find()?.clusters();
        let template = clusters.join(format!("template-{name}"));
        if template.is_dir() {
            return Ok(template);
        }
        let new = tempfile::Builder::new()
            .prefix("template-")
            .tempdir_in(&clusters)
            .context("making a directory for the template")?;
        self.initdb(new.path())?;
        // Another process may have been first: its template is as good.
        match fs::rename(new.path(), &template) {
            Err(error) if !template.is_dir() => {
                Err(error).with_context(|| format!("creating {}", template.display()))
            }
            _ => Ok(template),
        }
    }

    fn initdb(&self, data: &Path) -> Result<()> {
        let mut initdb = self.server_command("initdb");
        initdb
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
            .arg(format!("--username={SUPERUSER}"))
            .arg("--pgdata")
            .arg(data);
        run_logged(&mut initdb, &self.sockets.join("initdb.log")).context("making a cluster")
    }
}
