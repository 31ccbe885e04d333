//! What the ledger adds up.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Sums over a table, or the effect of a transaction on them.
///
/// The hashes are of 32 bits, so that a table of some billion rows fits; a difference is missed with
/// a probability of one in four billion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many rows.
    pub rows: i64,
    /// Sum of the keys.
    pub ids: i64,
    /// Sum of the names' hashes.
    pub names: i64,
    /// Sum of the email addresses' hashes.
    pub emails: i64,
    /// Sum of the hashes of whole rows: tells apart what was mixed up from what was lost.
    pub whole: i64,
}

impl Add for Sums {
    type Output = Sums;

    fn add(self, other: Sums) -> Sums {
        Sums {
            rows: self.rows + other.rows,
            ids: self.ids + other.ids,
            names: self.names + other.names,
            emails: self.emails + other.emails,
            whole: self.whole + other.whole,
        }
    }
}

impl Neg for Sums {
    type Output = Sums;

    fn neg(self) -> Sums {
        Sums {
            rows: -self.rows,
            ids: -self.ids,
            names: -self.names,
            emails: -self.emails,
            whole: -self.whole,
        }
    }
}

impl Sub for Sums {
    type Output = Sums;

    fn sub(self, other: Sums) -> Sums {
        self + -other
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        *self = *self + other;
    }
}

impl SubAssign for Sums {
    fn sub_assign(&mut self, other: Sums) {
        *self = *self - other;
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { rows, ids, names, emails, whole } = self;
        write!(f, "rows {rows}, ids {ids}, names {names}, emails {emails}, whole rows {whole}")
    }
}

#[cfg(test)]
mod tests {
    use super::Sums;

    #[test]
    fn an_effect_and_its_opposite_are_nothing() {
        let one = Sums { rows: 1, ids: 5, names: -7, emails: 11, whole: 13 };

        assert_eq!(one + -one, Sums::default());
        assert_eq!(one - one, Sums::default());
    }
}
