//! What an episode will do: drawn before it begins, from the seed and the episode's number alone, so
//! that nothing that happens at run time changes what is drawn later.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::table::Table;
use super::table::children::Children;
use crate::journal::{Errors, Isolation, Voice, Workload};

/// What an operator calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// bg_prepare with the episode's changes, or a table made by hand.
    Prepare,
    /// CALL bg_run until a phase.
    Run(&'static str),
    /// bg_backfill for so many milliseconds.
    Backfill(u32),
    /// bg_pause
    Pause,
    /// bg_resume
    Resume,
    /// bg_swap
    Swap,
    /// bg_revert
    Revert,
    /// bg_finish
    Finish,
    /// bg_abort
    Abort,
    /// bg_verify, with repair or without.
    Verify(bool),
    /// bg_status and bg_blockers.
    Look,
}

impl Verb {
    /// Its statement.
    pub fn sql(&self, table: &Table) -> String {
        let name = table.literal();
        match self {
            Verb::Prepare => {
                format!("SELECT bg_prepare({name}, {})", table.arguments)
            }
            Verb::Run(until) => format!("CALL bg_run({name}, '{until}')"),
            Verb::Backfill(time) => format!("SELECT bg_backfill({name}, '{time} ms')"),
            Verb::Pause => format!("SELECT bg_pause({name})"),
            Verb::Resume => format!("SELECT bg_resume({name})"),
            Verb::Swap => format!("SELECT bg_swap({name})"),
            Verb::Revert => format!("SELECT bg_revert({name})"),
            Verb::Finish => format!("SELECT bg_finish({name})"),
            Verb::Abort => format!("SELECT bg_abort({name})"),
            Verb::Verify(repair) => {
                format!("SELECT count(*) FROM bg_verify({name}, repair => {repair})")
            }
            Verb::Look => format!(
                "SELECT phase || ', ' || (SELECT count(*) FROM bg_blockers({name})) || ' blockers'
                 FROM bg_status({name})"
            ),
        }
    }

    fn draw(random: &mut StdRng) -> Self {
        match random.random_range(0..100) {
            0..24 => Verb::Run("ready"),
            24..44 => Verb::Run("swapped"),
            44..54 => Verb::Backfill(*[1, 50, 400, 2_000].choose(random).unwrap_or(&50)),
            54..58 => Verb::Pause,
            58..63 => Verb::Resume,
            63..73 => Verb::Swap,
            73..83 => Verb::Revert,
            83..86 => Verb::Abort,
            86..92 => Verb::Verify(random.random_ratio(1, 3)),
            92..98 => Verb::Prepare,
            _ => Verb::Look,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verb::Prepare => write!(f, "bg_prepare"),
            Verb::Run(until) => write!(f, "bg_run {until}"),
            Verb::Backfill(_) => write!(f, "bg_backfill"),
            Verb::Pause => write!(f, "bg_pause"),
            Verb::Resume => write!(f, "bg_resume"),
            Verb::Swap => write!(f, "bg_swap"),
            Verb::Revert => write!(f, "bg_revert"),
            Verb::Finish => write!(f, "bg_finish"),
            Verb::Abort => write!(f, "bg_abort"),
            Verb::Verify(false) => write!(f, "bg_verify"),
            Verb::Verify(true) => write!(f, "bg_verify repair"),
            Verb::Look => write!(f, "bg_status"),
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// pg_cancel_backend of an operator's session.
    CancelRunner,
    /// pg_terminate_backend of an operator's session.
    TerminateRunner,
    /// kill -9 of an operator's session.
    KillRunner,
    /// pg_cancel_backend of a background worker.
    CancelWorker,
    /// pg_terminate_backend of a background worker.
    TerminateWorker,
    /// kill -9 of a background worker.
    KillWorker,
    /// pg_terminate_backend of a writer.
    TerminateWriter,
    /// An immediate stop of the server, and its start.
    Stop,
    /// VACUUM FULL of the live table.
    VacuumFull,
    /// ANALYZE of the live table.
    Analyze,
    /// VACUUM FULL of the offline table.
    VacuumFullBlue,
    /// REINDEX of the offline table.
    ReindexBlue,
    /// Another index on the live table.
    Index,
    /// Another comment on the live table.
    Comment,
    /// A transaction with a lock on the live table that does nothing for a while.
    Holder,
    /// A transaction with an old snapshot that does nothing for a while.
    Snapshot,
}

impl Fault {
    /// One in proportion to how much it is worth.
    fn draw(random: &mut StdRng) -> Self {
        const ALL: [(Fault, u32); 16] = [
            (Fault::CancelRunner, 14),
            (Fault::TerminateRunner, 14),
            (Fault::KillRunner, 7),
            (Fault::CancelWorker, 6),
            (Fault::TerminateWorker, 8),
            (Fault::KillWorker, 5),
            (Fault::TerminateWriter, 6),
            (Fault::Stop, 8),
            (Fault::VacuumFull, 8),
            (Fault::Analyze, 5),
            (Fault::VacuumFullBlue, 5),
            (Fault::ReindexBlue, 5),
            (Fault::Index, 3),
            (Fault::Comment, 3),
            (Fault::Holder, 8),
            (Fault::Snapshot, 8),
        ];
        ALL.choose_weighted(random, |(_, weight)| *weight)
            .map_or(Fault::Analyze, |(fault, _)| *fault)
    }
}

/// A fault with its moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blow {
    /// What.
    pub fault: Fault,
    /// How long after the verbs have begun.
    pub after: Duration,
    /// How long it lasts, where it lasts.
    pub lasts: Duration,
    /// Which of several it hits.
    pub whom: usize,
}

/// One operator's call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What.
    pub verb: Verb,
    /// SETs before it.
    pub settings: Vec<(&'static str, String)>,
}

/// What one or two operators do at the same time, and what goes wrong meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The calls.
    pub acts: Vec<Act>,
    /// How long before the second one.
    pub apart: Duration,
    /// What goes wrong, in this order.
    pub blows: Vec<Blow>,
    /// How long the writers are left alone before.
    pub rest: Duration,
}

