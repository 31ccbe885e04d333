//! Running a long command with a sign of life: on a terminal a spinner with what it did last,
//! elsewhere a line a minute.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::setup::command::line;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(200);

/// How often a line is written where there is no terminal.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// Runs a command with its output appended to a log, and answers whether it succeeded.
pub(super) fn watch(command: &mut Command, log: &Path) -> Result<bool> {
    let out = OpenOptions::new()
        .append(true)
        .open(log)
        .with_context(|| format!("opening {}", log.display()))?;
    let err = out.try_clone().context("duplicating the log's handle")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("starting {}", line(command)))?;

    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("    {spinner} {elapsed} {wide_msg}") {
        spinner.set_style(style);
    }
    let begin = Instant::now();
    let mut said = begin;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a command")? {
            spinner.finish_and_clear();
            return Ok(status.success());
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
