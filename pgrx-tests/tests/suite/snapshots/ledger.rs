//! What each writer has made of its rows, transaction by transaction: by it the rows that a snapshot sees
//! are judged, exactly. A writer enters a transaction before it commits it, and counts its number up in
//! `control` in the same transaction; a snapshot that sees the number must see that state.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use super::table::{COUNTERS, NEWBORNS, PAIR, STILL};

/// A row of a writer's own, but for its id. Its body follows from its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub seq: i64,
    /// The how manieth change of its transaction it was.
    pub nth: i32,
    pub value: i64,
    pub code: String,
    pub origin: String,
}

/// Changes of a transaction: what is there under each id afterwards.
pub type Changes = Vec<(i64, Option<Row>)>;

/// For each id what was there from which transaction on.
type History = BTreeMap<i64, Vec<(i64, Option<Row>)>>;

/// All writers' histories.
pub struct Ledger {
    writers: BTreeMap<i32, Mutex<History>>,
    still: (i64, i64),
}

impl Ledger {
    /// An empty one; `still` rows never change.
    pub fn new(writers: impl IntoIterator<Item = i32>, still: u32) -> Self {
        let writers = writers.into_iter().map(|writer| (writer, Mutex::default())).collect();
        let still = i64::from(still);
        Self { writers, still: (still, still * (still + 1) / 2) }
    }

    /// Before the commit.
    pub fn enter(&self, writer: i32, seq: i64, changes: Changes) {
        let mut history = self.writers[&writer].lock().unwrap();
        for (id, row) in changes {
            history.entry(id).or_default().push((seq, row));
        }
    }

    /// When the transaction was not committed.
    pub fn withdraw(&self, writer: i32, seq: i64) {
        for versions in self.writers[&writer].lock().unwrap().values_mut() {
            versions.retain(|(since, _)| *since != seq);
        }
    }

    /// A writer's rows after its transaction of that number.
    pub fn rows_at(&self, writer: i32, seq: i64) -> BTreeMap<i64, Row> {
        let history = self.writers[&writer].lock().unwrap();
        let row = |(id, versions): (&i64, &Vec<_>)| Some((*id, at(versions, seq)?.clone()));
        history.iter().filter_map(row).collect()
    }

    /// Compares what a snapshot saw with what it has to see.
    pub fn judge(&self, seen: &Seen) -> Verdict {
        let mut verdict = Verdict::default();
        let mut rows: BTreeMap<(i32, i64), Vec<&SeenRow>> = BTreeMap::new();
        for row in &seen.rows {
            rows.entry((row.writer, row.id)).or_default().push(row);
            if rows[&(row.writer, row.id)].len() > 1 {
                verdict.doubled += 1;
                verdict.tell(format!("twice: {row:?}"));
            }
            if !row.sound {
                verdict.torn += 1;
                verdict.tell(format!("its body is another's: {row:?}"));
            }
        }
        for (writer, history) in &self.writers {
            let seq = seen.seqs.get(writer).copied().unwrap_or(0);
            for (id, versions) in &*history.lock().unwrap() {
                let expected = at(versions, seq);
                let found = rows.remove(&(*writer, *id));
                verdict.compare(
                    *writer,
                    seq,
                    *id,
                    expected,
                    found.and_then(|f| f.first().copied()),
                );
            }
        }
        for ((writer, id), found) in rows {
            self.judge_others(&mut verdict, seen, writer, id, found[0]);
        }
        if seen.still != Some(self.still) {
            verdict.missing += 1;
            verdict.tell(format!("rows that never change: {:?}, not {:?}", seen.still, self.still));
        }
        if seen.pair.len() != 2 || seen.pair.iter().all(|value| *value == Some(0)) {
            verdict.skewed += 1;
            verdict.tell(format!("of the pair one must be 1: {:?}", seen.pair));
        }
        verdict
    }

