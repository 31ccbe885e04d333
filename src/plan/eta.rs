//! When a deployment is ready: what is left of each stage, as far as it can be foretold, and by it how much of
//! the whole is done.
//!
//! The copy is foretold by its own pace, the indexes by builds on a sample (`backfill/sample.rs`) or by
//! those that are built, everything else by sizes. One figure that nobody knows makes the end unknown; the share
//! of the work is then a guess.

use crate::model::sample::{Sample, SampledIndex};
use crate::plan::sample::INDEX_BY_COPY;

/// Seconds in which VACUUM freezes a page, and a row on it.
const FREEZE_PAGE: f64 = 4e-6;
const FREEZE_ROW: f64 = 0.13e-6;
/// Seconds in which ANALYZE reads a page of its sample, and sorts a value.
const ANALYZE_PAGE: f64 = 4e-6;
const ANALYZE_VALUE: f64 = 0.3e-6;
/// Rows of that sample, and pages at most, for each unit of the statistics target.
const ANALYZE_ROWS: f64 = 300.0;
/// Seconds in which the query of a materialized view reads a page and a row of the table: it is not known what
/// else it does.
const VIEW_PAGE: f64 = 10e-6;
const VIEW_ROW: f64 = 0.2e-6;
/// Seconds for the commands of a step, whatever the table's size.
const STEP: f64 = 0.01;
/// Log rows that sync brings in within a second, before it is known.
const SYNC_ROWS: f64 = 20_000.0;
/// Seconds in which a byte of an index is logged and brought to the disk, which a sample's is not.
const LOG_BYTE: f64 = 5e-9;
/// What a row takes in every build, reading, a tuple, writing, by what the build of an empty index takes: both are
/// as fast as the machine.
const ROW_BY_EMPTY: f64 = 0.0007;
/// By how much that is more where neither table nor index is in the processor's caches.
const ROW_UNCACHED: f64 = 1.15;
/// Comparisons of a row take at most so many times as much. What takes longer is an expression or an access
/// method, of which each row costs the same.
const COMPARISONS: f64 = 8.0;
/// By how much a comparison takes longer where the values are not in the caches.
const UNCACHED: f64 = 1.3;
/// What a build by several processes takes of the time of one, beside the part that they share: its leader merges
/// and writes alone.
const LEADER: f64 = 0.6;
/// From when on a step that should be over is taken to take another tenth of its time.
const TAIL: f64 = 0.1;

/// What is being done. In their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing yet.
    #[default]
    Prepared,
    /// The copy.
    Copy,
    /// The purge.
    Purge,
    /// VACUUM.
    Vacuum,
    /// Builds of indexes.
    Indexes,
    /// Constraints and ANALYZE.
    Analyze,
    /// What hangs on the table.
    Dependents,
    /// The first sync, and materialized views.
    Sync,
    /// Nothing is left before the swap.
    Ready,
}

/// An index of the plan.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Build {
    /// Seconds that one process is foretold to take.
    pub alone: Option<f64>,
    /// Its size by that of the others, in the order of which they are built.
    pub weight: f64,
    /// Seconds that it took; None: it is not built yet.
    pub took: Option<f64>,
}

/// The indexes, and who builds them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builds {
    /// In the order in which they are begun.
    pub each: Vec<Build>,
    /// How far those are that are being built, 0 to 1 each.
    pub running: Vec<f64>,
    /// How many are built at the same time.
    pub processes: usize,
    /// Processes for one build that is all that is left.
    pub parallel: u32,
    /// Processors of the machine.
    pub processors: u32,
}

