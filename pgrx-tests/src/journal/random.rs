//! Names and email addresses by chance, and keys that nobody else takes.

use rand::Rng;
use rand::rngs::StdRng;

const FIRST: [&str; 8] = ["Ada", "Grace", "Zoë", "O'Neil", "李", "Anne-Marie", "$1", "Björn"];
const LAST: [&str; 8] =
    ["Lovelace", "Hopper", "Ångström", "\"Quoted\"", "王", "d'Arc", "back\\slash", "x"];

/// How many keys and email addresses a block has.
const BLOCK: i64 = 100_000;

/// A first and a last name with one space between them; in one of ten cases none.
pub fn name(random: &mut StdRng) -> Option<String> {
    if random.random_ratio(1, 10) {
        return None;
    }
    let first = FIRST[random.random_range(0..FIRST.len())];
    let last = LAST[random.random_range(0..LAST.len())];
    // Some rows are long: they go to the TOAST table, or make a block full.
    if random.random_ratio(1, 200) {
        return Some(format!("{first} {}", last.repeat(600)));
    }
    Some(format!("{first} {last}{}", random.random_range(0..1000)))
}

/// Keys and email addresses that no other writer uses, also not in an earlier or later run.
#[derive(Debug, Clone)]
pub struct Fresh {
    block: i64,
    used: i64,
}

impl Fresh {
    /// From a number of the sequence `journal.block`.
    pub fn new(block: i64) -> Self {
        Self { block, used: 0 }
    }

    /// Whether the block is used up, or nearly.
    pub fn is_empty(&self) -> bool {
        self.used > BLOCK - 1000
    }

    /// A key: negative, so that it is none of the sequence's.
    pub fn key(&mut self) -> i64 {
        self.used += 1;
        -(self.block * BLOCK + self.used)
    }

    /// An email address.
    pub fn email(&mut self) -> String {
        self.used += 1;
        format!("u{}.{}@example.org", self.block, self.used)
    }
}
