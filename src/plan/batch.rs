//! Batch sizes that follow the clock.

use std::time::Duration;

/// The next size: aims at `target`, grows by half at most, or four times where it is far below it, falls to a
/// tenth at once when a batch took more than five times the target.
pub(crate) fn next_size(size: u32, took: Duration, target: Duration) -> u32 {
    let (took, target) = (took.as_secs_f64().max(1e-6), target.as_secs_f64().max(1e-3));
    // Four times as many that take twice as long each still take no longer than the target.
    let growth = if took * 8.0 < target { 4.0 } else { 1.5 };
    let factor = if took > 5.0 * target { 0.1 } else { (target / took).min(growth) };
    let next = f64::from(size) * factor;
    (next.ceil() as u32).clamp(1, 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_half_at_most_near_the_target_and_faster_far_below_it() {
        let target = Duration::from_millis(200);
        assert_eq!(next_size(100, Duration::from_millis(1), target), 400);
        assert_eq!(next_size(100, Duration::from_millis(24), target), 400);
        assert_eq!(next_size(100, Duration::from_millis(26), target), 150);
        assert_eq!(next_size(100, Duration::from_millis(160), target), 125);
        assert_eq!(next_size(100, Duration::from_millis(400), target), 50);
    }

    #[test]
    fn a_stall_makes_it_small_at_once_but_never_nothing() {
        let target = Duration::from_millis(200);
        assert_eq!(next_size(1000, Duration::from_secs(2), target), 100);
        assert_eq!(next_size(1, Duration::from_secs(60), target), 1);
    }
}