/// How the work stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    /// What is being done.
    pub stage: Stage,
    /// For how long, in seconds, since the last commit.
    pub since: f64,
    /// Seconds of the copy so far.
    pub copy_seconds: f64,
    /// The part that is copied.
    pub copied: f64,
    /// Seconds of the purge so far, and the part that is purged.
    pub purge: (f64, f64),
    /// Rows of the whole table.
    pub rows: f64,
    /// Pages of the whole new table, with what is stored beside it.
    pub pages: f64,
    /// Those of the table itself.
    pub heap_pages: f64,
    /// Columns.
    pub columns: f64,
    /// The new table is vacuumed.
    pub vacuums: bool,
    /// Its indexes.
    pub builds: Builds,
    /// Materialized views to fill.
    pub views: usize,
    /// `default_statistics_target`.
    pub statistics_target: f64,
    /// Log rows that wait.
    pub pending: f64,
    /// Log rows that sync brings in within a second, 0 if unknown.
    pub sync_rate: f64,
}

/// What is foretold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Foretold {
    /// Seconds to ready; None: nobody knows, or it is.
    pub left: Option<f64>,
    /// The part of the work that is done, 0 to 1; 1 when it is ready.
    pub progress: f64,
}

/// Seconds that an index takes that was built on a sample, on so many rows, by one process.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn build_seconds(sample: &Sample, index: &SampledIndex, rows: f64) -> f64 {
    let of = (sample.rows as f64).max(1.0);
    let times = (rows / of).max(1.0);
    let longer = rows.max(of).max(2.0).log2() / of.max(2.0).log2();
    let each = index.seconds / of;
    let row = (index.empty * ROW_BY_EMPTY).min(each);
    let comparisons = (each - row).min(row * COMPARISONS);
    let same = each - row - comparisons;
    // A sample as large as the table is its measure.
    let (uncached, longer) =
        if times > 1.0 { (ROW_UNCACHED, longer * UNCACHED) } else { (1.0, 1.0) };
    (row * uncached + comparisons * longer + same) * of * times
        + index.bytes.max(0) as f64 * times * LOG_BYTE
        + STEP
}

/// Foretells.
pub(crate) fn foretell(work: &Work) -> Foretold {
    match work.stage {
        Stage::Prepared => return Foretold { left: None, progress: 0.0 },
        Stage::Ready => return Foretold { left: None, progress: 1.0 },
        _ => {}
    }
    let Some(copy) = work.copy() else { return Foretold { left: None, progress: 0.0 } };
    let since = if work.stage == Stage::Indexes { work.since } else { 0.0 };
    let indexes = work.builds.foretell(since);
    let is_known = indexes.is_some();
    // What is guessed is not said.
    let guess = || work.copy_seconds / work.copied.max(0.01) * INDEX_BY_COPY;
    let indexes = indexes.unwrap_or_else(|| work.builds.guess(guess()));
    let stages = [
        (Stage::Copy, copy),
        (Stage::Purge, work.purge()),
        (Stage::Vacuum, work.step(Stage::Vacuum, work.vacuum())),
        (Stage::Indexes, indexes),
        (Stage::Analyze, work.step(Stage::Analyze, work.analyze())),
        (Stage::Dependents, work.step(Stage::Dependents, STEP)),
        (Stage::Sync, work.step(Stage::Sync, work.sync())),
    ];
    let all: f64 = stages.iter().map(|(_, part)| part.all).sum();
    let left: f64 = stages
        .iter()
        .map(|(stage, part)| match stage.cmp(&work.stage) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => part.left,
            std::cmp::Ordering::Greater => part.all,
        })
        .sum();
    // Not 1 before it is ready, however little is left.
    let progress = if all > 0.0 { (1.0 - left / all).clamp(0.0, 0.99) } else { 0.0 };
    Foretold { left: is_known.then_some(left.max(STEP)), progress }
}

/// Seconds of a stage: of all of it, and of what is left.
#[derive(Debug, Clone, Copy)]
struct Part {
    all: f64,
    left: f64,
}

