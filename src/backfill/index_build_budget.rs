//! What the build of one index may take while others are built beside it: parallel workers and memory.
//!
//! Several builds at once, each by one process, take less work in all than one build with parallel
//! workers: those sort in runs that the leader has to merge by itself. So an index gets parallel workers
//! only where it is a large part of what is left.
//!
//! A sort is fastest in runs that fit the processor's caches, as long as they can all be merged at once:
//! two million texts in random order took 4.6 s to index in one run of 256 MB and 2.5 s in runs of
//! 8 MB. `maintenance_work_mem` is what a build may take, not what serves it best.
//!
//! Source: `tuplesort.c` (`tuplesort_merge_order`: memory for each run that is merged), `planner.c`
//! (`plan_create_index_workers`: memory for each participant).

use crate::model::settings::Settings;

/// Memory that a merge wants for each of its runs: a tape's block and 32 blocks to read ahead.
const PER_RUN: f64 = (8 + 8 + 256) as f64 * 1024.0;
/// What an entry takes in a sort beside what it takes in the index; one of a few bytes takes as much as
/// the second says, and the index may hold many equal ones as one.
const IN_MEMORY: f64 = 2.5;
const ENTRY: f64 = 56.0;
/// Runs that are merged at once, at most.
const MAX_RUNS: f64 = 500.0;
/// The least memory for a sort.
const MIN_KB: u32 = 4 << 10;
/// What the server asks for each participant of a parallel build.
const PARTICIPANT_KB: u32 = 32 << 10;

/// What one build may take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IndexBuildBudget {
    /// Parallel workers.
    pub workers: u32,
    /// Memory in kB, however much more `maintenance_work_mem` allows.
    pub sort_kb: u32,
}

impl IndexBuildBudget {
    /// For an index of so many bytes on a table of so many rows that is this share, from 0 to 1, of all
    /// that is left to build. All builds together get as many processes as copy, or as one build alone
    /// would have.
    pub(super) fn of(settings: &Settings, bytes: i64, rows: i64, share: f64) -> Self {
        let most = settings.parallel_maintenance();
        let processes = f64::from(settings.copy_workers.max(1 + most)) * share;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let workers = (processes.round().max(1.0) as u32 - 1).min(most);
        let least = if workers == 0 { MIN_KB } else { PARTICIPANT_KB };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let sort_kb = {
            let all = (bytes as f64 * IN_MEMORY).max(rows as f64 * ENTRY);
            ((all * PER_RUN).sqrt().max(all / MAX_RUNS) / 1024.0).ceil() as u32
        };
        Self { workers, sort_kb: sort_kb.max(least).saturating_mul(workers + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::PARALLEL_MAINTENANCE;

    fn settings(copy_workers: u32, parallel: u32) -> Settings {
        let maintenance = [(PARALLEL_MAINTENANCE.to_owned(), parallel.to_string())].into();
        Settings { copy_workers, maintenance, ..Settings::default() }
    }

    fn workers(settings: &Settings, share: f64) -> u32 {
        IndexBuildBudget::of(settings, 0, 0, share).workers
    }

    #[test]
    fn an_index_gets_parallel_workers_where_it_is_a_large_part_of_what_is_left() {
        let s = settings(1, 2);
        assert_eq!([0.1, 0.4, 0.6, 1.0].map(|share| workers(&s, share)), [0, 0, 1, 2]);
        let s = settings(4, 2);
        assert_eq!([1.0 / 40.0, 0.25, 0.5, 1.0].map(|share| workers(&s, share)), [0, 0, 1, 2]);
        assert_eq!(workers(&settings(1, 0), 1.0), 0);
        assert_eq!(workers(&Settings::default(), 1.0), 0);
    }

    #[test]
    fn all_runs_can_be_merged_at_once() {
        for (megabytes, rows) in [
            (20_i64, 1_000_000_i64),
            (150, 2_000_000),
            (10_000, 100_000_000),
            (1_000_000, 10_000_000_000),
            // Few values, many rows.
            (700, 100_000_000),
        ] {
            let kb = IndexBuildBudget::of(&settings(1, 0), megabytes << 20, rows, 1.0).sort_kb;
            let memory = f64::from(kb) * 1024.0;
            #[allow(clippy::cast_precision_loss)]
            let all = ((megabytes << 20) as f64 * IN_MEMORY).max(rows as f64 * ENTRY);
            let most = (memory / PER_RUN).min(MAX_RUNS);
            assert!(all / memory <= most * 1.001, "{megabytes} MB in {kb} kB");
        }
    }

    #[test]
    fn a_small_index_gets_little_and_a_parallel_build_what_the_server_asks_for() {
        assert_eq!(IndexBuildBudget::of(&settings(1, 0), 8192, 10, 0.1).sort_kb, 4 << 10);
        assert_eq!(
            IndexBuildBudget::of(&settings(1, 2), 100 << 20, 1_000_000, 1.0).sort_kb,
            96 << 10
        );
    }
}
