//! The begin of a step's transaction: the lock, the state read again under it, the definitions compared.

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::state::store::LockedDeployment;

/// How often the definitions are compared during the copy, where that is cheap.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How many times its own duration passes between two comparisons: those of a table with many indexes and policies
/// take many milliseconds.
const CHECK_REST: f64 = 100.0;
/// However long one takes: it may have waited for a lock.
const CHECK_AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// Takes the deployment's lock, reads it again, checks both tables.
pub(crate) fn begin(id: i64) -> Result<LockedDeployment> {
    begin_as(id, Hold::Alone, &mut Checked::default())
}

/// When a process that copies has to compare the tables' definitions again.
#[derive(Debug, Default)]
pub(crate) struct Checked(Option<Instant>);

/// Locks the deployment in the given mode and reads its state again. Batches of the copy compare the definitions
/// about once a second, or less often where that takes long; whatever comes after the copy compares them again.
pub(crate) fn begin_as(id: i64, hold: Hold, checked: &mut Checked) -> Result<LockedDeployment> {
    let mut d = guard_lock::lock_as(id, hold)?;
    let began = Instant::now();
    let lately = checked.0.is_some_and(|next| began < next);
    let due =
        |member: &Member| member.phase.is_open() && !(lately && member.phase == Phase::Copying);
    for member in d.members_mut() {
        if !due(member) {
            continue;
        }
        fingerprint::check_and_record_names(member)?;
        let rest = began.elapsed().mul_f64(CHECK_REST).clamp(CHECK_EVERY, CHECK_AT_LEAST_EVERY);
        checked.0 = Some(Instant::now() + rest);
    }
    Ok(d)
}