impl Work {
    fn copy(&self) -> Option<Part> {
        if self.stage > Stage::Copy {
            return Some(Part { all: self.copy_seconds, left: 0.0 });
        }
        if self.copied <= 0.0 || self.copy_seconds <= 0.0 {
            return None;
        }
        let all = self.copy_seconds / self.copied.min(1.0);
        // The batch that is being copied is not counted yet.
        let left = left_of(all - self.copy_seconds, self.since.min(all * TAIL));
        Some(Part { all, left })
    }

    /// Without changes it is over at once; else blue is read once, at least.
    fn purge(&self) -> Part {
        let (seconds, done) = self.purge;
        if done > 0.0 {
            let all = seconds / done.min(1.0);
            return Part { all, left: all - seconds };
        }
        let all = if self.pending > 0.0 { self.pages * FREEZE_PAGE } else { 0.0 };
        Part { all, left: all }
    }

    fn vacuum(&self) -> f64 {
        if !self.vacuums {
            return 0.0;
        }
        STEP + self.pages * FREEZE_PAGE + self.rows * FREEZE_ROW
    }

    fn analyze(&self) -> f64 {
        let most = ANALYZE_ROWS * self.statistics_target;
        let values = self.rows.min(most) * self.columns;
        STEP + self.heap_pages.min(most) * ANALYZE_PAGE + values * ANALYZE_VALUE
    }

    fn sync(&self) -> f64 {
        let rate = if self.sync_rate > 0.0 { self.sync_rate } else { SYNC_ROWS };
        #[allow(clippy::cast_precision_loss)]
        let views = self.views as f64 * (self.pages * VIEW_PAGE + self.rows * VIEW_ROW);
        STEP + self.pending / rate + views
    }

    /// A stage of one step, of which only is known since when it runs.
    fn step(&self, stage: Stage, all: f64) -> Part {
        let since = if self.stage == stage { self.since } else { 0.0 };
        Part { all, left: left_of(all, since) }
    }
}

/// What is left of a step: what was foretold, without what it has taken; at its end a tenth of what it has
/// taken, so that one which takes longer than foretold is never about to end at once.
fn left_of(foretold: f64, taken: f64) -> f64 {
    (foretold - taken).max(TAIL * foretold.max(taken))
}

impl Builds {
    /// None: there is an index of which nothing is known. `since` is for how long those that are being built are.
    fn foretell(&self, since: f64) -> Option<Part> {
        let known = self.known();
        let alone: Option<Vec<f64>> = known.iter().map(|build| build.alone).collect();
        let alone = alone?;
        let all = self.makespan(&known, &alone);
        let (mut waiting, mut rest) = (Vec::new(), Vec::new());
        for (build, seconds) in known.iter().zip(alone).filter(|(build, _)| build.took.is_none()) {
            let place = waiting.len();
            let done = match self.running.get(place) {
                Some(share) => share.clamp(0.0, 0.98),
                // It is built, and its end is being written; or it is about to be begun.
                None if place < self.processes && since > 0.5 * seconds => 0.98,
                None => 0.0,
            };
            waiting.push(*build);
            rest.push(seconds * (1.0 - done));
        }
        Some(Part { all, left: self.makespan(&waiting, &rest) })
    }

    /// A part of which only the number of indexes is known, each of so many seconds.
    fn guess(&self, each: f64) -> Part {
        let waits = self.each.iter().filter(|build| build.took.is_none());
        let seconds = |builds: usize| {
            #[allow(clippy::cast_precision_loss)]
            let builds = builds as f64;
            builds * each
        };
        Part { all: seconds(self.each.len()), left: seconds(waits.count()) }
    }

