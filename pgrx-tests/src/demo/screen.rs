//! What the demo shows while it runs.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::SimpleQueryMessage;
use postgres::error::DbError;

/// Stdout, with the progress of a call on one line where it is a terminal.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    terminal: bool,
    /// The cursor stands behind a line of progress, which the next one overwrites.
    progress: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { terminal, progress: Arc::new(AtomicBool::new(false)) }
    }

    /// Text at the margin.
    pub(super) fn line(&self, text: &str) {
        println!("{text}");
    }

    /// A step begins.
    pub(super) fn step(&self, name: &str, what: &str) {
        let (bold, plain) = if self.terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        println!("\n{bold}{name:<12}{plain} {what}");
    }

    /// Something about the step.
    pub(super) fn detail(&self, text: &str) {
        println!("{:<12} {text}", "");
    }

    /// What is to be done with the server's NOTICEs.
    pub(super) fn notices(&self) -> impl Fn(DbError) + Sync + Send + 'static {
        let screen = self.clone();
        move |notice| screen.notice(notice.message())
    }

    fn notice(&self, message: &str) {
        if self.terminal {
            print!("\r\x1b[2K{:<12} {message}", "");
            let _ = std::io::stdout().flush();
            self.progress.store(true, Ordering::SeqCst);
        } else {
            self.detail(message);
        }
    }

    /// The call has returned: its last line of progress stays.
    pub(super) fn end_of_progress(&self) {
        if self.progress.swap(false, Ordering::SeqCst) {
            println!();
        }
    }
}

/// The result of a query as lines, columns aligned, with their names at the top.
pub(super) fn table(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                rows.push(columns.iter().map(|c| c.name().to_owned()).collect());
            }
            SimpleQueryMessage::Row(row) => {
                let cell = |i| row.get(i).unwrap_or("∅").chars().take(30).collect();
                rows.push((0..row.len()).map(cell).collect());
            }
            _ => {}
        }
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| {
        rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000_003), "1,000,003");
        assert_eq!(grouped(-12_345), "-12,345");
    }
}
