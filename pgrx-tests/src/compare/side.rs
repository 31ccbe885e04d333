//! The builds that can be measured: the clone's, and that of another commit beside it
//! (`--beside`). Each has a server, and so a place, of its own; both are measured in turns, the other
//! way round each second time, so that what the machine does besides, and what comes first or last in
//! a pair, hits both. What counts is the median of the ratios within the pairs. Where a few per cent count, the
//! places are filled in both orders too: which server was started first alone makes up to 4 %.

use anyhow::Result;
use serde::Serialize;

use super::median;
use crate::setup::Tree;

/// One of the builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    /// The clone's.
    Ours,
    /// The other commit's.
    Beside,
}

impl Side {
    /// The server tree that it is installed in.
    pub(super) fn tree(self) -> Tree {
        match self {
            Self::Ours => Tree::Release,
            Self::Beside => Tree::Beside,
        }
    }
}

/// The builds that are measured in this run.
#[derive(Debug, Clone)]
pub(super) struct Sides {
    /// The other commit's short name.
    beside: Option<String>,
}

/// Something of each build.
#[derive(Debug, Serialize)]
pub(super) struct BySide<T> {
    pub(super) ours: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) beside: Option<T>,
}

impl Sides {
    /// The clone's build, and that of a commit if one is given by its short name.
    pub(super) fn new(beside: Option<String>) -> Self {
        Self { beside }
    }

    /// The other commit's short name.
    pub(super) fn beside(&self) -> Option<&str> {
        self.beside.as_deref()
    }

    /// What a side is called in what is printed.
    pub(super) fn name(&self, side: Side) -> &str {
        match (side, &self.beside) {
            (Side::Beside, Some(name)) => name,
            _ => "ours",
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Side> {
        let beside = self.beside.as_ref().map(|_| Side::Beside);
        std::iter::once(Side::Ours).chain(beside).collect()
    }

    /// Divides so many pairs among the orders in which places can be filled.
    pub(super) fn orders(&self, pairs: u32) -> Vec<u32> {
        match self.beside {
            Some(_) if pairs > 1 => vec![pairs.div_ceil(2), pairs / 2],
            _ => vec![pairs],
        }
    }

    /// Does the same on each side, beginning with the other side each second time.
    pub(super) fn in_turn<T>(
        &self,
        number: usize,
        mut one: impl FnMut(Side) -> Result<T>,
    ) -> Result<BySide<T>> {
        if self.beside.is_none() {
            return Ok(BySide { ours: one(Side::Ours)?, beside: None });
        }
        if number.is_multiple_of(2) {
            let ours = one(Side::Ours)?;
            Ok(BySide { ours, beside: Some(one(Side::Beside)?) })
        } else {
            let beside = Some(one(Side::Beside)?);
            Ok(BySide { ours: one(Side::Ours)?, beside })
        }
    }

    /// Prints the median of the ratios within the pairs, and returns it.
    pub(super) fn ratio<T>(
        &self,
        what: &str,
        pairs: &[BySide<T>],
        figure: impl Fn(&T) -> f64,
    ) -> Option<f64> {
        let name = self.beside()?;
        let both = pairs
            .iter()
            .filter_map(|pair| Some(figure(&pair.ours) / figure(pair.beside.as_ref()?)));
        let ratio = median(both);
        println!("{what}: ours ÷ {name}: {ratio:.3}");
        Some(ratio)
    }
}

impl<T> BySide<T> {
    /// What belongs to a side.
    pub(super) fn of(&mut self, side: Side) -> &mut T {
        match (side, &mut self.beside) {
            (Side::Beside, Some(beside)) => beside,
            _ => &mut self.ours,
        }
    }

    /// The same of both, computed.
    pub(super) fn map<U>(&self, mut with: impl FnMut(&T) -> U) -> BySide<U> {
        BySide { ours: with(&self.ours), beside: self.beside.as_ref().map(with) }
    }
}

#[cfg(test)]
mod tests {
    use super::{BySide, Side, Sides};

    fn order(sides: &Sides, number: usize) -> anyhow::Result<Vec<Side>> {
        let mut order = Vec::new();
        sides.in_turn(number, |side| {
            order.push(side);
            Ok(())
        })?;
        Ok(order)
    }

    #[test]
    fn both_builds_have_their_turn_the_other_way_round_each_second_time() -> anyhow::Result<()> {
        let sides = Sides::new(Some("678de94".to_owned()));
        assert_eq!(order(&sides, 0)?, [Side::Ours, Side::Beside]);
        assert_eq!(order(&sides, 1)?, [Side::Beside, Side::Ours]);
        let alone = Sides::new(None);
        assert_eq!(order(&alone, 1)?, [Side::Ours]);
        assert_eq!(
            (sides.orders(7), sides.orders(1), alone.orders(7)),
            (vec![4, 3], vec![1], vec![7])
        );
        Ok(())
    }

    #[test]
    fn the_ratio_is_the_median_of_those_within_the_pairs() {
        let sides = Sides::new(Some("678de94".to_owned()));
        let pair = |ours: f64, beside: f64| BySide { ours, beside: Some(beside) };
        let pairs = [pair(1.0, 2.0), pair(30.0, 10.0), pair(9.0, 10.0)];
        let ratio = sides.ratio("seconds", &pairs, |seconds| *seconds);
        assert_eq!(ratio.map(|ratio| ratio.to_string()), Some("0.9".to_owned()));
        assert_eq!(Sides::new(None).ratio("seconds", &pairs, |seconds| *seconds), None);
    }
}
