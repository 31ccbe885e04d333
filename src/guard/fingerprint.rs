//! The recorded definitions of both tables: compared before each step, taken again after our own changes.

use crate::catalog::{self, event_trigger};
use crate::error::{Error, Result};
use crate::guard::gone;
use crate::guard::intrusion;
use crate::model::member::{Member, Side};
use crate::model::phase::Phase;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::difference::{self, Difference, IDENTITIES, KEPT_IDENTITIES};
use crate::plan::intrusion::Step;
use crate::shadow::meaning;
use crate::state::restored;
use crate::state::store::{self, LockedMember};

/// A fingerprint that prints otherwise than the recorded one, because of the names of other objects alone; None
/// where it prints the same.
pub(crate) type Reprinted = Option<serde_json::Value>;

const SIDES: [Side; 2] = [Side::Origin, Side::Shadow];

/// Refuses to go on when either table is not as we left it, naming what changed.
pub(crate) fn check_definitions(member: &Member) -> Result<[Reprinted; 2]> {
    let [origin, shadow] = SIDES.map(|side| check_definition(member, side));
    let reprinted = [origin?, shadow?];
    if !member.plan.session.contains_key("search_path") {
        return Ok(reprinted);
    }
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    meaning::require_mapping(&member.plan.forward, member.origin.root)?;
    meaning::require_mapping(&member.plan.reverse, member.shadow.root)?;
    Ok(reprinted)
}

/// The same, and records the names that the definitions print now.
pub(crate) fn check_and_record_names(member: &mut LockedMember) -> Result<()> {
    // Before the check: what comes in between makes it fail.
    let mut identities = [None, None];
    if keeps_names(member) {
        let _us = Identity::extension()?;
        for (side, identities) in SIDES.into_iter().zip(&mut identities) {
            if recorded(member, side).get(IDENTITIES).is_none() {
                *identities = Some(catalog::identities(member.oid(side))?);
            }
        }
    }
    let reprinted = xact::rolled_back(|| check_definitions(member))?;
    let mut changed = false;
    for ((side, identities), reprinted) in SIDES.into_iter().zip(identities).zip(reprinted) {
        let known = match side {
            Side::Origin => &mut member.fingerprint_origin,
            Side::Shadow => &mut member.fingerprint_shadow,
        };
        changed |= identities.is_some() || reprinted.is_some();
        if let Some(mut now) = reprinted {
            // They are the same, or it would have been refused.
            for key in [IDENTITIES, KEPT_IDENTITIES] {
                if let Some(identities) = known.get_mut(key) {
                    now[key] = identities.take();
                }
            }
            *known = now;
        }
        if let Some(identities) = identities {
            known[IDENTITIES] = identities;
        }
    }
    if changed { store::save_fingerprints(member) } else { Ok(()) }
}

/// The same for one of them.
pub(crate) fn check_definition(member: &Member, side: Side) -> Result<Reprinted> {
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
    let (found, reprinted) = compare(member, side)?;
    if found.is_empty() {
        return Ok(reprinted);
    }
    let what = difference::in_words(&found);
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
                    difference::way_out(&found, is_green)
                })
    };
    let suspects = event_trigger::suspects(None)?
        .map(|who| format!("Commands of the deployment fire {who}, which may have done it."));
    let detail: Vec<String> = difference::values(&found).into_iter().chain(suspects).collect();
    Err(if detail.is_empty() { error } else { error.detail(detail.join(" ")) })
}

/// What is different from what was recorded of a table.
pub(crate) fn differences(member: &Member, side: Side) -> Result<Vec<Difference>> {
    compare(member, side).map(|(found, _)| found)
}

fn recorded(member: &Member, side: Side) -> &serde_json::Value {
    match side {
        Side::Origin => &member.fingerprint_origin,
        Side::Shadow => &member.fingerprint_shadow,
    }
}

fn now(member: &Member, side: Side) -> Result<serde_json::Value> {
    if side == member.green_side() {
        catalog::fingerprint(member.oid(side))
    } else {
        blue_fingerprint(member)
    }
}

fn compare(member: &Member, side: Side) -> Result<(Vec<Difference>, Reprinted)> {
    let _us = Identity::extension()?;
    let recorded = recorded(member, side);
    // The server names objects as they are this moment, and finds them as the statement's snapshot has
    // them: while another swap commits, the two do not fit together. Look again.
    let mut found = Vec::new();
    for _ in 0..3 {
        let now = now(member, side)?;
        found = difference::differences(recorded, &now);
        let before = found.len();
        if before > 0 && keeps_names(member) {
            // After the definition: what comes in between is not the recorded identity.
            let identities = catalog::identities(member.oid(side))?;
            found.retain(|part| !difference::prints_otherwise(part, recorded, &identities));
        }
        if found.is_empty() {
            return Ok((Vec::new(), (before > 0).then_some(now)));
        }
    }
    Ok((found, None))
}

/// Whether nothing more is made from definitions that the plan has as text, and rows go over as they are, so that
/// it does not matter what others are called. (A value of an enum that is mapped to text has another text when it is
/// renamed.) What a swap makes again has no recorded identity.
fn keeps_names(member: &Member) -> bool {
    matches!(member.phase, Phase::Ready | Phase::Swapped)
        && member.plan.forward.has_no_names()
        && member.plan.reverse.has_no_names()
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
    let mut green = catalog::fingerprint(member.green())?;
    let mut blue = blue_fingerprint(member)?;
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
    if keeps_names(member) {
        // Under a swap's locks there is no time to look again.
        difference::keep_identities(green_before, &mut green);
        difference::keep_identities(blue_before, &mut blue);
    }
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
    mut green: serde_json::Value,
    step: &Step<'_>,
) -> Result<()> {
    if keeps_names(member) {
        difference::keep_identities(recorded(member, member.green_side()), &mut green);
    }
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
    let mut blue = blue_fingerprint(member)?;
    let before = match member.green_side() {
        Side::Origin => &member.fingerprint_shadow,
        Side::Shadow => &member.fingerprint_origin,
    };
    let kept = keeps_names(member).then(|| before.clone());
    let before = without_ours(member, before.clone());
    intrusion::require_meant(&member.blue_name().plain(), &before, &blue, step)?;
    if let Some(kept) = kept {
        difference::keep_identities(&kept, &mut blue);
    }
    match member.green_side() {
        Side::Origin => member.fingerprint_shadow = blue,
        Side::Shadow => member.fingerprint_origin = blue,
    }
    store::save_fingerprints(member)
}
