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
use crate::blueprint::build::{self, Request};
use crate::catalog::{self, Table};
use crate::ddl::{self, rights};
use crate::dependent;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::guard::fingerprint;
use crate::ident::{Ident, QualifiedName};
use crate::model::changes::Change;
use crate::model::deployment::{Deployment, Plan, RecordedIndex};
use crate::model::phase::{self, Event, Phase};
use crate::model::settings::Settings;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::{acl, relation, spi, xact};
use crate::plan::difference;
use crate::plan::intrusion::Step;
use crate::shadow::remove;
use crate::state::store;

/// Parts of a definition that blue can follow without a new copy.
const FOLLOWED: &[&str] = &[
    "view ",
    "materialized view ",
    "function ",
    "policy ",
    "rule ",
    "trigger ",
    "publication ",
    "foreign key ",
    "row level security",
    "replica identity",
    "grants",
    "comment ",
    "index ",
    "constraint ",
];

/// Parts that the old table can follow after the swap.
const FOLLOWED_BACK: &[&str] = &["grants", "comment ", "index "];

/// Brings blue up to date with green's definition; what was different, or None.
pub(crate) fn update(
    d: &mut Deployment,
    table: &Table,
    request: &Request,
    changes: &[Change],
    settings: &Settings,
) -> Result<Option<String>> {
    // Seen before anything is made: what comes later is for the next call.
    let seen = {
        let _us = Identity::extension()?;
        catalog::fingerprint(d.green())?
    };
    let found = fingerprint::differences(d, d.green_side())?;
    if found.is_empty() {
        return Ok(None);
    }
    fingerprint::check_definition(d, d.blue_side())?;
    let began = Instant::now();
    let what = found.join("; ");
    let followed = |part: &String| FOLLOWED.iter().any(|known| part.starts_with(known));
    if difference::capture_is_broken(&found) || !found.iter().all(followed) {
        fingerprint::check_definitions(d)?;
    }
    if d.phase == Phase::Swapped {
        if found.iter().all(|part| FOLLOWED_BACK.iter().any(|known| part.starts_with(known)))
            && follow_back(d, table, &found, settings)?
        {
            failpoint::reach("update_followed_back");
            fingerprint::take_seen(d, seen, &Step::Followed)?;
            record(d, began, &what)?;
            return Ok(Some(what));
        }
        return Err(Error::state(format!(
            "the definition of {} changed since the swap: {what}",
            d.source.plain()
        ))
        .hint("Undo that change to be able to revert, or keep the new table with SELECT bg_finish(table)."));
    }
    let (fresh, definition) = made_now(d, table, request, changes, settings)?;
    failpoint::reach("update_compared");
    require_same_rows(d, &fresh, &definition)?;
    {
        let _us = Identity::extension()?;
        follow(d, fresh, table, settings)?;
    }
    failpoint::reach("update_followed");
    if d.phase == Phase::Ready {
        d.phase = phase::next(d.phase, Event::Updated)?;
    }
    store::save_plan(d)?;
    store::save(d)?;
    fingerprint::take_seen(d, seen, &Step::Followed)?;
    record(d, began, &what)?;
    failpoint::reach("update_recorded");
    Ok(Some(what))
}

/// Brings the old table up to date with grants, comments and indexes that the live one got since the
/// swap. False where an index cannot be made on it as it is written, or was dropped or changed.
///
/// Locks: ACCESS EXCLUSIVE on blue, which nobody but its readers minds, for as long as an index takes.
fn follow_back(
    d: &mut Deployment,
    table: &Table,
    found: &[String],
    settings: &Settings,
) -> Result<bool> {
    let back: Vec<_> = d.plan.pairs.iter().map(|(o, s)| (s.clone(), o.clone())).collect();
    let blue = d.blue_name();
    let until = Instant::now() + settings.retry_for;
    let done = lock::retry(settings.lock_timeout, until, |limit| {
        let _us = Identity::extension()?;
        lock::all_within(&[(d.blue(), Mode::AccessExclusive)], limit)?;
        for part in found.iter().filter_map(|part| part.strip_prefix("index ")) {
            let Some(name) = part.strip_suffix(" was added") else { return Ok(false) };
            let index =
                catalog::indexes(table.oid)?.into_iter().find(|i| i.recorded.name.0 == name);
            if index.is_none_or(|i| i.recorded.constraint.is_some()) {
                return Ok(false);
            }
            if !dependent::copy_index(d, &Ident::new(name))? {
                return Ok(false);
            }
        }
        let like_green = rights::arguments(table.oid, &back);
        acl::replace(d.blue(), table.owner, rights::READ_ONLY, &like_green)?;
        comments(table, &back, &blue)?;
        Ok(true)
    });
    if !done.or_else(xact::Caught::raise)? {
        return Ok(false);
    }
    Ok(true)
}

fn record(d: &Deployment, began: Instant, what: &str) -> Result<()> {
    let seconds = began.elapsed().as_secs_f64();
    let detail = Some(what.to_owned());
    store::record(d, &store::Step { name: "update", seconds, count: None, detail, error: None })
}

