//! Where in a long log the oldest events are.
//!
//! A log has no index: finding its first events means reading it all, each time. Events are appended in
//! nearly the order of their positions, so it is enough to look once, zone of blocks by zone of blocks,
//! which positions each holds; then a batch reads only the zones that can hold what comes next.

use crate::oid::BlockNumber;
use serde::{Deserialize, Serialize};

/// Blocks of a zone, at least.
const MIN_BLOCKS: BlockNumber = 512;
/// Zones, at most: they are written down with each batch.
const MAX_ZONES: u32 = 256;

/// Blocks of each zone of a log of so many.
pub(crate) fn zone_blocks(blocks: BlockNumber) -> BlockNumber {
    blocks.div_ceil(MAX_ZONES).max(MIN_BLOCKS)
}

/// Some blocks of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogBlockRange {
    /// Its first block.
    pub first: BlockNumber,
    /// The block after its last.
    pub end: BlockNumber,
    /// No event in it has a lower position.
    pub low: i64,
    /// No event in it has a higher position.
    pub high: i64,
    /// How many events it may have.
    pub count: i64,
}

/// What a batch reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanWindow {
    /// The first block.
    pub first: BlockNumber,
    /// The block after the last.
    pub end: BlockNumber,
    /// Only events below this position: all of them are in these blocks.
    pub below: i64,
}

/// The zones of a log that are not consumed, as they were when somebody looked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Zones {
    /// In the order of their lowest positions.
    zones: Vec<LogBlockRange>,
    /// The position of the WAL when the look began: later events are not in them.
    below: i64,
}

impl Zones {
    /// What was seen by a look that began at position `below`.
    pub(crate) fn new(mut zones: Vec<LogBlockRange>, below: i64) -> Self {
        zones.retain(|zone| zone.count > 0 && zone.low < below);
        zones.sort_by_key(|zone| zone.low);
        Self { zones, below }
    }

    /// Nothing is left of it.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// Where the next `count` events are, or fewer.
    pub(crate) fn window(&self, count: i64) -> Option<ScanWindow> {
        let lowest = self.zones.first()?.low;
        let (mut held, mut taken) = (0, 0);
        for (zone, next) in self.zones.iter().zip(self.zones.iter().skip(1)) {
            held += zone.count;
            taken += 1;
            if held >= count && next.low > lowest {
                break;
            }
            if taken + 1 == self.zones.len() {
                taken += 1;
            }
        }
        let taken = taken.max(1);
        let used = &self.zones[..taken];
        Some(ScanWindow {
            first: used.iter().map(|zone| zone.first).min()?,
            end: used.iter().map(|zone| zone.end).max()?,
            below: self.zones.get(taken).map_or(self.below, |next| next.low),
        })
    }

    /// A batch has consumed `read` events of a window; `exhausted` says that no more are in it.
    pub(crate) fn consumed(&mut self, window: ScanWindow, mut read: i64, exhausted: bool) {
        if exhausted {
            self.zones.retain(|zone| zone.high >= window.below && window.below < self.below);
            for zone in &mut self.zones {
                zone.low = zone.low.max(window.below);
            }
            self.zones.sort_by_key(|zone| zone.low);
        } else {
            for zone in &mut self.zones {
                let part = read.min(zone.count - 1).max(0);
                zone.count -= part;
                read -= part;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(number: u32, low: i64, high: i64) -> LogBlockRange {
        LogBlockRange { first: number * 10, end: number * 10 + 10, low, high, count: 100 }
    }

    #[test]
    fn a_window_ends_where_the_next_zone_may_begin() {
        let zones = Zones::new(vec![zone(1, 190, 300), zone(0, 100, 200), zone(2, 290, 400)], 500);
        assert_eq!(zones.window(50), Some(ScanWindow { first: 0, end: 10, below: 190 }));
        assert_eq!(zones.window(150), Some(ScanWindow { first: 0, end: 20, below: 290 }));
        assert_eq!(zones.window(999), Some(ScanWindow { first: 0, end: 30, below: 500 }));
    }

    #[test]
    fn a_huge_log_has_larger_zones_and_no_more_of_them() {
        assert_eq!(zone_blocks(10_000), 512);
        assert_eq!(zone_blocks(1_310_720), 5120);
    }

    #[test]
    fn zones_that_begin_together_are_read_together() {
        let zones = Zones::new(vec![zone(0, 100, 200), zone(1, 100, 300)], 500);
        assert_eq!(zones.window(1), Some(ScanWindow { first: 0, end: 20, below: 500 }));
    }

    #[test]
    fn what_is_consumed_is_not_read_again() {
        let mut zones = Zones::new(vec![zone(0, 100, 200), zone(1, 190, 300)], 250);
        let window = zones.window(50).unwrap_or(ScanWindow { first: 0, end: 0, below: 0 });
        zones.consumed(window, 50, false);
        assert_eq!(zones.window(50), Some(window));
        zones.consumed(window, 40, true);
        // Events of zone 0 from 190 on are still there.
        let rest = ScanWindow { first: 0, end: 20, below: 250 };
        assert_eq!(zones.window(50), Some(rest));
        zones.consumed(rest, 10, true);
        assert!(zones.is_empty());
        assert_eq!(zones.window(1), None);
    }
}
