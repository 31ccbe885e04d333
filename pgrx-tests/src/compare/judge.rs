//! Goals: each is printed with what was reached, and what was missed is kept for the end.

use super::Arguments;

/// Keeps what was missed. A quick run measures nothing, so that only lost writes and errors of
/// clients count there.
pub(super) struct Judge {
    quick: bool,
    missed: Vec<String>,
}

impl Judge {
    pub(super) fn new(arguments: &Arguments) -> Self {
        Self { quick: arguments.quick, missed: Vec::new() }
    }

    /// A value that is to be no more than its goal.
    pub(super) fn at_most(&mut self, what: &str, value: f64, goal: f64, unit: &str) {
        self.goal(what, value, &format!("≤ {goal}{unit}"), unit, value <= goal);
    }

    /// A value that is to be no less than its goal.
    pub(super) fn at_least(&mut self, what: &str, value: f64, goal: f64, unit: &str) {
        self.goal(what, value, &format!("≥ {goal}{unit}"), unit, value >= goal);
    }

    /// Something that must never be, also in a quick run: how often it was.
    pub(super) fn never(&mut self, what: &str, times: u64) {
        println!("{what}: {times} (goal 0)");
        if times > 0 {
            self.missed.push(format!("{what}: {times}"));
        }
    }

    /// A comparison that could not be made.
    pub(super) fn failed(&mut self, what: &str, error: &anyhow::Error) {
        eprintln!("error: {what}: {error:#}");
        self.missed.push(format!("{what} failed: {error:#}"));
    }

    /// What was missed in all.
    pub(super) fn missed(self) -> Vec<String> {
        self.missed
    }

    fn goal(&mut self, what: &str, value: f64, goal: &str, unit: &str, reached: bool) {
        let remark = if self.quick { ", not judged by a quick run" } else { "" };
        println!("{what}: {value:.3}{unit} (goal {goal}{remark})");
        if !self.quick && !reached {
            self.missed.push(format!("{what}: {value:.3}{unit}, goal {goal}"));
        }
    }
}