/// What prepare would record now. Everything that it makes is rolled back.
fn made_now(
    d: &Deployment,
    table: &Table,
    request: &Request,
    changes: &[Change],
    settings: &Settings,
) -> Result<(Plan, Value)> {
    if request.target.is_some() {
        return Err(Error::unsupported(format!(
            "the definition of {} changed, and a table made by hand is not brought up to date",
            d.source.plain()
        ))
        .hint(
            "Undo that change, or run SELECT bg_abort(table), change the target and begin again.",
        ));
    }
    let mut made = None;
    let until = Instant::now() + settings.retry_for;
    let tried: std::result::Result<(), _> = lock::retry(settings.lock_timeout, until, |limit| {
        let aside = Ident::new(format!("{}_aside", d.crossing_schema().as_str()));
        {
            let _us = Identity::extension()?;
            lock::all_within(&[(d.blue(), Mode::AccessExclusive)], limit)?;
            dependent::strip(d)?;
            dependent::drop_offline(d)?;
            spi::run(&ddl::schema::create(&aside), &[])?;
            spi::run(&ddl::schema::drop(&d.crossing_schema()), &[])?;
            let schema = |name: &Ident| {
                catalog::schema_oid(name)?
                    .ok_or_else(|| Error::state(format!("schema {name} is missing")))
            };
            for statistics in catalog::statistics(d.blue())? {
                let name = statistics.qualified();
                spi::run(&ddl::statistics::set_schema(&name, &aside), &[])?;
            }
            relation::set_schema(d.blue(), schema(&d.blue_schema)?, schema(&aside)?);
        }
        let fresh = build::build(table, request, changes, &d.blue_schema, d.id, settings)?;
        let _us = Identity::extension()?;
        if d.progress.autovacuum_restored {
            // Blue has been live, and has its own again; that of a new one is off.
            remove::restore_autovacuum(
                &fresh,
                &catalog::existing_table(fresh.shadow)?.qualified(),
            )?;
        }
        made = Some((fresh.plan, catalog::fingerprint(fresh.shadow)?));
        Err(Error::internal(ROLLED_BACK))
    });
    match (tried, made) {
        (Err(caught), Some(plan)) if caught.error.message == ROLLED_BACK => Ok(plan),
        (Err(caught), _) => caught.raise(),
        (Ok(()), _) => Err(Error::internal("a trial of prepare was not rolled back")),
    }
}

const ROLLED_BACK: &str = "the trial of prepare was rolled back";

/// Parts of the fingerprint that cannot be refreshed without copying the table again.
const FIXED: &[&str] = &[
    "table",
    "column ",
    "settings of column ",
    "constraint ",
    "storage parameters",
    "statistics ",
];

/// Refuses what would need a new copy. `definition` is that of the table that prepare would make now.
fn require_same_rows(d: &Deployment, fresh: &Plan, definition: &Value) -> Result<()> {
    let before = &d.plan;
    let apart = {
        let _us = Identity::extension()?;
        difference::differences(&fingerprint::blue_fingerprint(d)?, definition)
    };
    let fixed = |part: &&String| FIXED.iter().any(|fixed| part.starts_with(fixed));
    let apart: Vec<_> = apart.iter().filter(fixed).cloned().collect();
    let same = before.forward == fresh.forward
        && before.reverse == fresh.reverse
        && before.pairs == fresh.pairs
        && before.session.get("search_path") == fresh.session.get("search_path")
        && before.not_valid == fresh.not_valid
        && apart.is_empty();
    if same {
        return Ok(());
    }
    Err(Error::state(format!(
        "the columns, keys or constraints of {} changed during the deployment, which needs a new copy",
        d.source.plain()
    ))
    .detail(apart.join("; "))
    .hint("Undo that change, or run SELECT bg_abort(table) and begin again."))
}

fn follow(d: &mut Deployment, fresh: Plan, table: &Table, settings: &Settings) -> Result<()> {
    let until = Instant::now() + settings.retry_for;
    let blue = d.blue_name();
    let mut gone = Vec::new();
    for (number, index) in d.plan.indexes.iter().enumerate() {
        if fresh.indexes.contains(index) {
            continue;
        }
        if number < d.progress.indexes_built {
            gone.push(ddl::shadow::drop_index(&blue, index));
        } else if index::is_there(d, index)? {
            // Built, and without its constraint yet.
            gone.push(ddl::shadow::drop_index(
                &blue,
                &RecordedIndex { constraint: None, ..index.clone() },
            ));
        }
    }
    let done = lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(d.blue(), Mode::AccessExclusive)], limit)?;
        dependent::strip(d)?;
        dependent::drop_offline(d)?;
        for statement in ddl::shadow::unmark(&blue) {
            spi::run(&statement, &[])?;
        }
        dependent::mark_early(d)?;
        for statement in &gone {
            spi::run(statement, &[])?;
        }
        let like_green = rights::arguments(table.oid, &fresh.pairs);
        acl::replace(d.blue(), table.owner, rights::READ_ONLY, &like_green)?;
        comments(table, &fresh.pairs, &blue)
    });
    if let Err(caught) = done {
        return caught.raise();
    }
    let built = d.progress.indexes_built;
    let kept = |i: &&RecordedIndex| fresh.indexes.contains(i);
    let before = &d.plan.indexes;
    d.progress.indexes_built = before.iter().take(built).filter(kept).count();
    let added = fresh.indexes.iter().filter(|i| !before.contains(i));
    let indexes: Vec<_> = before.iter().filter(kept).chain(added).cloned().collect();
    d.plan.indexes = indexes;
    d.progress.indexes_laid_out = false;
    d.progress.indexes_made = 0;
    d.plan.dependents = fresh.dependents;
    d.plan.meant = fresh.meant;
    d.progress.dependents_made = false;
    d.progress.twins.clear();
    d.progress.analyzed = false;
    d.progress.drain_xid = xact::current_xid();
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
