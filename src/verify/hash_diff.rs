//! Which rows of the two tables are the same, whatever their order.
//!
//! Rows that come side by side are compared as they are. A row that is not like its neighbour is kept
//! by a number of 64 bits, until the other table gives the same number. When it does, that tells by how
//! many rows one table lags behind the other, and it is read alone until both are in step again.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use twox_hash::XxHash3_64;

use crate::heap::row::Row;
use crate::heap::toast_compare::ToastComparer;
use crate::pg::tid::Place;

/// Rows in a row without a partner after which a table is not taken to lag behind any more.
const MAX_MISSED: u32 = 16;

/// The table of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Green,
    Blue,
}

/// A row without a partner.
#[derive(Clone, Copy)]
pub(super) struct UnpairedRow {
    pub side: Side,
    pub place: Place,
    /// How many rows of its table were read before.
    number: u64,
}

/// The numbers are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// The half that has to catch up, and with how many rows.
struct Behind {
    side: Side,
    rows: u64,
    missed: u32,
}

/// The rows that were read, as far as they have no partner yet.
#[derive(Default)]
pub(super) struct HashDiff {
    held: HashMap<u64, UnpairedRow, BuildHasherDefault<AsItIs>>,
    /// Rows of green and blue that were read.
    read: [u64; 2],
    behind: Option<Behind>,
    bytes: Vec<u8>,
}

impl HashDiff {
    /// How many rows have no partner.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes them out.
    pub(super) fn take(&mut self) -> Vec<UnpairedRow> {
        self.behind = None;
        self.held.drain().map(|(_, held)| held).collect()
    }

    /// The half that is to be read alone.
    pub(super) fn behind(&self) -> Option<Side> {
        self.behind.as_ref().map(|behind| behind.side)
    }

    /// So many rows came side by side.
    pub(super) fn same(&mut self, count: u64) {
        self.read.iter_mut().for_each(|read| *read += count);
    }

    /// Two rows came side by side, each in its place.
    pub(super) fn meet(
        &mut self,
        green: (&Row<'_>, Place),
        blue: (&Row<'_>, Place),
        beside: &mut ToastComparer<'_>,
    ) {
        if green.0.equals(blue.0, beside) {
            return self.same(1);
        }
        let numbers = self.read;
        self.same(1);
        self.strike(Side::Green, green, numbers[0]);
        self.strike(Side::Blue, blue, numbers[1]);
    }

    /// A row came alone.
    pub(super) fn alone(&mut self, side: Side, row: (&Row<'_>, Place)) {
        let read = &mut self.read[side as usize];
        let number = *read;
        *read += 1;
        self.strike(side, row, number);
    }

    /// There is nothing more to catch up with.
    pub(super) fn caught_up(&mut self) {
        self.behind = None;
    }

    fn strike(&mut self, side: Side, (row, place): (&Row<'_>, Place), number: u64) {
        self.bytes.clear();
        row.image(&mut self.bytes);
        self.pair(side, XxHash3_64::oneshot(&self.bytes), place, number);
    }

    /// Looks for the partner of a row, which is kept where there is none.
    fn pair(&mut self, side: Side, hash: u64, place: Place, number: u64) {
        match self.held.get(&hash) {
            Some(other) if other.side != side => {
                let rows = self.read[other.side as usize].saturating_sub(other.number + 1);
                self.held.remove(&hash);
                if self.behind.as_ref().is_none_or(|b| b.side == side || rows < b.rows) {
                    self.behind = (rows > 0).then_some(Behind { side, rows, missed: 0 });
                }
                return;
            }
            Some(_) => {}
            None => {
                let _ = self.held.insert(hash, UnpairedRow { side, place, number });
            }
        }
        if let Some(behind) = self.behind.as_mut().filter(|behind| behind.side == side) {
            behind.rows -= 1;
            behind.missed += 1;
            if behind.rows == 0 || behind.missed > MAX_MISSED {
                self.behind = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::{HashDiff, Side};

    /// What becomes of two tables whose rows are letters, read as a verification reads them.
    fn read(green: &str, blue: &str) -> String {
        let mut diff = HashDiff::default();
        let mut said = format!("{green} beside {blue}\n");
        let mut rest = [green.bytes(), blue.bytes()];
        loop {
            let sides = match diff.behind() {
                Some(side) => vec![side],
                None => vec![Side::Green, Side::Blue],
            };
            if sides[0] == Side::Green && rest[0].len() == 0 {
                break;
            }
            let next: Vec<_> =
                sides.iter().map(|&side| (side, rest[side as usize].next())).collect();
            let numbers = diff.read;
            match next[..] {
                [(_, None)] => diff.caught_up(),
                [(_, Some(one)), (_, Some(other))] if one == other => diff.same(1),
                _ => {
                    let rows = || next.iter().filter_map(|&(side, row)| Some((side, row?)));
                    rows().for_each(|(side, _)| diff.read[side as usize] += 1);
                    for (side, row) in rows() {
                        let place = (u32::from(row), 1);
                        diff.pair(side, row.into(), place, numbers[side as usize]);
                    }
                }
            }
            let read: String = (next.iter()).map(|(_, row)| row.map_or('-', char::from)).collect();
            let _ = writeln!(said, "  {read:2} held {} behind {:?}", diff.held(), diff.behind());
        }
        let [_, tail] = rest;
        for row in tail {
            let number = diff.read[Side::Blue as usize];
            diff.read[Side::Blue as usize] += 1;
            diff.pair(Side::Blue, row.into(), (u32::from(row), 1), number);
        }
        let mut left: Vec<_> =
            diff.take().iter().map(|row| (row.side, char::from(row.place.0 as u8))).collect();
        left.sort_unstable();
        said + &format!("  without a partner: {left:?}\n")
    }

    #[test]
    fn rows_that_are_in_other_places_find_their_partners() {
        let said = [
            ("abcdef", "abcdef"),
            ("abcdef", "abcxdef"),
            ("abcxdef", "abcdef"),
            ("abcdef", "abcxyzdef"),
            ("abcdefgh", "badcfehg"),
            ("abcdef", "abxdef"),
            ("abcdef", "abc"),
            ("abc", "abcdef"),
        ]
        .map(|(green, blue)| read(green, blue))
        .join("\n");
        insta::assert_snapshot!(said);
    }
}
