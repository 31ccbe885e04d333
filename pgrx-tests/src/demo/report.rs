//! What came of it.

use std::time::Duration;

use anyhow::{Result, bail};

use super::screen::grouped;
use crate::journal::{Balance, Report};

/// A step of the demo.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) took: Duration,
}

/// The end of the demo.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) steps: Vec<Step>,
    pub(super) report: Report,
    pub(super) balance: Balance,
    pub(super) phones_written: u64,
    pub(super) phones_lost: i64,
    /// Of clients that are not in the report.
    pub(super) errors: Vec<String>,
}

impl Outcome {
    /// Committed writes that are not in the table: by rows, and one at least when anything about
    /// the table's contents is not what the ledger says.
    fn lost(&self) -> i64 {
        let rows = self.balance.rows_lost().abs();
        let contents = i64::from(self.balance.check().is_err());
        rows.max(contents) + self.phones_lost
    }

    fn client_errors(&self) -> usize {
        self.report.problems.len() + self.errors.len()
    }

    pub(super) fn print(&self) {
        println!("\n{:<14}{:>9}{:>24}", "step", "seconds", "longest client stall");
        for step in &self.steps {
            let stall = self
                .report
                .stall(&step.name)
                .map(|stall| format!("{:.1} ms", stall.longest().as_secs_f64() * 1000.0));
            let stall = stall.unwrap_or_else(|| "–".to_owned());
            println!("{:<14}{:>9.3}{:>24}", step.name, step.took.as_secs_f64(), stall);
        }
        let committed = i64::try_from(self.report.committed).unwrap_or(i64::MAX);
        println!();
        println!("rows                   {:>14}", grouped(self.balance.table.rows));
        println!("transactions committed {:>14}", grouped(committed));
        println!("phone numbers written  {:>14}", self.phones_written);
        println!("errors at the clients  {:>14}", self.client_errors());
        println!("committed writes lost  {:>14}", grouped(self.lost()));
        for problem in &self.report.problems {
            println!("  writer {} in {}: {}", problem.writer, problem.phase, problem.message);
        }
        for error in &self.errors {
            println!("  {error}");
        }
    }

    /// An error when anything was lost or a client got an error.
    pub(super) fn check(&self) -> Result<()> {
        self.balance.check()?;
        if self.phones_lost != 0 {
            bail!("{} phone numbers are not in the table", self.phones_lost);
        }
        if self.client_errors() != 0 {
            bail!("clients got errors");
        }
        Ok(())
    }
}
