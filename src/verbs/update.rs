//! bg_prepare again after the live table's definition changed: blue is brought up to date where that
//! needs no new copy.
//!
//! What prepare would make now is made once more beside blue, and rolled back; what it recorded is
//! compared with what the deployment has. Columns, keys and constraints must be the same. Indexes
//! that were added are built, others dropped; everything else that hangs on the table is made anew by
//! the next CALL bg_run.
//!
//! Locks: ACCESS EXCLUSIVE on blue, in short tries; ACCESS SHARE on green.

use std::time::Instant;

use serde_json::Value;

use crate::backfill::index;
use crate::blueprint::build::{self, Order, Request};
use crate::catalog::{self, Table};
use crate::ddl::{self, rights};
use crate::dependent;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::guard::fingerprint;
use crate::ident::{Ident, QualifiedName};
use crate::model::changes::Change;
use crate::model::member::Member;
use crate::model::phase::{self, Event, Phase};
use crate::model::plan::{Plan, RecordedIndex};
use crate::model::settings::Settings;
use crate::pg::lock::{self, Mode};
use crate::pg::reasons::Reasons;
use crate::pg::security::Identity;
use crate::pg::xact::{self, SubtransactionError};
use crate::pg::{acl, relation, spi};
use crate::plan::difference::{self, Difference, How};
use crate::plan::intrusion::Step;
use crate::shadow::remove;
use crate::state::store::{self, LockedMember};

/// Parts that the old table can follow after the swap.
const FOLLOWED_BACK: &[&str] = &["grants", "comment ", "labels ", "index "];

/// Brings blue up to date with green's definition; what was different, or None.
pub(crate) fn update(
    member: &mut LockedMember,
    table: &Table,
    request: &Request,
    changes: &[Change],
    settings: &Settings,
) -> Result<Option<String>> {
    // Seen before anything is made: what comes later is for the next call.
    let seen = {
        let _us = Identity::extension()?;
        catalog::fingerprint(member.green())?
    };
    let found = fingerprint::differences(member, member.green_side())?;
    if found.is_empty() {
        return Ok(None);
    }
    fingerprint::check_definition(member, member.blue_side())?;
    let began = Instant::now();
    let what = difference::in_words(&found);
    if !difference::can_be_followed(&found) {
        fingerprint::check_definitions(member)?;
    }
    if member.phase == Phase::Swapped {
        if found.iter().all(|part| FOLLOWED_BACK.iter().any(|known| part.is_of(known)))
            && follow_back(member, table, &found, settings)?
        {
            failpoint::reach("update_followed_back");
            fingerprint::take_seen(member, seen, &Step::Followed)?;
            record(member, began, &what)?;
            return Ok(Some(what));
        }
        return Err(Error::state(format!(
            "the definition of {} changed since the swap: {what}",
            member.source.plain()
        ))
        .hint("Undo that change to be able to revert, or keep the new table with SELECT bg_finish(table)."));
    }
    let (fresh, definition) = made_now(member, table, request, changes, settings)?;
    failpoint::reach("update_compared");
    require_same_rows(member, &fresh, &definition)?;
    {
        let _us = Identity::extension()?;
        follow(member, fresh, table, settings)?;
    }
    failpoint::reach("update_followed");
    if member.phase == Phase::Ready {
        member.phase = phase::next(member.phase, Event::Updated)?;
    }
    store::save_plan(member)?;
    store::save(member)?;
    fingerprint::take_seen(member, seen, &Step::Followed)?;
    record(member, began, &what)?;
    failpoint::reach("update_recorded");
    Ok(Some(what))
}

