//! bg_prepare ends a deployment that stands in its way because a table of it was dropped.

use crate::error::Result;
use crate::guard::gone::{Gone, look, require_owner};
use crate::guard::lock as guard_lock;
use crate::model::deployment::{Deployment, Side};
use crate::model::settings::Settings;
use crate::verbs::finish;

/// Ends a deployment that stands in the way of a new one of its table, or of a table of the name: where
/// the live one is gone and made anew, or, before the swap, the offline one is gone. What came of it;
/// None: neither is so.
pub(crate) fn make_way(
    known: &Deployment,
    caller: u32,
    settings: &Settings,
) -> Result<Option<String>> {
    if !stands_in_the_way(known)? {
        return Ok(None);
    }
    require_owner(known, caller)?;
    let mut d = guard_lock::lock(known.id)?;
    if d.phase.is_open() && stands_in_the_way(&d)? {
        return finish::abort(&mut d, settings).map(Some);
    }
    Ok(Some(format!("deployment {} of {} is over", d.id, d.source.plain())))
}

fn stands_in_the_way(d: &Deployment) -> Result<bool> {
    Ok(match look(d)? {
        Some(Gone::Green { made_anew }) => made_anew,
        Some(Gone::Blue) => d.green_side() == Side::Origin,
        None => false,
    })
}