    fn judge_others(
        &self,
        verdict: &mut Verdict,
        seen: &Seen,
        writer: i32,
        id: i64,
        row: &SeenRow,
    ) {
        match writer {
            STILL => {}
            PAIR => {}
            COUNTERS..NEWBORNS => {
                let expected = seen.seqs.get(&writer).copied().unwrap_or(0);
                if row.row.as_ref().is_some_and(|row| row.value != expected) {
                    verdict.stale += 1;
                    verdict.tell(format!("counter {writer} should be {expected}: {row:?}"));
                }
            }
            _ => {
                verdict.extra += 1;
                verdict.tell(format!("nobody wrote {id} of {writer}: {row:?}"));
            }
        }
    }
}

/// What is there after the transaction of that number.
fn at(versions: &[(i64, Option<Row>)], seq: i64) -> Option<&Row> {
    let after = versions.partition_point(|(since, _)| *since <= seq);
    after.checked_sub(1).and_then(|last| versions[last].1.as_ref())
}

/// What was read of a row.
#[derive(Debug, Clone)]
pub struct SeenRow {
    pub id: i64,
    pub writer: i32,
    pub code: String,
    /// Not where only an index was read.
    pub row: Option<Row>,
    pub sound: bool,
}

/// What one snapshot saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub seqs: BTreeMap<i32, i64>,
    pub rows: Vec<SeenRow>,
    still: Option<(i64, i64)>,
    pair: Vec<Option<i64>>,
    tables: Vec<String>,
}

impl Seen {
    /// Adds what one of the queries in `table` gave.
    pub fn add(&mut self, rows: &[Vec<Option<String>>]) {
        for row in rows {
            let text = |at: usize| row[at].clone().unwrap_or_default();
            let number = |at: usize| row[at].as_ref().map(|t| t.parse::<i64>().expect("a number"));
            let (id, writer) = (number(0).unwrap(), number(1).unwrap() as i32);
            match id {
                -1 => drop(self.seqs.insert(writer, number(2).unwrap())),
                -2 => self.still = Some((number(2).unwrap(), number(4).unwrap())),
                -3 => self.tables.push(text(5)),
                _ => {
                    if writer == PAIR {
                        self.pair.push(number(4));
                    }
                    let whole = number(2).map(|seq| Row {
                        seq,
                        nth: number(3).unwrap() as i32,
                        value: number(4).unwrap(),
                        code: text(5),
                        origin: text(6),
                    });
                    let sound = text(7) == "t";
                    self.rows.push(SeenRow { id, writer, code: text(5), row: whole, sound });
                }
            }
        }
    }

    /// Whether the table was another one when it was read than when the snapshot was taken.
    pub fn straddles(&self) -> bool {
        self.tables.windows(2).any(|pair| pair[0] != pair[1])
    }
}

/// What was wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    pub stale: usize,
    pub missing: usize,
    pub extra: usize,
    pub doubled: usize,
    pub torn: usize,
    pub skewed: usize,
    examples: Vec<String>,
}

impl Verdict {
    pub fn is_right(&self) -> bool {
        self.examples.is_empty()
    }

    fn tell(&mut self, example: String) {
        if self.examples.len() < 4 {
            self.examples.push(example);
        }
    }

    fn compare(
        &mut self,
        writer: i32,
        seq: i64,
        id: i64,
        expected: Option<&Row>,
        found: Option<&SeenRow>,
    ) {
        let when = format!("{id} of writer {writer} at its {seq}");
        match (expected, found) {
            (None, None) => {}
            (Some(expected), None) => {
                self.missing += 1;
                self.tell(format!("missing: {when}: {expected:?}"));
            }
            (None, Some(found)) => {
                self.extra += 1;
                self.tell(format!("too many: {when}: {found:?}"));
            }
            (Some(expected), Some(found)) => {
                let same = match &found.row {
                    Some(row) => row == expected,
                    None => found.code == expected.code,
                };
                if !same {
                    self.stale += 1;
                    self.tell(format!("another version: {when}: {expected:?}, not {found:?}"));
                }
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stale, missing, extra, doubled, torn, skewed, examples } = self;
        write!(
            f,
            "{stale} of another version, {missing} missing, {extra} too many, {doubled} doubled, {torn} torn, {skewed} skewed: {}",
            examples.join("; ")
        )
    }
}
