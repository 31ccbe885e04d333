//! Code of others that runs in our commands: event triggers. What they put on what we have just made is
//! taken off where that can be done, else the step is refused and names them; so is a step in which one of
//! them raised an error.

use serde_json::Value;

use crate::capture::{self, Form};
use crate::catalog::event_trigger::{self, EventTrigger};
use crate::catalog::{self, Table};
use crate::ddl::{self, take_off};
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::key::Key;
use crate::model::member::{Member, Side};
use crate::oid::RelationId;
use crate::pg::security::Identity;
use crate::pg::spi;
use crate::pg::witness::{Seen, Witness};
use crate::pg::xact;
use crate::plan::difference::Difference;
use crate::plan::intrusion::{self, Step};
use crate::plan::wanted::{self, Extra, Wanted};

const HINT: &str = "Let those event triggers pass over the schemas bluegreen, bluegreen_* and *_blue, or ALTER EVENT TRIGGER … DISABLE for the deployment, then call again.";

/// The copy of `green`, just made by LIKE.
pub(crate) fn wanted_copy(green: &Table) -> Result<Wanted> {
    let definition = catalog::fingerprint(green.oid)?;
    let parts = || definition.as_object().into_iter().flatten();
    let made = catalog::parts_made(green.oid)?;
    let behind_number = |value: &Value| {
        value.as_str().and_then(|v| v.split_once(' ')).map(|(_, rest)| rest.to_owned())
    };
    Ok(Wanted {
        owner: green.owner_name.clone(),
        persistence: green.persistence.clone(),
        columns: parts()
            .filter_map(|(part, v)| {
                Some((Ident::new(part.strip_prefix("column ")?), behind_number(v)))
            })
            .collect(),
        constraints: parts()
            .filter_map(|(part, _)| Some(part.strip_prefix("constraint ")?.to_owned()))
            .collect(),
        indexes: made.indexes.len(),
        statistics: made.statistics.len(),
    })
}

/// A change log. Runs as its owner.
pub(crate) fn wanted_log(key: &Key, unlogged: bool) -> Result<Wanted> {
    let columns = ddl::log::columns(key);
    let owner: Option<String> = spi::one_kept("SELECT current_user::text", &[])?;
    Ok(Wanted {
        owner: Ident::new(owner.unwrap_or_default()),
        persistence: if unlogged { "u" } else { "p" }.to_owned(),
        columns: columns.into_iter().map(|name| (Ident::new(name), None)).collect(),
        constraints: Vec::new(),
        indexes: 0,
        statistics: 0,
    })
}

/// Takes off a table that was just made what nobody wanted on it, or refuses. Runs as the extension.
pub(crate) fn settle(table: RelationId, name: &QualifiedName, wanted: &Wanted) -> Result<()> {
    for again in [true, false] {
        let found = extra(table, wanted)?;
        if found.is_empty() {
            return Ok(());
        }
        let taken = again && found.iter().all(|extra| take(name, extra, wanted));
        if !taken {
            let parts: Vec<_> = extra(table, wanted)?.into_iter().map(Extra::into_words).collect();
            return Err(refusal(&name.plain(), &parts, Some("CREATE TABLE"))?);
        }
    }
    Ok(())
}

/// What a table has that nobody wanted on it.
pub(crate) fn extra(table: RelationId, wanted: &Wanted) -> Result<Vec<Extra>> {
    Ok(wanted::extra(&catalog::fingerprint(table)?, &catalog::parts_made(table)?, wanted))
}

