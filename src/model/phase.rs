//! Phases of a deployment and the one pure function that moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where a deployment stands; the later one is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Blue exists, capture runs, nothing is copied.
    Prepared,
    /// Green's blocks are being copied.
    Copying,
    /// Purge, indexes, statistics and the first complete sync.
    Indexing,
    /// Blue is in step with green.
    Ready,
    /// The shadow is live; the origin is blue and kept in step.
    Swapped,
    /// The shadow stays; nothing of the deployment is left.
    Finished,
    /// The origin stays; nothing of the deployment is left.
    Aborted,
}

/// What happened to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The copy began.
    CopyStarted,
    /// The last block was copied.
    CopyDone,
    /// The rows must be copied again (green was rewritten).
    CopyAgain,
    /// Indexes are built and the first sync is complete.
    InStep,
    /// Blue was brought up to date with green's definition, and has to be completed.
    Updated,
    /// The roles were swapped, origin to shadow.
    Swapped,
    /// The roles were swapped back.
    Reverted,
    /// The new table stays.
    Finished,
    /// The old table stays.
    Aborted,
}

/// The phase that `event` leads to, or an error that names the phase and what is possible.
pub(crate) fn next(phase: Phase, event: Event) -> Result<Phase> {
    use Event as E;
    use Phase as P;
    match (phase, event) {
        (P::Prepared, E::CopyStarted) => Ok(P::Copying),
        (P::Copying, E::CopyDone) => Ok(P::Indexing),
        (P::Prepared | P::Copying, E::CopyAgain) => Ok(P::Prepared),
        (P::Indexing, E::InStep) => Ok(P::Ready),
        (P::Ready, E::Updated) => Ok(P::Indexing),
        (P::Ready, E::Swapped) => Ok(P::Swapped),
        (P::Swapped, E::Reverted) => Ok(P::Ready),
        (P::Swapped, E::Finished) => Ok(P::Finished),
        (P::Prepared | P::Copying | P::Indexing | P::Ready, E::Aborted) => Ok(P::Aborted),
        (
            P::Prepared
            | P::Copying
            | P::Indexing
            | P::Ready
            | P::Swapped
            | P::Finished
            | P::Aborted,
            _,
        ) => Err(wrong_phase(phase, event)),
    }
}

fn wrong_phase(phase: Phase, event: Event) -> Error {
    let verb = match event {
        Event::CopyStarted | Event::CopyDone | Event::CopyAgain | Event::InStep => "copied",
        Event::Updated => "brought up to date",
        Event::Swapped => "swapped",
        Event::Reverted => "reverted",
        Event::Finished => "finished",
        Event::Aborted => "aborted",
    };
    Error::state(format!(
        "the deployment is in phase {phase} and cannot be {verb}; possible now: {}",
        phase.calls()
    ))
    .hint(phase.possible())
}

impl Phase {
    /// Whether the deployment still exists.
    pub(crate) fn is_open(self) -> bool {
        match self {
            Phase::Prepared | Phase::Copying | Phase::Indexing | Phase::Ready | Phase::Swapped => {
                true
            }
            Phase::Finished | Phase::Aborted => false,
        }
    }

    /// The calls that this phase allows.
    fn calls(self) -> &'static str {
        match self {
            Phase::Prepared | Phase::Copying | Phase::Indexing => "bg_run, bg_abort",
            Phase::Ready => "bg_run, bg_swap, bg_abort",
            Phase::Swapped => "bg_run, bg_revert, bg_finish",
            Phase::Finished | Phase::Aborted => "bg_prepare",
        }
    }

    /// What a user can do in this phase, as a hint.
    pub(crate) fn possible(self) -> &'static str {
        match self {
            Phase::Prepared | Phase::Copying | Phase::Indexing => {
                "Drive it with CALL bg_run(table), or drop it with SELECT bg_abort(table)."
            }
            Phase::Ready => {
                "Possible now: SELECT bg_swap(table), CALL bg_run(table) to sync, SELECT bg_abort(table)."
            }
            Phase::Swapped => {
                "Possible now: SELECT bg_revert(table), SELECT bg_finish(table), CALL bg_run(table) to sync."
            }
            Phase::Finished | Phase::Aborted => {
                "Begin a new deployment with SELECT bg_prepare(table, changes)."
            }
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Prepared => "prepared",
            Phase::Copying => "copying",
            Phase::Indexing => "indexing",
            Phase::Ready => "ready",
            Phase::Swapped => "swapped",
            Phase::Finished => "finished",
            Phase::Aborted => "aborted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_a_deployment_leads_to_finished() {
        let mut phase = Phase::Prepared;
        for event in [
            Event::CopyStarted,
            Event::CopyDone,
            Event::InStep,
            Event::Swapped,
            Event::Reverted,
            Event::Swapped,
            Event::Finished,
        ] {
            phase = next(phase, event).unwrap_or(Phase::Aborted);
        }
        assert_eq!(phase, Phase::Finished);
    }

    #[test]
    fn a_swapped_deployment_cannot_be_aborted() {
        let error = next(Phase::Swapped, Event::Aborted);
        assert!(matches!(error, Err(ref e) if e.message.contains("phase swapped")));
    }

    #[test]
    fn names_are_read_back() {
        for phase in [Phase::Prepared, Phase::Copying, Phase::Indexing, Phase::Ready] {
            let text = serde_json::Value::String(phase.to_string());
            assert_eq!(serde_json::from_value::<Phase>(text).ok(), Some(phase));
        }
    }
}
