//! What the writers did and how long they had to wait.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

/// Microseconds, up to some ten minutes.
const LONGEST: u64 = 600_000_000;

/// How long the transactions of a phase took. A transaction counts in each phase that it touches.
#[derive(Debug, Clone)]
pub struct Stall {
    /// The phase's name.
    pub phase: String,
    histogram: Histogram<u64>,
}

impl Stall {
    /// Of no transactions.
    pub(super) fn new(phase: &str) -> Self {
        let histogram = Histogram::new_with_max(LONGEST, 3)
            .or_else(|_| Histogram::new(3))
            .unwrap_or_else(|_| unreachable!("three digits are allowed"));
        Self { phase: phase.to_owned(), histogram }
    }

    pub(super) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST);
        self.histogram.saturating_record(micros.min(LONGEST));
    }

    pub(super) fn add(&mut self, other: &Stall) {
        // Both have the same bounds.
        let _ = self.histogram.add(&other.histogram);
    }

    /// How many transactions.
    pub fn transactions(&self) -> u64 {
        self.histogram.len()
    }

    /// The longest one.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.histogram.max())
    }

    /// The one that this percentage of them did not exceed.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.histogram.value_at_percentile(percent))
    }
}

/// An error that a client saw and must not have seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which writer.
    pub writer: usize,
    /// In which phase.
    pub phase: String,
    /// What it said.
    pub message: String,
}

/// What the writers did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were rolled back on purpose.
    pub rolled_back: u64,
    /// How often the table was truncated.
    pub truncated: u64,
    /// Connections that were lost and opened again.
    pub reconnected: u64,
    /// Commits that were not answered and had happened all the same.
    pub unanswered: u64,
    /// Errors that were expected, by SQLSTATE.
    pub tolerated: BTreeMap<String, u64>,
    /// Errors that were not.
    pub problems: Vec<Problem>,
    /// By phase, in their order.
    pub stalls: Vec<Stall>,
}

impl Report {
    /// An error unless every client got through without one.
    pub fn check(&self) -> Result<()> {
        if let Some(first) = self.problems.first() {
            bail!(
                "{} writers had an error, the first one (writer {}, phase {}): {}",
                self.problems.len(),
                first.writer,
                first.phase,
                first.message
            );
        }
        Ok(())
    }

    /// The phase's stalls.
    pub fn stall(&self, phase: &str) -> Option<&Stall> {
        self.stalls.iter().find(|stall| stall.phase == phase)
    }

    pub(super) fn add(&mut self, other: Report) {
        self.committed += other.committed;
        self.rolled_back += other.rolled_back;
        self.truncated += other.truncated;
        self.reconnected += other.reconnected;
        self.unanswered += other.unanswered;
        for (code, count) in other.tolerated {
            *self.tolerated.entry(code).or_default() += count;
        }
        self.problems.extend(other.problems);
        for stall in other.stalls {
            match self.stalls.iter_mut().find(|mine| mine.phase == stall.phase) {
                Some(mine) => mine.add(&stall),
                None => self.stalls.push(stall),
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} transactions committed, {} rolled back, {} TRUNCATEs, {} reconnections, \
             {} commits without an answer, tolerated errors: {:?}",
            self.committed,
            self.rolled_back,
            self.truncated,
            self.reconnected,
            self.unanswered,
            self.tolerated
        )?;
        for stall in &self.stalls {
            writeln!(
                f,
                "{:>12}: {:>7} transactions, p50 {:>8.2} ms, p99 {:>8.2} ms, longest {:>8.2} ms",
                stall.phase,
                stall.transactions(),
                stall.percentile(50.0).as_secs_f64() * 1000.0,
                stall.percentile(99.0).as_secs_f64() * 1000.0,
                stall.longest().as_secs_f64() * 1000.0
            )?;
        }
        for problem in &self.problems {
            writeln!(f, "writer {} in {}: {}", problem.writer, problem.phase, problem.message)?;
        }
        Ok(())
    }
}
