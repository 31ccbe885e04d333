//! How many tests ran, and what those said that failed: read from what cargo prints.

use std::iter::Sum;

/// Tests that ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many passed.
    pub(super) passed: u64,
    /// How many failed.
    pub(super) failed: u64,
}

impl Count {
    /// Adds up the lines `test result: ok. 4 passed; 0 failed; …` of a log.
    pub(super) fn of_log(log: &str) -> Self {
        let results = log.lines().filter_map(|line| line.split_once("test result: "));
        results
            .map(|(_, result)| {
                let number = |what: &str| -> u64 {
                    let before = result.split_once(what).map(|(before, _)| before.trim_end());
                    let number = before.and_then(|text| text.rsplit([' ', ';', '.']).next());
                    number.and_then(|text| text.parse().ok()).unwrap_or(0)
                };
                Self { passed: number(" passed"), failed: number(" failed") }
            })
            .sum()
    }
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, count| Self {
            passed: sum.passed + count.passed,
            failed: sum.failed + count.failed,
        })
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// What the tests that failed said: a long log goes on after them, and its end does not tell.
pub(super) fn failures(log: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in log.lines() {
        inside = (inside || line == "failures:") && !line.starts_with("test result: ");
        if inside {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_several_test_programs_are_added_up() {
        let log = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; finished in 0.1s\n\
            test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured\n";

        assert_eq!(Count::of_log(log), Count { passed: 15, failed: 2 });
    }

    #[test]
    fn what_a_failed_test_said_is_found_in_the_middle_of_a_log() {
        let log = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\npanicked\n\n\
            test result: FAILED. 0 passed; 1 failed\ntest b ... ok\n";

        assert_eq!(failures(log), "failures:\n\n---- a stdout ----\npanicked\n\n");
    }

    #[test]
    fn a_log_without_tests_counts_nothing() {
        assert_eq!(Count::of_log("error: could not compile"), Count::default());
    }
}
