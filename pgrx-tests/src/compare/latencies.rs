//! What pgbench's logs tell: when each transaction ended and how long it took.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// All transactions of some clients.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    all: Vec<Transaction>,
    /// Clients that an error has ended.
    pub(super) errors: u64,
}

/// Microseconds.
#[derive(Debug, Clone, Copy)]
struct Transaction {
    /// Since 1970.
    ended: u64,
    /// From when it should have begun: a client that is late because the transaction before took
    /// long is counted too.
    took: u64,
}

/// How long transactions took in some time.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(super) struct Latencies {
    pub(super) transactions: u64,
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) longest_ms: f64,
}

/// Transactions that ended in a short time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// Seconds, the middle of it.
    pub(super) at: f64,
    pub(super) p50_ms: f64,
    pub(super) longest_ms: f64,
}

impl Transactions {
    /// Reads pgbench's logs: `client number microseconds script seconds microseconds`, with a lag
    /// behind it where the clients keep to a rate.
    pub(super) fn read(logs: &[PathBuf], errors: u64) -> Result<Self> {
        let mut all = Vec::new();
        for log in logs {
            let text = fs::read_to_string(log).context("reading pgbench's log")?;
            all.extend(text.lines().filter_map(parse));
        }
        all.sort_unstable_by_key(|transaction| transaction.ended);
        Ok(Self { all, errors })
    }

    /// Those that ended between two points in time.
    pub(super) fn between(&self, from: SystemTime, to: SystemTime) -> Result<Latencies> {
        self.within(&[(from, to)])
    }

    /// Those that ended in one of several windows, together.
    pub(super) fn within(&self, windows: &[(SystemTime, SystemTime)]) -> Result<Latencies> {
        let mut some = Vec::new();
        let mut time = Duration::ZERO;
        for &(from, to) in windows {
            some.extend_from_slice(self.ended_between(from, to)?);
            time += to.duration_since(from).unwrap_or_default();
        }
        summary(&some, time)
    }

    /// Those that were under way at some time between two points: also what waited for something
    /// that happened at the last moment.
    pub(super) fn during(&self, from: SystemTime, to: SystemTime) -> Result<Latencies> {
        let (begin, end) = (micros(from)?, micros(to)?);
        let under_way = |transaction: &&Transaction| {
            transaction.ended >= begin && transaction.ended - transaction.took <= end
        };
        let some: Vec<Transaction> = self.all.iter().filter(under_way).copied().collect();
        summary(&some, to.duration_since(from).unwrap_or_default())
    }
    /// The same in short pieces; `at` counts from `zero`.
    pub(super) fn trace(
        &self,
        zero: SystemTime,
        from: SystemTime,
        to: SystemTime,
        every: Duration,
    ) -> Result<Vec<Moment>> {
        let mut trace = Vec::new();
        let mut begin = from;
        while begin < to {
            let all = self.ended_between(begin, begin + every)?;
            if !all.is_empty() {
                let histogram = histogram(all)?;
                let after = |time: SystemTime| match time.duration_since(zero) {
                    Ok(after) => after.as_secs_f64(),
                    Err(before) => -before.duration().as_secs_f64(),
                };
                trace.push(Moment {
                    at: after(begin + every / 2),
                    p50_ms: milliseconds(histogram.value_at_quantile(0.50)),
                    longest_ms: milliseconds(histogram.max()),
                });
            }
            begin += every;
        }
        Ok(trace)
    }

    fn ended_between(&self, from: SystemTime, to: SystemTime) -> Result<&[Transaction]> {
        let (from, to) = (micros(from)?, micros(to)?);
        let begin = self.all.partition_point(|transaction| transaction.ended < from);
        let end = self.all.partition_point(|transaction| transaction.ended < to);
        Ok(&self.all[begin..end.max(begin)])
    }
}

fn parse(line: &str) -> Option<Transaction> {
    let fields: Vec<u64> = line.split(' ').filter_map(|field| field.parse().ok()).collect();
    let &[_, _, took, _, seconds, fraction, ..] = fields.as_slice() else { return None };
    Some(Transaction { ended: seconds * 1_000_000 + fraction, took })
}

fn summary(transactions: &[Transaction], time: Duration) -> Result<Latencies> {
    let histogram = histogram(transactions)?;
    #[allow(clippy::cast_precision_loss)]
    let count = histogram.len() as f64;
    Ok(Latencies {
        transactions: histogram.len(),
        per_second: count / time.as_secs_f64(),
        p50_ms: milliseconds(histogram.value_at_quantile(0.50)),
        p99_ms: milliseconds(histogram.value_at_quantile(0.99)),
        longest_ms: milliseconds(histogram.max()),
    })
}

fn histogram(transactions: &[Transaction]) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3).context("making a histogram")?;
    for transaction in transactions {
        histogram.record(transaction.took).context("recording a latency")?;
    }
    Ok(histogram)
}

fn micros(time: SystemTime) -> Result<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).context("the clock")?;
    u64::try_from(since.as_micros()).context("the clock")
}

fn milliseconds(micros: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let micros = micros as f64;
    micros / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(number)
    }

    fn some() -> Transactions {
        let lines = ["0 1 1500 0 10 0", "1 1 2500 0 10 500000 77", "0 2 90000 1 12 0", "said"];
        Transactions { all: lines.iter().filter_map(|line| parse(line)).collect(), errors: 0 }
    }

    #[test]
    fn those_that_ended_in_the_window_are_counted() -> Result<()> {
        let found = some().between(second(10), second(12))?;
        assert_eq!((found.transactions, found.per_second.to_string()), (2, "1".to_owned()));
        assert_eq!(found.longest_ms.round().to_string(), "3");
        assert_eq!(some().between(second(20), second(30))?.transactions, 0);
        Ok(())
    }

    #[test]
    fn what_waited_at_the_end_was_under_way() -> Result<()> {
        let just_before = second(12) - Duration::from_millis(50);
        assert_eq!(some().during(second(11), just_before)?.transactions, 1);
        assert_eq!(some().between(second(11), just_before)?.transactions, 0);
        Ok(())
    }

    #[test]
    fn a_trace_has_a_moment_for_each_time_in_which_something_ended() -> Result<()> {
        let trace = some().trace(second(11), second(10), second(13), Duration::from_secs(1))?;
        let at: Vec<String> = trace.iter().map(|moment| moment.at.to_string()).collect();
        assert_eq!(at, ["-0.5", "1.5"]);
        Ok(())
    }
}
