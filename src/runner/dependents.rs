//! What hangs on the table, in the steps of a deployment.

use std::time::Instant;

use crate::dependent;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::ident::{Ident, QualifiedName};
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::intrusion::Step;
use crate::plan::properties;
use crate::shadow::{create, schema};
use crate::state::store::{self, LockedDeployment, LockedMember};

/// Makes the copies over the filled blue table. Locks: ACCESS EXCLUSIVE on blue, in short tries.
pub(crate) fn take_along(member: &mut LockedMember, settings: &Settings) -> Result<()> {
    let class = guard_lock::lock_table()?;
    let until = Instant::now() + settings.retry_for;
    let blue_of = |live: &Ident| -> Result<Ident> {
        let blue = schema::blue_name(live, &settings.schema_suffix)?;
        schema::ensure_blue(&blue, live, class, settings.retry_for)?;
        Ok(blue)
    };
    let made = lock::retry(settings.lock_timeout, until, |limit| {
        let _us = Identity::extension()?;
        lock::all_within(&[(member.blue(), Mode::AccessExclusive)], limit)?;
        failpoint::reach("dependents_locked");
        let twins = dependent::take_along(member, blue_of)?;
        require_as_meant(member)?;
        Ok(twins)
    });
    member.progress.twins = match made {
        Ok(twins) => twins,
        Err(caught) => return caught.raise(),
    };
    member.progress.dependents_made = true;
    member.progress.drain_xid = xact::current_xid();
    let plan = member.plan.dependents.clone();
    let own =
        plan.copies.iter().filter(|c| !c.kind.lives_in_schema() && c.parent == member.origin.root);
    let names: Vec<_> = own.map(|c| c.name.as_str()).collect();
    let replica_identity = plan.marks.iter().any(|mark| mark.contains(" REPLICA IDENTITY "));
    fingerprint::take_blue_fingerprint(
        member,
        &Step::TakenAlong { names: &names, replica_identity },
    )
}

/// The new table is finished: whatever its catalog rows have is what was meant.
fn require_as_meant(member: &Member) -> Result<()> {
    if member.plan.meant.is_null() {
        return Ok(());
    }
    let found = create::properties_of(member.shadow.root)?;
    let lost = properties::lost(&member.plan.meant, &found);
    let Some((first, others)) = lost.split_first() else { return Ok(()) };
    let name = member.blue_name().plain();
    let error = Error::state(format!("{name} has not become what it was meant to be: {first}"))
        .hint("Something has changed it meanwhile. Undo that and call again, or run SELECT bg_abort(table) and begin again.");
    let others: Vec<_> = others.iter().map(ToString::to_string).collect();
    Err(if others.is_empty() { error } else { error.detail(others.join("\n")) })
}
/// A step that changes no table.
const NOTHING: Step<'_> = Step::TakenAlong { names: &[], replica_identity: false };

/// Fills the next materialized view over blue; its name.
pub(crate) fn refresh(member: &mut LockedMember) -> Result<Option<String>> {
    let filled = {
        let _us = Identity::extension()?;
        dependent::refresh(member)?
    };
    if filled.is_some() {
        member.progress.drain_xid = xact::current_xid();
        fingerprint::take_blue_fingerprint(member, &NOTHING)?;
    }
    Ok(filled)
}

/// Fills the next materialized view again whose live one has changed since, in any member; its name. Before a
/// swap, which would otherwise show older contents. Not one that is among those `filled`.
pub(crate) fn refresh_next_outdated_of(
    d: &mut LockedDeployment,
    filled: &[String],
) -> Result<Option<String>> {
    for member in d.members_mut() {
        let outdated = {
            let _us = Identity::extension()?;
            dependent::outdated(member)?
        };
        let again = |place: &usize| {
            let twin = &member.progress.twins[*place];
            let name = QualifiedName { schema: twin.blue_schema.clone(), name: twin.name.clone() };
            !filled.contains(&name.plain())
        };
        let Some(place) = outdated.into_iter().find(again) else { continue };
        member.progress.twins[place].to_fill = true;
        let filled = refresh(member)?;
        store::save(member)?;
        return Ok(filled);
    }
    Ok(None)
}

/// Constraints that the last swap left NOT VALID.
pub(crate) fn not_valid(member: &Member) -> Result<Vec<(QualifiedName, Ident)>> {
    let _us = Identity::extension()?;
    dependent::not_valid(member)
}

/// Validates one of them in any member; its name.
pub(crate) fn validate_next_of(d: &LockedDeployment) -> Result<Option<String>> {
    for member in d.members() {
        if let Some(name) = validate_next(member)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Validates one of them; its name. None when nothing is left to validate.
pub(crate) fn validate_next(member: &Member) -> Result<Option<String>> {
    let Some((table, name)) = not_valid(member)?.into_iter().next() else { return Ok(None) };
    let began = Instant::now();
    dependent::validate(member, &table, &name)?;
    failpoint::reach("validate_done");
    let title = format!("{} of {}", crate::ident::plain(name.as_str()), table.plain());
    store::record(
        member,
        &store::Step {
            name: "validate",
            seconds: began.elapsed().as_secs_f64(),
            count: None,
            detail: Some(title.clone()),
            error: None,
        },
    )?;
    Ok(Some(title))
}