/// Brings the old table up to date with grants, comments and indexes that the live one got since the
/// swap. False where an index cannot be made on it as it is written, or was dropped or changed.
///
/// Locks: ACCESS EXCLUSIVE on blue, which nobody but its readers minds, for as long as an index takes.
fn follow_back(
    member: &mut Member,
    table: &Table,
    found: &[Difference],
    settings: &Settings,
) -> Result<bool> {
    let back: Vec<_> = member.plan.pairs.iter().map(|(o, s)| (s.clone(), o.clone())).collect();
    let blue = member.blue_name();
    let until = Instant::now() + settings.retry_for;
    let done = lock::retry(settings.lock_timeout, until, |limit| {
        let _us = Identity::extension()?;
        lock::all_within(&[(member.blue(), Mode::AccessExclusive)], limit)?;
        for difference in found {
            let Some(name) = difference.part.strip_prefix("index ") else { continue };
            if difference.how != How::Added {
                return Ok(false);
            }
            let index =
                catalog::indexes(table.oid)?.into_iter().find(|i| i.recorded.name.0 == name);
            if index.is_none_or(|i| i.recorded.constraint.is_some()) {
                return Ok(false);
            }
            if !dependent::copy_index(member, &Ident::new(name))? {
                return Ok(false);
            }
        }
        let like_green = rights::arguments(table.oid, &back);
        acl::replace(member.blue(), table.owner, rights::READ_ONLY, &like_green)?;
        if found.iter().any(Difference::is_of_row_type) {
            dependent::carry_row_type(table.oid, member.blue())?;
        }
        comments(table, &back, &blue)?;
        Ok(true)
    });
    if !done.or_else(xact::SubtransactionError::raise)? {
        return Ok(false);
    }
    Ok(true)
}

fn record(member: &Member, began: Instant, what: &str) -> Result<()> {
    let seconds = began.elapsed().as_secs_f64();
    let detail = Some(what.to_owned());
    store::record(
        member,
        &store::Step { name: "update", seconds, count: None, detail, error: None },
    )
}

/// What prepare would record now. Everything that it makes is rolled back.
fn made_now(
    member: &Member,
    table: &Table,
    request: &Request,
    changes: &[Change],
    settings: &Settings,
) -> Result<(Plan, Value)> {
    if request.target.is_some() {
        return Err(Error::unsupported(format!(
            "the definition of {} changed, and a table made by hand is not brought up to date",
            member.source.plain()
        ))
        .hint(
            "Undo that change, or run SELECT bg_abort(table), change the target and begin again.",
        ));
    }
    let until = Instant::now() + settings.retry_for;
    let tried = lock::retry(settings.lock_timeout, until, |limit| {
        xact::trial(|| {
            {
                let _us = Identity::extension()?;
                lock::all_within(&[(member.blue(), Mode::AccessExclusive)], limit)?;
                set_aside(member)?;
            }
            let fresh = build::build(
                &Order {
                    table,
                    request,
                    changes,
                    blue: &member.blue_schema,
                    id: member.id,
                    reasons: &Reasons::first(),
                },
                settings,
            )?;
            let _us = Identity::extension()?;
            if member.progress.autovacuum_restored {
                // Blue has been live, and has its own again; that of a new one is off.
                remove::restore_autovacuum(
                    &fresh,
                    &catalog::existing_table(fresh.shadow.root)?.qualified(),
                )?;
            }
            Ok((fresh.plan, catalog::fingerprint(fresh.shadow.root)?))
        })
        .or_else(SubtransactionError::raise)
    });
    tried.or_else(SubtransactionError::raise)
}

/// Takes blue out of the way of another one.
fn set_aside(member: &Member) -> Result<()> {
    let aside = Ident::new(format!("{}_aside", member.staging_schema().as_str()));
    dependent::drop_attached_objects(member)?;
    dependent::drop_offline(member)?;
    spi::run(&ddl::schema::create(&aside), &[])?;
    spi::run(&ddl::schema::drop(&member.staging_schema()), &[])?;
    for statistics in catalog::statistics(member.blue())? {
        spi::run(&ddl::statistics::set_schema(&statistics.qualified(), &aside), &[])?;
    }
    let (from, to) =
        (catalog::existing_schema(&member.blue_schema)?, catalog::existing_schema(&aside)?);
    relation::set_schema(member.blue(), from, to);
    Ok(())
}

/// Parts of the fingerprint that cannot be refreshed without copying the table again.
const FIXED: &[&str] = &[
    "table",
    "column ",
    "settings of column ",
    "constraint ",
    "storage parameters",
    "statistics ",
];

/// A plan, to be compared with one that may be stored in an earlier form.
fn compared(plan: &Plan, before: &Plan) -> Plan {
    plan.clone().in_form(before.version)
}