/// How an episode ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// bg_run until finished.
    Finish,
    /// bg_revert where it is swapped, and bg_abort.
    Abort,
}

/// One table with one deployment, which may be aborted and begun again on the way.
#[derive(Debug, Clone)]
pub struct Episode {
    /// From 1.
    pub number: u64,
    /// The table and the changes.
    pub table: Table,
    /// The writers.
    pub workload: Workload,
    /// The first one prepares.
    pub steps: Vec<Step>,
    /// What another operator does while it ends.
    pub rival: Option<Act>,
    /// What goes wrong while it ends.
    pub blow: Option<Blow>,
    /// How it ends.
    pub ending: Ending,
}

impl Episode {
    /// Draws the episode of that number; `citext` says whether the server has that type.
    pub fn draw(seed: u64, number: u64, citext: bool) -> Self {
        // One generator for each episode: any of them can be played alone.
        let mut random = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let random = &mut random;
        let large = random.random_ratio(2, 5);
        let table = Table::draw(random, large, citext);
        let workload = workload(random, &table);
        let steps = random.random_range(4..=11);
        let mut steps: Vec<Step> = (0..steps).map(|_| step(random)).collect();
        if let Some(first) = steps.first_mut() {
            first.acts.truncate(1);
            first.acts[0].verb = Verb::Prepare;
        }
        if let Some(second) = steps.get_mut(1)
            && (large || random.random_ratio(2, 3))
        {
            // Most of what can break needs a copy.
            if large {
                let mut blow = blow(random);
                blow.fault = *[Fault::CancelWorker, Fault::TerminateWorker, Fault::KillWorker]
                    .choose(random)
                    .unwrap_or(&Fault::KillWorker);
                blow.after /= 8;
                second.blows.insert(0, blow);
                // Workers that are there for long enough to be hit.
                let settings = &mut second.acts[0].settings;
                settings.retain(|(name, _)| name.starts_with("bluegreen.retry"));
                settings.extend(
                    [
                        ("bluegreen.copy_workers", "3"),
                        ("bluegreen.batch_time", "2ms"),
                        ("bluegreen.nice", "10"),
                    ]
                    .map(|(name, value)| (name, value.to_owned())),
                );
            }
            second.acts[0].verb =
                Verb::Run(if random.random_bool(0.5) { "ready" } else { "swapped" });
        }
        Self {
            number,
            table,
            workload,
            steps,
            rival: random.random_ratio(1, 3).then(|| act(random)),
            blow: random.random_ratio(1, 3).then(|| blow(random)),
            ending: if random.random_bool(0.5) { Ending::Finish } else { Ending::Abort },
        }
    }
}

