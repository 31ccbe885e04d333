//! Running a long command with a sign of life: on a terminal a spinner with what it did last,
//! elsewhere a line a minute. One that hangs is ended.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::setup::command::line;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(200);

/// How often a line is written where there is no terminal.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// How long a command may take that is not repeated.
pub(super) const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Runs a command with its output appended to a log, and answers whether it succeeded within the
/// limit.
pub(super) fn watch(command: &mut Command, log: &Path, limit: Duration) -> Result<bool> {
    let mut out = OpenOptions::new()
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    let own = out.try_clone().context("duplicating the log's handle")?;
    let err = out.try_clone().context("duplicating the log's handle")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(own)
        .stderr(err)
        .spawn()
        .with_context(|| format!("starting {}", line(command)))?;

    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("    {spinner} {elapsed} {wide_msg}") {
        spinner.set_style(style);
    }
    let begin = Instant::now();
    let mut said = begin;
    let mut ended = false;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a command")? {
            spinner.finish_and_clear();
            return Ok(status.success() && !ended);
        }
        if begin.elapsed() > limit && !ended {
            ended = true;
            let minutes = limit.as_secs() / 60;
            writeln!(out, "error: ended, because it took longer than {minutes} minutes")
                .with_context(|| format!("writing {}", log.display()))?;
            end(i32::try_from(child.id()).context("a process id")?);
        }
        spinner.set_message(last_line(log));
        spinner.tick();
        if spinner.is_hidden() && said.elapsed() >= SIGN_OF_LIFE {
            said = Instant::now();
            eprintln!("    {:.0} s: {}", begin.elapsed().as_secs_f64(), last_line(log));
        }
        std::thread::sleep(TICK);
    }
}

/// Ends a process that we started and what it started: cargo does not end its tests by itself. Their
/// clusters end with them.
fn end(process: i32) {
    let children = children(process);
    // Before them, lest it go on with what comes after. It may have ended meanwhile.
    let _ = signal::kill(Pid::from_raw(process), Signal::SIGTERM);
    for child in children {
        end(child);
    }
}

/// The processes whose parent is this one.
fn children(process: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    let is_child = |candidate: &i32| {
        let stat = fs::read_to_string(format!("/proc/{candidate}/stat")).unwrap_or_default();
        // After the name, which is in parentheses and may hold anything: state, parent.
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        fields.split_whitespace().nth(1).is_some_and(|parent| parent.parse() == Ok(process))
    };
    entries.filter_map(Result::ok).filter_map(number).filter(is_child).collect()
}

/// The last line of a log that is being written, or nothing.
fn last_line(log: &Path) -> String {
    const ENOUGH: u64 = 1000;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_command_that_hangs_is_ended_with_what_it_started() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut hanging = Command::new("sh");
        hanging.args(["-c", "sleep 1000; echo still here"]);

        let passed = watch(&mut hanging, log.path(), Duration::from_millis(300)).unwrap();

        assert!(!passed);
        let text = fs::read_to_string(log.path()).unwrap();
        assert!(text.contains("took longer") && !text.contains("still here"), "{text}");
    }
}
