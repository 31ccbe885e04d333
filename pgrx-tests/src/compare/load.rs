//! Clients: pgbench with scripts that write, and enter each write in the ledger in the same
//! statement.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::OWNER;
use crate::cluster::Cluster;

/// Transactions per second that the clients start.
pub(super) const RATE: u32 = 400;

/// Longer than any run: the clients are stopped before.
const LONG: &str = "3600";

/// Scripts and how often each is chosen, of ten.
const SCRIPTS: [(&str, u32, &str); 3] = [
    (
        "update",
        7,
        "\\set id random(1, :rows)
         WITH w AS (UPDATE users SET version = version + 1, name = 'Renamed ' || :id
                     WHERE id = :id RETURNING 1)
         INSERT INTO ledger SELECT 0, 0, 1 FROM w;",
    ),
    (
        "insert",
        2,
        "WITH w AS (INSERT INTO users (name, email)
                    VALUES ('New', 'new' || gen_random_uuid() || '@example.com') RETURNING id)
         INSERT INTO ledger SELECT 1, id, 0 FROM w;",
    ),
    (
        "delete",
        1,
        "\\set id random(1, :rows)
         WITH w AS (DELETE FROM users WHERE id = :id RETURNING id, version)
         INSERT INTO ledger SELECT -1, -id, -version FROM w;",
    ),
];

/// Clients at work, [`RATE`] transactions a second by eight of them.
pub(super) struct Load {
    pgbench: Child,
    files: TempDir,
}

impl Load {
    /// Lets them begin.
    pub(super) fn start(cluster: &Cluster, rows: i64) -> Result<Self> {
        let files = tempfile::tempdir().context("making a directory for pgbench")?;
        let mut command = cluster.command("pgbench");
        command
            .args(["-n", "-U", OWNER, "-c", "8", "-j", "1", "-T", LONG])
            .args(["-R", &RATE.to_string(), "-D", &format!("rows={rows}")])
            .args(["--log", "--log-prefix=log"]);
        for (name, weight, script) in SCRIPTS {
            let file = files.path().join(name);
            let text = one_line_each(script);
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
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
        Ok(Self { pgbench, files })
    }

    /// Lets them end their transactions, and tells how long those took that ended between two
    /// points in time.
    pub(super) fn stop(mut self, from: SystemTime, to: SystemTime) -> Result<Latencies> {
        // The signal with which pgbench itself ends its time: it finishes in order, log and all.
        self.alarm()?;
        let status = self.pgbench.wait().context("waiting for pgbench")?;
        let said = fs::read_to_string(self.files.path().join("said")).unwrap_or_default();
        if !status.success() || !said.contains("number of failed transactions: 0 ") {
            bail!("clients got errors: {said}");
        }
        Latencies::read(&logs(self.files.path())?, from, to)
    }

    fn alarm(&self) -> Result<()> {
        let pid = i32::try_from(self.pgbench.id()).context("pgbench's process id")?;
        signal::kill(Pid::from_raw(pid), Signal::SIGALRM).context("ending pgbench")
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

/// pgbench takes a backslash command up to the line's end and a statement up to its semicolon; a
/// statement over several lines is fine, blanks before the backslash are not worth a try.
fn one_line_each(script: &str) -> String {
    script.lines().map(|line| format!("{}\n", line.trim_start())).collect()
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

/// How long transactions took, from when they should have begun: a client that is late because the
/// one before took long is counted too.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(super) struct Latencies {
    pub(super) transactions: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) longest_ms: f64,
}

impl Latencies {
    /// Reads pgbench's logs: `client number microseconds script seconds microseconds lag`.
    fn read(logs: &[PathBuf], from: SystemTime, to: SystemTime) -> Result<Self> {
        let micros = |time: SystemTime| -> Result<u128> {
            Ok(time.duration_since(SystemTime::UNIX_EPOCH).context("the clock")?.as_micros())
        };
        let (from, to) = (micros(from)?, micros(to)?);
        let mut histogram = Histogram::<u64>::new(3).context("making a histogram")?;
        for log in logs {
            let text = fs::read_to_string(log).context("reading pgbench's log")?;
            for line in text.lines() {
                let fields: Vec<u64> = line.split(' ').filter_map(|f| f.parse().ok()).collect();
                let &[_, _, took, _, seconds, fraction, ..] = fields.as_slice() else { continue };
                let ended = u128::from(seconds) * 1_000_000 + u128::from(fraction);
                // One that was under way at the end counts as well: it may have waited for it.
                if (from..=to + u128::from(took)).contains(&ended) {
                    histogram.record(took).context("recording a latency")?;
                }
            }
        }
        #[allow(clippy::cast_precision_loss)]
        let ms = |micros: u64| micros as f64 / 1000.0;
        Ok(Self {
            transactions: histogram.len(),
            p50_ms: ms(histogram.value_at_quantile(0.50)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            longest_ms: ms(histogram.max()),
        })
    }
}
