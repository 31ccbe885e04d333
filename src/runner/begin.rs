//! The begin of a step's transaction: the lock, the state read again under it, the definitions compared.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::pg::xact;
use crate::state::store::LockedDeployment;

/// How often the definitions are compared during the copy.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Takes the deployment's lock, reads it again, checks both tables.
pub(crate) fn begin(id: i64) -> Result<LockedDeployment> {
    begin_as(id, Hold::Alone, &mut Checked::default())
}

/// When a process that copies has last compared the tables' definitions.
#[derive(Debug, Default)]
pub(crate) struct Checked(Option<Instant>);

/// Locks the deployment in the given mode and reads its state again. Batches of the copy compare the definitions about once a
/// second: it takes as long as the copy of a hundred blocks, and whatever comes after the copy
/// compares them again.
pub(crate) fn begin_as(id: i64, hold: Hold, checked: &mut Checked) -> Result<LockedDeployment> {
    let d = guard_lock::lock_as(id, hold)?;
    let lately = checked.0.is_some_and(|at| at.elapsed() < CHECK_EVERY);
    let due =
        |member: &&Member| member.phase.is_open() && !(lately && member.phase == Phase::Copying);
    for member in d.members().filter(due) {
        xact::rolled_back(|| fingerprint::check_definitions(member))?;
        checked.0 = Some(Instant::now());
    }
    Ok(d)
}
