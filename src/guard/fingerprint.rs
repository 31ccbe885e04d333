//! The recorded definitions of both tables: compared before each step, taken again after our own changes.

use crate::catalog::{self, event_trigger};
use crate::error::{Error, Result};
use crate::guard::gone;
use crate::guard::intrusion;
use crate::model::member::{Member, Side};
use crate::model::phase::Phase;
use crate::pg::security::Identity;
use crate::plan::difference;
use crate::plan::intrusion::Step;
use crate::shadow::meaning;
use crate::state::restored;
use crate::state::store::{self, LockedMember};

/// Refuses to go on when either table is not as we left it, naming what changed.
pub(crate) fn check_definitions(member: &Member) -> Result<()> {
    [Side::Origin, Side::Shadow].into_iter().try_for_each(|side| check_definition(member, side))?;
    if !member.plan.session.contains_key("search_path") {
        return Ok(());
    }
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    meaning::require_mapping(&member.plan.forward, member.origin.root)?;
    meaning::require_mapping(&member.plan.reverse, member.shadow.root)
}

/// The same for one of them.
pub(crate) fn check_definition(member: &Member, side: Side) -> Result<()> {
    if member.restored {
        return Err(restored::refusal(member));
    }
    let _us = Identity::extension()?;
    let is_green = side == member.green_side();
    let name = if is_green { member.source.plain() } else { member.blue_name().plain() };
    if catalog::table(member.oid(side))?.is_none()
        && let Some(gone) = gone::look(member)?
    {
        return Err(gone.refusal(member));
    }
    if is_green {
        intrusion::check_log(member, side)?;
    }
    let found = differences(member, side)?;
    if found.is_empty() {
        return Ok(());
    }
    let what = found.join("; ");
    let error = if is_green && difference::capture_is_broken(&found) {
        Error::state(format!(
                "capture on {name} was interrupted ({what}): writes may be missing from the copy"
            ))
            .hint(if member.phase == Phase::Swapped {
                "The old table cannot be trusted any more: keep the new one with SELECT bg_finish(table)."
            } else {
                "The copy cannot be trusted. Run SELECT bg_abort(table) and begin again."
            })
    } else {
        Error::state(format!("the definition of {name} changed during the deployment: {what}"))
                .hint(if member.phase == Phase::Swapped {
                    "Undo that change to go on or to revert, or keep the new table with SELECT bg_finish(table)."
                } else {
                    "Call bg_prepare again with the same arguments, which brings the offline table up to date where it can; or undo that change, or run SELECT bg_abort(table) and begin again."
                })
    };
    Err(match event_trigger::suspects(None)? {
        Some(who) => {
            error.detail(format!("Commands of the deployment fire {who}, which may have done it."))
        }
        None => error,
    })
}

/// What is different from what was recorded of a table, in words.
pub(crate) fn differences(member: &Member, side: Side) -> Result<Vec<String>> {
    let _us = Identity::extension()?;
    let recorded = match side {
        Side::Origin => &member.fingerprint_origin,
        Side::Shadow => &member.fingerprint_shadow,
    };
    // The server names objects as they are this moment, and finds them as the statement's snapshot has
    // them: while another swap commits, the two do not fit together. Look again.
    let mut found = Vec::new();
    for _ in 0..3 {
        let now = if side == member.green_side() {
            catalog::fingerprint(member.oid(side))?
        } else {
            blue_fingerprint(member)?
        };
        found = difference::differences(recorded, &now);
        if found.is_empty() {
            break;
        }
    }
    Ok(found)
}

/// Blue's definition without what we build and change on it ourselves.
pub(crate) fn blue_fingerprint(member: &Member) -> Result<serde_json::Value> {
    Ok(without_ours(member, catalog::fingerprint(member.blue())?))
}

fn without_ours(member: &Member, mut now: serde_json::Value) -> serde_json::Value {
    let Some(parts) = now.as_object_mut() else { return now };
    let ours: Vec<String> = member
        .plan
        .indexes
        .iter()
        .flat_map(|i| {
            let constraint = i.constraint.as_ref().map(|c| &c.name);
            [format!("index {}", i.name.as_str())]
                .into_iter()
                .chain(constraint.map(|c| format!("constraint {}", c.as_str())))
        })
        .chain(member.plan.not_valid.iter().map(|c| format!("constraint {}", c.name.as_str())))
        .collect();
    parts.retain(|part, _| !ours.contains(part));
    now
}

/// Takes both fingerprints again, after a change of our own, which must have done no more to a table than it
/// was meant to; green's at first is compared by the caller.
pub(crate) fn take_fingerprints(member: &mut LockedMember, step: &Step<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    let green = catalog::fingerprint(member.green())?;
    let blue = blue_fingerprint(member)?;
    let (green_before, blue_before) = match member.green_side() {
        Side::Origin => (&member.fingerprint_origin, &member.fingerprint_shadow),
        Side::Shadow => (&member.fingerprint_shadow, &member.fingerprint_origin),
    };
    let ours = |of: &serde_json::Value| without_ours(member, of.clone());
    let (live, offline) = (member.source.plain(), member.blue_name().plain());
    intrusion::require_capture(&live, &green, true)?;
    intrusion::require_capture(&offline, &blue, false)?;
    intrusion::require_meant(&live, &ours(green_before), &ours(&green), step)?;
    intrusion::require_meant(&offline, &ours(blue_before), &blue, step)?;
    match member.green_side() {
        Side::Origin => (member.fingerprint_origin, member.fingerprint_shadow) = (green, blue),
        Side::Shadow => (member.fingerprint_shadow, member.fingerprint_origin) = (green, blue),
    }
    store::save_fingerprints(member)
}

/// Takes `green` as the live table's fingerprint, as it was when what we made of it was begun: whatever
/// somebody has added since is found by the next step. Takes blue's again.
pub(crate) fn take_seen(
    member: &mut LockedMember,
    green: serde_json::Value,
    step: &Step<'_>,
) -> Result<()> {
    match member.green_side() {
        Side::Origin => member.fingerprint_origin = green,
        Side::Shadow => member.fingerprint_shadow = green,
    }
    take_blue_fingerprint(member, step)
}

/// Takes blue's fingerprint again, after a change of our own, which must have done no more to it than it was
/// meant to.
pub(crate) fn take_blue_fingerprint(member: &mut LockedMember, step: &Step<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    let blue = blue_fingerprint(member)?;
    let before = match member.green_side() {
        Side::Origin => &member.fingerprint_shadow,
        Side::Shadow => &member.fingerprint_origin,
    };
    let before = without_ours(member, before.clone());
    intrusion::require_meant(&member.blue_name().plain(), &before, &blue, step)?;
    match member.green_side() {
        Side::Origin => member.fingerprint_shadow = blue,
        Side::Shadow => member.fingerprint_origin = blue,
    }
    store::save_fingerprints(member)
}
