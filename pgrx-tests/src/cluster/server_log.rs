//! The server's log, read as it grows: what no session may ever cause.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Begins each line of a log with the SQLSTATE, so that internal errors are alarms too.
pub const PREFIX: &str = "%m [%p] %e %q%u@%d %a ";

/// What a line of an alarm says. Crashes, failed assertions, panics of ours; and what the server
/// warns of when a transaction ends and something was not given back, or memory was written to that
/// belongs to nobody (the latter only by a server that is built with assertions).
const ALARMS: &[&str] = &[
    "PANIC:",
    "TRAP:",
    "panicked at",
    "segfault",
    "stack depth",
    " leak: ",
    "still active",
    "snapshots seem to remain",
    "SPI stack",
    "you don't own a lock",
    "GUC nest level",
    "problem in alloc set",
    "detected write past chunk end",
    "while in ABORT state",
    "resource was not closed",
];

/// The log, up to where it was read.
#[derive(Debug)]
pub struct ServerLog {
    path: PathBuf,
    read: u64,
}

impl ServerLog {
    /// From its beginning.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The new lines that tell of a crash, a panic, a leak or an internal error.
    pub fn alarms(&mut self) -> Result<Vec<String>> {
        let mut file = File::open(&self.path).context("opening the server's log")?;
        file.seek(SeekFrom::Start(self.read)).context("reading the server's log")?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).context("reading the server's log")?;
        // The last line may be half written.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        let text = String::from_utf8_lossy(&bytes[..whole]);
        Ok(text.lines().filter(|line| is_alarm(line)).map(str::to_owned).collect())
    }
}

fn is_alarm(line: &str) -> bool {
    let fell = line.contains("terminated by signal") && !line.contains("signal 9");
    fell || ALARMS.iter().any(|word| line.contains(word)) || line.contains("] XX")
}

#[cfg(test)]
mod tests {
    use super::is_alarm;

    #[test]
    fn internal_errors_and_crashes_are_alarms_and_our_own_kills_are_not() {
        assert!(is_alarm("2026-01-01 [7] XX000 app@x y ERROR:  cache lookup failed"));
        assert!(is_alarm("server process (PID 7) was terminated by signal 11: Segmentation fault"));
        assert!(!is_alarm("server process (PID 7) was terminated by signal 9: Killed"));
        assert!(!is_alarm("2026-01-01 [7] 55000 app@x y ERROR:  wrong phase"));
    }

    #[test]
    fn what_was_not_given_back_is_an_alarm() {
        for line in [
            "WARNING:  cache reference leak: cache pg_type (81), tuple 1/2 has count 1",
            "WARNING:  snapshot 0x55d still active",
            "WARNING:  transaction left non-empty SPI stack",
            "WARNING:  problem in alloc set ExprContext: detected write past chunk end",
            "TRAP: FailedAssertion(\"portal->status == PORTAL_READY\", File: \"x.c\", Line: 1)",
        ] {
            assert!(is_alarm(line), "{line}");
        }
    }
}
