//! Which changes of a step can be made, where all reasons are to be told and not the first.
//!
//! ALTER TABLE does its actions in an order of its own, so that one may need what is written behind it. So
//! each is tried beside those that can be made, and again when another one was found to be possible.

use crate::error::Result;
use crate::model::changes::{Action, Change};
use crate::pg::parse::{named_by, unsettled_by};
use crate::pg::reasons::Reasons;
use crate::pg::xact::{self, SubtransactionError};
use crate::shadow::create::Step;

/// A change that cannot be made, and why.
type Failed<'a> = (&'a Change, SubtransactionError);

/// Leaves in a step what can be made, and takes the reason of each other change. One that needs what
/// another one would have made has none of its own. `apply` does changes together; it is rolled back.
pub(crate) fn sift<'a>(
    step: &mut Step<'a>,
    reasons: &Reasons<'_>,
    apply: impl Fn(&[&Change]) -> Result<()>,
) -> Result<()> {
    let attempt = |changes: &[&Change]| xact::trial(|| apply(changes));
    let Err(together) = attempt(&step.changes) else { return Ok(()) };
    let mut possible: Vec<&'a Change> = Vec::new();
    let mut rest = std::mem::take(&mut step.changes);
    let mut failed: Vec<Failed<'a>>;
    loop {
        let before = rest.len();
        failed = Vec::new();
        for change in rest {
            possible.push(change);
            if let Err(caught) = attempt(&possible) {
                possible.pop();
                failed.push((change, caught));
            }
        }
        if step.renames || failed.is_empty() || failed.len() == before {
            break;
        }
        rest = failed.iter().map(|(change, _)| *change).collect();
    }
    if failed.is_empty() {
        // Each can be made, but not as they stand.
        reasons.refuse(together.error)?;
    }
    // What makes a column comes before what uses it.
    failed.sort_by_key(|(change, _)| !is_addition(change));
    for (change, caught) in failed {
        reasons.refuse_about(&named_by(change), caught.error)?;
        reasons.unsettle(unsettled_by(change));
    }
    step.changes = possible;
    Ok(())
}

fn is_addition(change: &Change) -> bool {
    matches!(change, Change::Alter { action: Action::AddColumn { .. }, .. })
}