/// Refuses to go on where the log of a side, which is written now, has not the form any more in which it was
/// made. A writer writes it all the same, as long as its columns are there.
pub(crate) fn check_log(member: &Member, side: Side) -> Result<()> {
    let form = capture::form(member, side)?;
    let log = member.log_of(side);
    let Some(oid) = catalog::relation_oid(&log)?.filter(|_| form != Form::Intact) else {
        return Ok(());
    };
    let mapping = if side == Side::Origin { &member.plan.forward } else { &member.plan.reverse };
    // Whether it is unlogged makes no difference here.
    let persistence = catalog::existing_table(oid)?.persistence;
    let wanted = wanted_log(&mapping.from_key, persistence == "u")?;
    let mut found: Vec<_> = extra(oid, &wanted)?.into_iter().map(Extra::into_words).collect();
    found.retain(|part| !part.starts_with("comment "));
    if found.is_empty() && form == Form::Columns {
        found.push("its columns are others".to_owned());
    }
    if found.is_empty() {
        return Ok(());
    }
    let what = found.join("; ");
    let error = Error::state(format!(
        "the change log {} of {} is not as it was made: {what}",
        log.plain(),
        member.source.plain()
    ))
    .hint("Take that off again; where columns are gone or others, changes may be missing: run SELECT bg_abort(table), after a swap bg_finish, and begin again.");
    Err(match event_trigger::suspects(None)? {
        Some(who) => {
            error.detail(format!("Commands of the deployment fire {who}, which may have done it."))
        }
        None => error,
    })
}

/// Whether it could be taken off.
fn take(name: &QualifiedName, extra: &Extra, wanted: &Wanted) -> bool {
    take_off::part(name, &extra.part, &extra.value, &wanted.owner)
        .is_some_and(|sql| xact::subtransaction(|| spi::run(&sql, &[])).is_ok())
}

/// Refuses where a step has done more to a table than was meant. Runs as the extension.
pub(crate) fn require_meant(
    name: &str,
    before: &Value,
    now: &Value,
    step: &Step<'_>,
) -> Result<()> {
    let found = intrusion::unmeant(before, now, step);
    if found.is_empty() {
        return Ok(());
    }
    let found: Vec<_> = found.iter().map(Difference::to_string).collect();
    Err(refusal(name, &found, None)?)
}

/// Refuses where the triggers of capture that we have just made or switched are not as they were made.
pub(crate) fn require_capture(name: &str, definition: &Value, live: bool) -> Result<()> {
    if intrusion::captures(definition, live) {
        return Ok(());
    }
    let fact = format!("the triggers of capture on {name} were dropped or switched");
    Err(event_trigger::changed(fact, "ALTER TABLE"))
}

fn refusal(name: &str, parts: &[String], tag: Option<&str>) -> Result<Error> {
    let what = parts.join("; ");
    let by = match event_trigger::suspects(tag)? {
        Some(who) => format!("by {who}"),
        None => "and no event trigger is enabled".to_owned(),
    };
    Ok(Error::state(format!("{name} has what the deployment did not make: {what}, {by}"))
        .detail("An event trigger runs in the commands of a deployment, and what it does to new tables would go live with them.")
        .hint(HINT))
}

/// Runs a verb; an error that an event trigger raises in it says so.
pub(crate) fn blamed<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let known = {
        let _us = Identity::extension()?;
        event_trigger::event_triggers()?
    };
    if known.is_empty() {
        return work();
    }
    let witness = Witness::stand();
    xact::amending(work, |error| blame(error, &known, witness.seen()))
}

/// The same for what is run in a subtransaction, which gives its error to `witness`.
pub(crate) fn blame_caught(error: Error, witness: &Witness) -> Error {
    let Some(seen) = witness.seen() else { return error };
    let known = Identity::extension().and_then(|_us| event_trigger::event_triggers());
    let known = known.unwrap_or_default();
    blame(error.clone(), &known, Some(seen)).unwrap_or(error)
}

/// The error with what was seen of its origin; None where no event trigger raised it.
fn blame(error: Error, known: &[EventTrigger], seen: Option<Seen>) -> Option<Error> {
    let seen = seen?;
    let of_it = error.message.contains(&seen.message)
        || error.detail.as_ref().is_some_and(|detail| detail.contains(&seen.message));
    let trigger = known.iter().find(|trigger| of_it && trigger.is_in(&seen.context))?;
    let by = format!(
        "Event trigger {} raised it: it runs in the commands of a deployment.",
        plain(trigger.name.as_str())
    );
    let hint = error.hint.clone().unwrap_or_else(|| HINT.to_owned());
    let detail = match &error.detail {
        Some(detail) => format!("{detail}\n{by}"),
        None => by,
    };
    Some(error.detail(detail).hint(hint))
}