    /// The indexes with what those that are built tell of the others: by how much they took longer than
    /// foretold, or how long they took for their size.
    fn known(&self) -> Vec<Build> {
        let built = |build: &&Build| build.took.is_some_and(|took| took > 0.0);
        let (mut took, mut foretold) = (0.0, 0.0);
        for build in self.each.iter().filter(built) {
            if let (Some(seconds), Some(alone)) = (build.took, build.alone) {
                (took, foretold) = (took + seconds, foretold + alone);
            }
        }
        let pace = if foretold > 0.0 { took / foretold } else { 1.0 };
        let (mut seconds, mut weight) = (0.0, 0.0);
        for build in self.each.iter().filter(built) {
            (seconds, weight) = (seconds + build.took.unwrap_or(0.0), weight + build.weight);
        }
        let by_weight = (weight > 0.0).then(|| seconds / weight);
        let known = |build: &Build| {
            let otherwise = || by_weight.map(|by_weight| by_weight * build.weight);
            let alone = build.alone.map(|alone| alone * pace).or_else(otherwise);
            Build { alone: build.took.or(alone), ..*build }
        };
        self.each.iter().map(known).collect()
    }

    /// Seconds until the last one is built, each begun by whoever is free first.
    fn makespan(&self, builds: &[Build], alone: &[f64]) -> f64 {
        let mut free = vec![0.0_f64; self.processes.max(1)];
        let mut ends: Vec<(f64, f64)> = Vec::new();
        let mut left: f64 = builds.iter().map(|build| build.weight).sum();
        for (build, seconds) in builds.iter().zip(alone) {
            let Some(next) = free.iter_mut().min_by(|a, b| a.total_cmp(b)) else { continue };
            let over: f64 =
                ends.iter().filter(|(end, _)| *end <= *next).map(|(_, weight)| weight).sum();
            ends.retain(|(end, _)| *end > *next);
            left -= over;
            let share = if left > 0.0 { build.weight / left } else { 1.0 };
            *next += seconds * self.shared(share);
            ends.push((*next, build.weight));
        }
        free.into_iter().fold(0.0, f64::max)
    }

    /// The part of the time of one process that a build takes which is this share of all that is left: a large
    /// one is given parallel workers.
    fn shared(&self, share: f64) -> f64 {
        let processes = (f64::from(self.parallel) * share).round();
        let processes = processes.min(f64::from(self.processors)).max(1.0);
        LEADER + (1.0 - LEADER) / processes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(alone: f64) -> Build {
        Build { alone: Some(alone), weight: alone, took: None }
    }

    fn builds(each: Vec<Build>) -> Builds {
        Builds { each, running: Vec::new(), processes: 1, parallel: 1, processors: 4 }
    }

    /// Half copied in 10 seconds, and two indexes of 20 seconds to come; nothing else is of any size.
    fn half_copied() -> Work {
        Work {
            stage: Stage::Copy,
            copy_seconds: 10.0,
            copied: 0.5,
            rows: 100.0,
            pages: 1.0,
            columns: 1.0,
            builds: builds(vec![build(20.0), build(20.0)]),
            ..Work::default()
        }
    }

    fn assert_about(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.1, "{found}, not {expected}");
    }

    fn left(work: &Work) -> f64 {
        foretell(work).left.unwrap_or(f64::NAN)
    }

    #[test]
    fn the_end_of_the_whole_way_is_foretold_and_not_that_of_the_copy() {
        let work = half_copied();
        assert_about(left(&work), 50.0);
        assert_about(foretell(&work).progress, 10.0 / 60.0);
        let indexing = Work { stage: Stage::Indexes, copied: 1.0, copy_seconds: 20.0, ..work };
        assert_about(left(&indexing), 40.0);
        assert_about(foretell(&indexing).progress, 20.0 / 60.0);
    }

    #[test]
    fn before_anything_is_known_and_after_the_end_there_is_no_time() {
        for stage in [Stage::Prepared, Stage::Ready] {
            assert_eq!(foretell(&Work { stage, ..half_copied() }).left, None);
        }
        let begun = Work { copied: 0.0, copy_seconds: 0.0, ..half_copied() };
        assert_eq!(foretell(&begun), Foretold { left: None, progress: 0.0 });
    }

