//! bg_prepare ends a deployment that stands in its way because a table of it was dropped.

use crate::error::Result;
use crate::guard::gone::{Gone, look, require_owner};
use crate::guard::lock as guard_lock;
use crate::model::member::{Member, Side};
use crate::model::settings::Settings;
use crate::oid::RoleId;
use crate::verbs::finish;

/// Ends a deployment that stands in the way of a new one of its table, or of a table of the name: where
/// the live one is gone and made anew, or, before the swap, the offline one is gone. What came of it;
/// None: neither is so.
pub(crate) fn make_way(
    known: &Member,
    caller: RoleId,
    settings: &Settings,
) -> Result<Option<String>> {
    if !stands_in_the_way(known)? {
        return Ok(None);
    }
    require_owner(known, caller)?;
    let mut d = guard_lock::lock(known.id)?;
    if d.is_open() && stands_in_the_way(d.first())? {
        return finish::abort(&mut d, settings).map(Some);
    }
    Ok(Some(format!("the deployment of {} is over", known.source.plain())))
}

fn stands_in_the_way(member: &Member) -> Result<bool> {
    Ok(match look(member)? {
        Some(Gone::Green { made_anew }) => made_anew,
        Some(Gone::Blue) => member.green_side() == Side::Origin,
        None => false,
    })
}
