//! Clients: pgbench with scripts that write, and enter each write in the ledger in the same
//! statement.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::Serialize;
use tempfile::TempDir;

use super::OWNER;
use super::latencies::Transactions;
use super::ledger::Statements;
use super::place::Place;

/// Transactions per second that steady clients start.
const RATE: &str = "400";

/// The same of few.
const TRICKLE: &str = "30";

/// Longer than any run: the clients are stopped before.
const LONG: &str = "3600";

/// How fast clients work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Pace {
    /// There are no clients
    Idle,
    /// 30 transactions a second by eight clients
    Trickle,
    /// 400 transactions a second by eight clients
    Steady,
    /// Eight clients, each as fast as it can
    Flat,
}

impl Pace {
    /// As it is typed.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Trickle => "trickle",
            Self::Steady => "steady",
            Self::Flat => "flat",
        }
    }
}

/// What clients write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mix {
    /// Updates, inserts and deletes, 7 to 2 to 1.
    All,
    /// Updates by key.
    Updates,
}

impl Mix {
    /// Scripts and how often each is chosen.
    fn scripts(self, statements: Statements) -> Vec<(&'static str, u32, String)> {
        const PICK: &str = "\\set id random(1, :rows)\n";
        let Statements { update, insert, delete } = statements;
        let update = ("update", 7, format!("{PICK}{update}"));
        match self {
            Self::Updates => vec![update],
            Self::All => vec![
                update,
                ("insert", 2, format!("{PICK}{insert}")),
                ("delete", 1, format!("{PICK}{delete}")),
            ],
        }
    }
}

/// Clients at work.
pub(super) struct Load {
    pgbench: Child,
    files: TempDir,
}

impl Load {
    /// Lets them begin, if there are any.
    pub(super) fn start(place: &Place, pace: Pace, mix: Mix) -> Result<Option<Self>> {
        let files = tempfile::tempdir().context("making a directory for pgbench")?;
        let mut command = place.cluster.command("pgbench");
        command
            .args(["-n", "-U", OWNER, "-c", "8", "-T", LONG])
            .args(["-D", &format!("rows={}", place.rows)])
            .args(["--log", "--log-prefix=log"]);
        match pace {
            Pace::Idle => return Ok(None),
            Pace::Trickle => command.args(["-j", "1", "-R", TRICKLE]),
            Pace::Steady => command.args(["-j", "1", "-R", RATE]),
            Pace::Flat => command.args(["-j", "2"]),
        };
        for (name, weight, script) in mix.scripts(Statements::of(place.table)) {
            let file = files.path().join(name);
            fs::write(&file, script).with_context(|| format!("writing {}", file.display()))?;
            command.arg("-f").arg(format!("{}@{weight}", file.display()));
        }
        let said = files.path().join("said");
        let out = fs::File::create(&said).context("creating pgbench's output")?;
        let err = out.try_clone().context("duplicating the output's handle")?;
        let pgbench = command
            .current_dir(files.path())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .context("starting pgbench")?;
        Ok(Some(Self { pgbench, files }))
    }

    /// Lets them end their transactions, and reads how long those took. An error of a client is an
    /// error.
    pub(super) fn stop(self) -> Result<Transactions> {
        let (transactions, said) = self.end()?;
        if transactions.errors > 0 {
            bail!("clients got errors: {said}");
        }
        Ok(transactions)
    }

    /// As [`Load::stop`]; clients that an error has ended are counted.
    pub(super) fn stop_whatever_happened(self) -> Result<Transactions> {
        Ok(self.end()?.0)
    }

    fn end(mut self) -> Result<(Transactions, String)> {
        // The signal with which pgbench itself ends its time: it finishes in order, log and all.
        let pid = i32::try_from(self.pgbench.id()).context("pgbench's process id")?;
        signal::kill(Pid::from_raw(pid), Signal::SIGALRM).context("ending pgbench")?;
        let status = self.pgbench.wait().context("waiting for pgbench")?;
        let said = fs::read_to_string(self.files.path().join("said")).unwrap_or_default();
        let aborted = said.matches("aborted in command").count();
        if !status.success() && aborted == 0 {
            bail!("pgbench failed: {said}");
        }
        let errors = u64::try_from(aborted).context("counting errors")?;
        Ok((Transactions::read(&logs(self.files.path())?, errors)?, said))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if matches!(self.pgbench.try_wait(), Ok(None)) {
            let _ = self.pgbench.kill();
            let _ = self.pgbench.wait();
        }
    }
}

fn logs(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).context("reading pgbench's directory")?;
    let mut logs = Vec::new();
    for entry in entries {
        let path = entry.context("reading pgbench's directory")?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.starts_with("log.")) {
            logs.push(path);
        }
    }
    Ok(logs)
}
