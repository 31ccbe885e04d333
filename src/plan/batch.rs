//! Batch sizes that follow the clock.

use std::time::Duration;

/// The next size: aims at `target`, grows by half at most, falls to a tenth at once when a batch
/// took more than five times the target.
pub(crate) fn next_size(size: u32, took: Duration, target: Duration) -> u32 {
    let (took, target) = (took.as_secs_f64().max(1e-6), target.as_secs_f64().max(1e-3));
    let factor = if took > 5.0 * target { 0.1 } else { (target / took).min(1.5) };
    let next = f64::from(size) * factor;
    (next.ceil() as u32).clamp(1, 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_half_at_most() {
        let target = Duration::from_millis(200);
        assert_eq!(next_size(100, Duration::from_millis(1), target), 150);
        assert_eq!(next_size(100, Duration::from_millis(400), target), 50);
    }

    #[test]
    fn a_stall_makes_it_small_at_once_but_never_nothing() {
        let target = Duration::from_millis(200);
        assert_eq!(next_size(1000, Duration::from_secs(2), target), 100);
        assert_eq!(next_size(1, Duration::from_secs(60), target), 1);
    }
}
