//! How many rows to measure index builds with, and when.

use crate::model::plan::RecordedIndex;
use crate::model::progress::Progress;
use crate::oid::BlockNumber;

/// Of so many rows one is measured.
const ONE_OF: f64 = 500.0;
/// Rows of the largest sample, and the blocks that they were copied from: a temporary table that outgrows
/// `temp_buffers`, 8 MB by default, is written to files.
const MOST: f64 = 50_000.0;
const MOST_BLOCKS: f64 = 512.0;
/// Seconds that a measurement takes, however few its rows, and for each index.
const ONCE: f64 = 0.003;
const EACH: f64 = 0.001;
/// The work takes at least so many times as long.
const TIMES: f64 = 250.0;
/// What an index is taken to cost, as a share of the copy, before it is measured.
pub(crate) const INDEX_BY_COPY: f64 = 0.4;

/// Indexes of plain columns are not measured where they take less than this part of the copy, at so many seconds
/// for each row.
const SMALL: f64 = 0.05;
const PLAIN_ROW: f64 = 1e-6;
/// The shortest copy of which anything is measured, in seconds.
const SHORT: f64 = 1.0;

/// How far the copy is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied {
    /// Rows.
    pub rows: i64,
    /// Blocks of green.
    pub blocks: BlockNumber,
    /// All of its blocks.
    pub of_blocks: BlockNumber,
    /// Seconds.
    pub seconds: f64,
}

impl Copied {
    /// That of a deployment.
    pub(crate) fn of(progress: &Progress) -> Self {
        Self {
            rows: progress.rows_copied,
            blocks: progress.copied_blocks,
            of_blocks: progress.end_block,
            seconds: progress.copy_seconds,
        }
    }

    /// By how much the whole is more.
    fn whole(&self) -> f64 {
        f64::from(self.of_blocks) / f64::from(self.blocks.max(1))
    }
}

/// Seconds for each of the indexes where all of them are known to take little beside the copy, whatever they take
/// exactly.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn small(copied: &Copied, indexes: &[RecordedIndex]) -> Option<f64> {
    let rows = copied.rows as f64 * copied.whole();
    let all = rows * PLAIN_ROW * indexes.len() as f64;
    let is_small = all < SMALL * copied.seconds * copied.whole();
    (is_small && indexes.iter().all(is_plain)).then_some(rows * PLAIN_ROW / 2.0)
}

/// A B-tree of columns, without expressions, predicates and parameters.
fn is_plain(index: &RecordedIndex) -> bool {
    index.method == "btree" && index.definition.matches('(').count() == 1
}

/// The rows to measure with, now: as many as make the measurement a few thousandths of the work that it
/// foretells; 0 where only sizes are worth it. None: the work is too short, or not so many rows are copied yet.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub(crate) fn rows(copied: &Copied, indexes: &[RecordedIndex]) -> Option<i64> {
    let copy = copied.seconds * copied.whole();
    if copied.blocks == 0 || copied.rows <= 0 {
        return None;
    }
    if small(copied, indexes).is_some() {
        return (copy >= SHORT).then_some(0);
    }
    let count = indexes.len() as f64;
    if copy * (1.0 + INDEX_BY_COPY * count) < TIMES * (ONCE + EACH * count) {
        return None;
    }
    let most = MOST.min(MOST_BLOCKS * copied.rows as f64 / f64::from(copied.blocks));
    let rows = (copied.rows as f64 * copied.whole() / ONE_OF).min(most).max(1.0) as i64;
    (rows <= copied.rows).then_some(rows)
}

/// As many of these rows as fit the buffers with what they have beside the table: so many copied rows became so
/// many blocks of blue.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub(crate) fn fitting(rows: i64, copied: i64, blue_blocks: i64) -> i64 {
    let most = MOST_BLOCKS * copied as f64 / blue_blocks.max(1) as f64;
    rows.min(most.max(1.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::Ident;
    use crate::model::plan::Meaning;

    fn copied(rows: i64, blocks: BlockNumber, seconds: f64) -> Copied {
        Copied { rows, blocks, of_blocks: 100_000, seconds }
    }

    fn indexes(count: usize, what: &str) -> Vec<RecordedIndex> {
        let definition = format!("CREATE INDEX i ON s.t USING btree ({what})");
        vec![
            RecordedIndex {
                name: Ident::new("i"),
                definition,
                method: "btree".to_owned(),
                tablespace: None,
                constraint: None,
                comment: None,
                statistics: Vec::new(),
                meaning: Meaning::default(),
            };
            count
        ]
    }

    #[test]
    fn a_five_hundredth_of_the_rows_is_measured_as_soon_as_it_is_there() {
        let four = indexes(4, "f(a)");
        assert_eq!(rows(&copied(0, 0, 0.0), &four), None);
        assert_eq!(rows(&copied(10_000, 1000, 0.1), &four), Some(2000));
        // Few rows of the first blocks are alive.
        assert_eq!(rows(&copied(10, 1000, 0.1), &four), Some(2));
        assert_eq!(rows(&copied(200_000, 1000, 100.0), &four), Some(40_000));
        assert_eq!(rows(&copied(100_000_000, 1000, 100.0), &four), Some(50_000));
        // No more than fits its buffers.
        let large = Copied { of_blocks: 10_000_000, ..copied(10_000, 1000, 0.1) };
        assert_eq!(rows(&large, &four), Some(5120));
        assert_eq!(rows(&copied(10_000, 10, 0.1), &four), None);
    }

    #[test]
    fn short_work_is_not_measured() {
        let four = indexes(4, "f(a)");
        assert_eq!(rows(&copied(10_000, 1000, 0.001), &four), None);
        // Many indexes of a short copy cost more to measure than to build.
        assert_eq!(rows(&copied(10_000, 1000, 0.005), &indexes(40, "f(a)")), None);
        assert_eq!(rows(&copied(10_000, 1000, 0.02), &four), Some(2000));
    }

    #[test]
    fn of_small_indexes_only_the_sizes_are_measured() {
        let slow = copied(100, 1000, 0.1);
        assert_eq!(rows(&slow, &indexes(2, "a, b")), Some(0));
        let each = small(&slow, &indexes(2, "a, b"));
        assert!(each.is_some_and(|each| (each - 0.005).abs() < 1e-6), "{each:?}");
        assert_eq!(rows(&slow, &[]), Some(0));
        // Who knows what f costs?
        assert_eq!(small(&slow, &indexes(2, "f(a)")), None);
        assert_eq!(small(&copied(10_000, 1000, 0.1), &indexes(2, "a")), None);
        assert_eq!(rows(&copied(1, 1000, 0.001), &indexes(1, "a")), None);
    }

    #[test]
    fn rows_with_long_values_are_fewer() {
        assert_eq!(fitting(4000, 100_000, 2000), 4000);
        assert_eq!(fitting(4000, 100_000, 100_000), 512);
        assert_eq!(fitting(4000, 10, 100_000), 1);
        assert_eq!(fitting(4000, 10, 0), 4000);
    }
}
