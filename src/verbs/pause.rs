//! bg_pause and bg_resume.

use crate::error::{Error, Result};
use crate::guard::access;
use crate::guard::lock as guard_lock;
use crate::oid::RelationId;
use crate::state::{restored, store};

/// Lets the work on the deployment of a table rest. Returns its phase.
pub(crate) fn pause(relation: RelationId) -> Result<String> {
    access::require_to_write("bg_pause")?;
    set(relation, true)
}

/// Lets it go on. Returns its phase.
pub(crate) fn resume(relation: RelationId) -> Result<String> {
    access::require_to_write("bg_resume")?;
    set(relation, false)
}

fn set(relation: RelationId, paused: bool) -> Result<String> {
    let member = access::find(relation, access::caller())?;
    if !member.phase.is_open() {
        return Err(Error::state(format!("the deployment of {} is over", member.source.plain()))
            .hint("Begin a new one with SELECT bg_prepare(table, changes)."));
    }
    if member.restored {
        return Err(restored::refusal(&member));
    }
    guard_lock::beside_others(member.id, || {
        store::read(member.id)?.members().try_for_each(|member| {
            store::save_paused(member.id, paused)?;
            if member.paused == paused {
                return Ok(());
            }
            let name = if paused { "pause" } else { "resume" };
            let step = store::Step { name, seconds: 0.0, count: None, detail: None, error: None };
            store::record(member, &step)
        })
    })?;
    Ok(member.phase.to_string())
}