/// Refuses what would need a new copy. `definition` is that of the table that prepare would make now.
fn require_same_rows(member: &Member, fresh: &Plan, definition: &Value) -> Result<()> {
    let before = &member.plan;
    let apart = {
        let _us = Identity::extension()?;
        difference::differences(&fingerprint::blue_fingerprint(member)?, definition)
    };
    // The trial has no triggers any more, and so none of their constraints.
    let fixed = |part: &Difference| {
        FIXED.iter().any(|fixed| part.is_of(fixed)) && !part.is_of_constraint_trigger()
    };
    let apart: Vec<_> = apart.into_iter().filter(fixed).collect();
    let (was, is) = (compared(before, before), compared(fresh, before));
    let same = was.forward == is.forward
        && was.reverse == is.reverse
        && was.pairs == is.pairs
        && was.session.get("search_path") == is.session.get("search_path")
        && was.not_valid == is.not_valid
        && apart.is_empty();
    if same {
        return Ok(());
    }
    Err(Error::state(format!(
        "the columns, keys or constraints of {} changed during the deployment, which needs a new copy",
        member.source.plain()
    ))
    .detail(difference::in_words(&apart))
    .hint("Undo that change, or run SELECT bg_abort(table) and begin again."))
}

fn follow(member: &mut Member, fresh: Plan, table: &Table, settings: &Settings) -> Result<()> {
    let until = Instant::now() + settings.retry_for;
    let blue = member.blue_name();
    let was = compared(&member.plan, &member.plan).indexes;
    let is = compared(&fresh, &member.plan).indexes;
    let kept: Vec<bool> = was.iter().map(|index| is.contains(index)).collect();
    let mut gone = Vec::new();
    for (number, index) in member.plan.indexes.iter().enumerate() {
        if kept[number] {
            continue;
        }
        if number < member.progress.indexes_built {
            gone.push(ddl::shadow::drop_index(&blue, index));
        } else if index::is_there(member, index)? {
            // Built, and without its constraint yet.
            gone.push(ddl::shadow::drop_index(
                &blue,
                &RecordedIndex { constraint: None, ..index.clone() },
            ));
        }
    }
    let done = lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(member.blue(), Mode::AccessExclusive)], limit)?;
        dependent::drop_attached_objects(member)?;
        dependent::drop_offline(member)?;
        for statement in ddl::shadow::unmark(&blue) {
            spi::run(&statement, &[])?;
        }
        dependent::mark_early(member)?;
        for statement in &gone {
            spi::run(statement, &[])?;
        }
        let like_green = rights::arguments(table.oid, &fresh.pairs);
        acl::replace(member.blue(), table.owner, rights::READ_ONLY, &like_green)?;
        dependent::carry_row_type(table.oid, member.blue())?;
        comments(table, &fresh.pairs, &blue)
    });
    if let Err(caught) = done {
        return caught.raise();
    }
    let built = member.progress.indexes_built;
    member.progress.indexes_built = kept.iter().take(built).filter(|kept| **kept).count();
    let before = member.plan.indexes.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(i, _)| i);
    let added = fresh.indexes.iter().zip(&is).filter(|(_, i)| !was.contains(i)).map(|(i, _)| i);
    member.plan.indexes = before.chain(added).cloned().collect();
    member.progress.indexes_laid_out = false;
    member.progress.indexes_made = 0;
    member.plan.dependents = fresh.dependents;
    if member.plan.version >= fresh.version {
        member.plan.meant = fresh.meant;
    }
    member.progress.dependents_made = false;
    member.progress.twins.clear();
    member.progress.analyzed = false;
    member.progress.drain_xid = xact::current_xid();
    Ok(())
}

/// Comments of the table and of its columns, as they are now.
fn comments(green: &Table, pairs: &[(Ident, Ident)], blue: &QualifiedName) -> Result<()> {
    spi::run(&ddl::object::comment("TABLE", blue, green.comment.as_deref()), &[])?;
    for column in catalog::columns(green.oid)? {
        if let Some((_, name)) = pairs.iter().find(|(from, _)| *from == column.name) {
            let comment = column.comment.as_deref();
            spi::run(&ddl::table::comment_on_column(blue, name, comment), &[])?;
        }
    }
    Ok(())
}