impl Act {
    /// Whether its session has a statement_timeout.
    pub fn may_time_out(&self) -> bool {
        self.settings.iter().any(|(name, _)| *name == "statement_timeout")
    }

    /// Whether the server may end it for another one that is serializable too: both read or write our tables.
    pub fn may_conflict(&self) -> bool {
        self.settings.iter().any(|(name, _)| *name == "default_transaction_isolation")
    }
}

fn workload(random: &mut StdRng, table: &Table) -> Workload {
    let truncate = table.children.is_none() && random.random_ratio(1, 4);
    let mut errors = Errors::of_a_new_definition()
        .tolerating(&["40001", "40P01", "57014", "23514"])
        .reconnecting();
    if table.children.is_some_and(Children::forbid) {
        errors = errors.tolerating(&["23503"]);
    }
    Workload {
        writers: random.random_range(2..=4),
        voices: Voice::ALL.to_vec(),
        // Without one they are faster than sync may be.
        pace: random.random_ratio(5, 6).then(|| random.random_range(10.0..80.0)),
        truncate: truncate.then(|| Duration::from_millis(random.random_range(1_500..8_000))),
        shared: 60,
        look: random.random_bool(0.5),
        isolation: Isolation::ALL.to_vec(),
        two_phase: Some(random.random_range(5..40)),
        errors,
        seed: random.random(),
    }
}

fn step(random: &mut StdRng) -> Step {
    let acts = if random.random_ratio(1, 3) { 2 } else { 1 };
    let blows = match random.random_range(0..20) {
        0..10 => 1,
        10..13 => 2,
        _ => 0,
    };
    Step {
        acts: (0..acts).map(|_| act(random)).collect(),
        apart: Duration::from_millis(random.random_range(0..200)),
        blows: (0..blows).map(|_| blow(random)).collect(),
        rest: Duration::from_millis(random.random_range(0..300)),
    }
}

fn act(random: &mut StdRng) -> Act {
    let batch = match random.random_range(0..3) {
        0 => 1,
        1 => random.random_range(2..20),
        _ => random.random_range(20..=200),
    };
    let mut settings = vec![
        ("bluegreen.batch_time", format!("{batch}ms")),
        ("bluegreen.copy_workers", random.random_range(1..=3).to_string()),
        ("bluegreen.retry_for", format!("{}ms", random.random_range(200..6_000))),
    ];
    if random.random_ratio(1, 3) {
        settings.push(("bluegreen.nice", random.random_range(0..=5).to_string()));
    }
    if random.random_ratio(1, 5) {
        settings.push(("bluegreen.lock_timeout", format!("{}ms", random.random_range(1..500))));
    }
    if random.random_ratio(1, 6) {
        settings.push(("bluegreen.vacuum", "off".to_owned()));
    }
    if random.random_ratio(1, 6) {
        settings.push(("bluegreen.max_wal_rate", random.random_range(2_000..20_000).to_string()));
    }
    if random.random_ratio(1, 12) {
        settings.push(("statement_timeout", format!("{}ms", random.random_range(5..500))));
    }
    if random.random_ratio(1, 30) {
        settings.push(("default_transaction_isolation", "serializable".to_owned()));
    }
    if random.random_ratio(1, 12) {
        settings.push(("enable_seqscan", "off".to_owned()));
    }
    Act { verb: Verb::draw(random), settings }
}

fn blow(random: &mut StdRng) -> Blow {
    // Most moments are early: a small table is copied in a fraction of a second.
    let most = *[4, 20, 60, 150, 600, 2_000].choose(random).unwrap_or(&150);
    Blow {
        fault: Fault::draw(random),
        after: Duration::from_micros(random.random_range(0..most * 1_000)),
        lasts: Duration::from_millis(random.random_range(50..2_500)),
        whom: random.random_range(0..4),
    }
}

#[cfg(test)]
mod tests {
    use super::Episode;

    #[test]
    fn the_same_seed_and_number_draw_the_same_episode() {
        for number in 1..50 {
            let one = format!("{:?}", Episode::draw(7, number, true));
            assert_eq!(one, format!("{:?}", Episode::draw(7, number, true)));
            assert_ne!(one, format!("{:?}", Episode::draw(8, number, true)));
        }
    }
}
