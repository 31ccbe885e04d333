//! What was done, for the one who has to find out why something broke.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::plan::Fault;

/// How many of the last actions are kept.
const KEPT: usize = 30;

/// The last actions, and how many of each kind there were.
#[derive(Debug, Default)]
pub struct Diary {
    last: VecDeque<String>,
    /// Also to standard output at once.
    aloud: bool,
    /// Episodes that were played.
    pub episodes: u64,
    /// Calls of bg_prepare that made a deployment.
    pub deployments: u64,
    /// Steps that were taken.
    pub steps: u64,
    /// Calls, and how many of them were refused.
    pub verbs: BTreeMap<String, (u64, u64)>,
    /// Refusals by SQLSTATE and the beginning of their message.
    pub refusals: BTreeMap<String, u64>,
    /// Faults that hit somebody.
    pub faults: BTreeMap<Fault, u64>,
    /// Transactions that writers committed.
    pub written: u64,
    /// What the writers took without calling it a problem, by SQLSTATE.
    pub tolerated: BTreeMap<String, u64>,
    /// Rows that bg_verify compared.
    pub verified: u64,
    /// How often the observer added up table and ledger under writers.
    pub looks: u64,
    /// How often a reader in REPEATABLE READ did.
    pub snapshots: u64,
    /// Rows that others moved between the table's rows.
    pub letters: u64,
    /// Episodes of which bg_prepare refused the changes.
    pub unprepared: u64,
}

impl Diary {
    /// An empty one; `aloud` also tells each action at once.
    pub(super) fn new(aloud: bool) -> Self {
        Self { aloud, ..Self::default() }
    }

    /// Notes an action.
    pub fn note(&mut self, action: String) {
        if self.aloud {
            println!("{action}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(action);
    }

    /// Counts a call.
    pub fn call(&mut self, verb: String, refused: bool) {
        let (calls, refusals) = self.verbs.entry(verb).or_default();
        *calls += 1;
        *refusals += u64::from(refused);
    }

    /// The last actions, one in a line.
    pub fn last(&self) -> String {
        self.last.iter().map(|action| format!("  {action}\n")).collect()
    }

    /// How many processes were killed or ended.
    pub fn kills(&self) -> u64 {
        let kill = |fault: &Fault| {
            matches!(
                fault,
                Fault::KillRunner
                    | Fault::KillWorker
                    | Fault::TerminateRunner
                    | Fault::TerminateWorker
                    | Fault::TerminateWriter
            )
        };
        self.faults.iter().filter(|(fault, _)| kill(fault)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Diary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} episodes, {} steps, {} deployments, {} processes killed or ended, {} server stops, \
             {} writes committed, {} rows verified, \
             {} balances under load, {} by older snapshots, {} children moved",
            self.episodes,
            self.steps,
            self.deployments,
            self.kills(),
            self.faults.get(&Fault::Stop).copied().unwrap_or_default(),
            self.written,
            self.verified,
            self.looks,
            self.snapshots,
            self.letters
        )?;
        if self.unprepared > 0 {
            writeln!(f, "{} episodes whose changes were refused", self.unprepared)?;
        }
        writeln!(f, "writers rolled back by SQLSTATE: {:?}", self.tolerated)?;
        for (verb, (calls, refused)) in &self.verbs {
            writeln!(f, "{calls:>7} {verb}, {refused} of them without success")?;
        }
        for (fault, count) in &self.faults {
            writeln!(f, "{count:>7} {fault:?}")?;
        }
        for (refusal, count) in &self.refusals {
            writeln!(f, "{count:>7} × {refusal}")?;
        }
        Ok(())
    }
}
