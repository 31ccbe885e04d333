//! bg_pause and bg_resume.

use crate::error::{Error, Result};
use crate::guard::access;
use crate::state::{restored, store};

/// Lets the work on the deployment of a table rest. Returns its phase.
pub(crate) fn pause(relation: u32) -> Result<String> {
    access::require_read_committed("bg_pause")?;
    set(relation, true)
}

/// Lets it go on. Returns its phase.
pub(crate) fn resume(relation: u32) -> Result<String> {
    access::require_read_committed("bg_resume")?;
    set(relation, false)
}

fn set(relation: u32, paused: bool) -> Result<String> {
    let d = access::find(relation, access::caller())?;
    if !d.phase.is_open() {
        return Err(Error::state(format!("the deployment of {} is over", d.source.plain()))
            .hint("Begin a new one with SELECT bg_prepare(table, changes)."));
    }
    if d.restored {
        return Err(restored::refusal(&d));
    }
    store::save_paused(d.id, paused)?;
    Ok(d.phase.to_string())
}