    #[test]
    fn an_index_that_nobody_knows_makes_the_end_unknown_and_the_progress_a_guess() {
        let unknown = Build { alone: None, weight: 20.0, took: None };
        let work = Work { builds: builds(vec![build(20.0), unknown]), ..half_copied() };
        let found = foretell(&work);
        assert_eq!(found.left, None);
        assert!(found.progress > 0.1 && found.progress < 0.5, "{found:?}");
    }

    #[test]
    fn what_is_built_tells_of_what_is_not() {
        let built = Build { took: Some(30.0), ..build(20.0) };
        let work = Work { stage: Stage::Indexes, copied: 1.0, ..half_copied() };
        // By their foretold times.
        let slower = Work { builds: builds(vec![built, build(20.0)]), ..work.clone() };
        assert_about(left(&slower), 30.0);
        // By their sizes.
        let sized = |weight, took| Build { alone: None, weight, took };
        let each = vec![sized(300.0, Some(3.0)), sized(100.0, None)];
        assert_about(left(&Work { builds: builds(each), ..work.clone() }), 1.0);
        // Built before the upgrade: it is not said how long it took.
        let each = vec![sized(300.0, Some(0.0)), sized(100.0, None)];
        assert_eq!(foretell(&Work { builds: builds(each), ..work }).left, None);
    }

    #[test]
    fn a_build_that_goes_on_is_followed() {
        let mut work = Work { stage: Stage::Indexes, copied: 1.0, ..half_copied() };
        work.builds.running = vec![0.75];
        assert_about(left(&work), 25.0);
        // Its end is not seen yet.
        let ending =
            Work { since: 19.0, builds: builds(vec![build(20.0), build(20.0)]), ..work.clone() };
        assert_about(left(&ending), 20.4);
        work.builds.processes = 2;
        assert_about(left(&work), 20.0);
    }

    #[test]
    fn whoever_is_free_builds_the_next() {
        let mut three = builds(vec![build(20.0); 3]);
        three.processes = 2;
        let makespan = |builds: &Builds| builds.makespan(&builds.each, &[20.0; 3]);
        assert_about(makespan(&three), 40.0);
        // The last one is all that is left, and shared.
        three.parallel = 2;
        let shared = makespan(&three);
        assert!(shared < 40.0 && shared > 30.0, "{shared}");
        three.processors = 1;
        assert_about(makespan(&three), 40.0);
    }

    #[test]
    fn a_step_that_takes_longer_than_foretold_is_never_about_to_end() {
        assert_about(left_of(10.0, 4.0), 6.0);
        assert_about(left_of(10.0, 9.5), 1.0);
        assert_about(left_of(10.0, 100.0), 10.0);
    }

    #[test]
    fn there_is_no_end_at_once_and_nothing_is_done_before_it_is_ready() {
        let last = Work {
            stage: Stage::Sync,
            since: 1000.0,
            copy_seconds: 1e6,
            copied: 1.0,
            builds: Builds::default(),
            ..half_copied()
        };
        let found = foretell(&last);
        assert!(found.left.is_some_and(|left| left > 0.0) && found.progress <= 0.99, "{found:?}");
        assert_eq!(foretell(&Work { stage: Stage::Ready, ..last }).progress.to_string(), "1");
    }

    #[test]
    fn more_rows_than_the_sample_cost_more_than_their_share() {
        let sample = Sample { rows: 1000, ..Sample::default() };
        let of = |seconds: f64, rows: f64| {
            let index = SampledIndex { seconds, empty: 0.0003, bytes: 0 };
            build_seconds(&sample, &index, rows) - STEP
        };
        assert!((of(0.001, 1000.0) - 0.001).abs() < 1e-9);
        let million = of(0.001, 1e6);
        assert!(million > 1.5 && million < 3.0, "{million}");
        // Nearly all of it is an expression.
        let expression = of(1.0, 1e6);
        assert!(expression > 1000.0 && expression < 1100.0, "{expression}");
    }
}
