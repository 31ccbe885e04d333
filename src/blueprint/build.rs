//! The new table with everything decided, made in the blue schema; needs no lock on the live table
//! beyond ACCESS SHARE.

use std::collections::BTreeMap;

use pgrx::PgSqlErrorCode;

use crate::blueprint::elsewhere;
use crate::blueprint::preflight::collisions;
use crate::blueprint::target::take_target;
use crate::capture;
use crate::catalog::{self, Table};
use crate::ddl::{self, rights};
use crate::dependent;
use crate::error::{Error, Result};
use crate::guard::intrusion;
use crate::guard::lock as guard_lock;
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::changes::Change;
use crate::model::deployment::{Arguments, Deployment, Plan, Progress};
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::security::{self, Identity};
use crate::pg::spi;
use crate::pg::{acl, xact};
use crate::plan::difference;
use crate::plan::intrusion::Step;
use crate::shadow::mapped::Sides;
use crate::shadow::{create, mapping, remove, schema, sequences};
use crate::state::store;

/// A call of bg_prepare or bg_check.
pub(crate) struct Request {
    /// OID of the table.
    pub source: u32,
    /// OID of a hand-made target.
    pub target: Option<u32>,
    /// The arguments as text.
    pub arguments: Arguments,
    /// Who calls.
    pub caller: u32,
    /// The caller's settings that names and expressions depend on, search_path included.
    pub session: BTreeMap<String, String>,
}

/// Makes both logs, with nothing of others on them. Runs as the extension.
pub(crate) fn make_logs(d: &Deployment, table: &Table) -> Result<()> {
    let unlogged = table.persistence == "u";
    capture::make_logs(d, unlogged, |oid, name, key| {
        intrusion::settle(oid, name, &intrusion::wanted_log(key, unlogged)?)
    })
}

pub(crate) fn definition(table: u32) -> Result<serde_json::Value> {
    let _us = Identity::extension()?;
    catalog::fingerprint(table)
}

/// What the changes have made must not depend on the row type of the table that is to be replaced.
fn refuse_own_row_type(table: &Table, before: &serde_json::Value) -> Result<()> {
    let now = definition(table.oid)?;
    let used = now.as_object().into_iter().flatten().find_map(|(part, _)| {
        part.strip_prefix(difference::ROW_TYPE).filter(|_| before.get(part).is_none())
    });
    match used {
        None => Ok(()),
        Some(what) => {
            let table = table.qualified().plain();
            let message = format!("the changes use the row type of {table} in {what}");
            Err(Error::unsupported(message).hint(
                "The new table has a row type of its own. Use a composite type made with CREATE TYPE instead.",
            ))
        }
    }
}

/// Makes the shadow in the blue schema with everything decided. Nothing of it needs a lock on green
/// beyond ACCESS SHARE, so bg_check uses it for its trial.
pub(crate) fn build(
    table: &Table,
    request: &Request,
    changes: &[Change],
    blue: &Ident,
    id: i64,
    settings: &Settings,
) -> Result<Deployment> {
    let crossing = Ident::new(format!("bluegreen_{id}"));
    let name = QualifiedName { schema: crossing.clone(), name: table.name.clone() };
    let class = guard_lock::lock_table()?;
    let of_its_type = definition(table.oid)?;
    let (shadow, given_rights, autovacuum_enabled, mut adapted, mut watch);
    {
        let _us = Identity::extension()?;
        if schema::check_blue(blue)? {
            schema::require_free(blue, &table.name, request.target)?;
        }
        let owner = &table.owner_name;
        spi::run(&ddl::schema::create(&crossing), &[])?;
        catalog::require_own_schema(&crossing)?;
        schema::revoke_all(&crossing)?;
        spi::run(&ddl::schema::grant_create(&crossing, owner), &[])?;
        (shadow, given_rights) = match request.target {
            None => (like(table, &crossing)?, Vec::new()),
            Some(target) => take_target(table, target, &crossing, settings)?,
        };
        adapted = dependent::discover(table, &crossing, changes, request.target.is_some())?;
        require_alone(&adapted, id)?;
        watch = Watch::begin(shadow, &name)?;
        adapted.mark()?;
        watch.end(&Step::Marked)?;
        if request.target.is_none() {
            create::require_same(table, shadow)?;
        }
    }
    for step in create::steps(&name, changes, adapted.skipped()) {
        let apply = || create::apply(&step, table.owner, &request.session);
        if step.renames {
            let _us = Identity::extension()?;
            schema::require_own(&crossing, shadow)?;
            adapted.through(shadow, apply)?;
        } else {
            apply()?;
        }
        let _us = Identity::extension()?;
        watch.end(&Step::Changed(changes))?;
    }
    refuse_own_row_type(table, &of_its_type)?;
    let mappings = {
        let _owner = Identity::table_owner(table.owner, &request.session)?;
        mapping::decide(&Sides {
            name: &table.qualified().plain(),
            origin: table.oid,
            shadow,
            changes,
            by_hand: request.target.is_some(),
            forward: &request.arguments.forward,
            reverse: &request.arguments.reverse,
            key: request.arguments.key.as_deref(),
        })?
    };
    let _us = Identity::extension()?;
    let pairs = mappings.pairs;
    let sequences = sequences::decide(table.oid, shadow, &name, &pairs)?;
    let taken = collisions(shadow, table.oid, table.schema_oid, &sequences)?;
    if let Some(first) = taken.first() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
            format!(
                "the new table has an index or sequence {} and schema {} has a relation of that name already",
                plain(first.as_str()),
                plain(table.schema.as_str())
            ),
        )
        .hint("Give the new index, constraint or sequence another name."));
    }
    schema::require_own(&crossing, shadow)?;
    adapted.require_columns(&pairs)?;
    adapted.try_out(shadow)?;
    adapted.require_identity(shadow, &pairs, settings.lock_timeout)?;
    let dependents = adapted.record(
        &name,
        &pairs,
        |live| {
            let blue = schema::blue_name(live, &settings.schema_suffix)?;
            schema::check_blue(&blue)?;
            Ok(blue)
        },
        shadow,
        &request.session,
    )?;
    // Foreign keys that the changes add; those that were there before are their owners' business.
    for moved in dependents.moves.iter().filter(|m| m.validate.is_some() && m.origin.on.is_empty())
    {
        let Some(oid) = moved.table.as_ref().map(catalog::relation_oid).transpose()?.flatten()
        else {
            continue;
        };
        elsewhere::require_here(&catalog::existing_table(oid)?)?;
    }
    let meant = create::properties_of(shadow)?;
    let not_valid = create::take_off_not_valid(shadow, &name)?;
    autovacuum_enabled = create::switch_autovacuum_off(&catalog::existing_table(shadow)?, &name)?;
    schema::ensure_blue(blue, &table.schema, class, settings.retry_for)?;
    remove::move_to(shadow, blue)?;
    for statistics in catalog::statistics(shadow)? {
        spi::run(&ddl::statistics::set_schema(&statistics.qualified(), blue), &[])?;
    }
    let owner = &table.owner_name;
    spi::run(&ddl::schema::revoke(&crossing, owner), &[])?;
    let name = QualifiedName { schema: blue.clone(), name: table.name.clone() };
    let indexes = create::take_off_indexes(shadow, &name)?;
    let like_green = rights::arguments(table.oid, &pairs);
    acl::replace(shadow, table.owner, rights::READ_ONLY, &like_green)?;
    watch.name = name;
    watch.end(&Step::Laid)?;
    let mut session = request.session.clone();
    session.remove("search_path");
    if !mappings.path.is_empty() {
        session.insert("search_path".to_owned(), security::search_path(&mappings.path));
    }
    Ok(Deployment {
        id,
        source: table.qualified(),
        blue_schema: blue.clone(),
        origin: table.oid,
        shadow,
        owner: table.owner,
        phase: Phase::Prepared,
        paused: false,
        arguments: request.arguments.clone(),
        plan: Plan {
            forward: mappings.forward,
            reverse: mappings.reverse,
            indexes,
            not_valid,
            pairs,
            target: request.arguments.target.clone(),
            given_rights,
            sequences,
            autovacuum_enabled,
            session,
            dependents,
            meant,
        },
        progress: Progress { prepared_xid: xact::current_xid(), ..Progress::default() },
        fingerprint_origin: serde_json::Value::Null,
        fingerprint_shadow: watch.seen,
        last_error: None,
        restored: false,
    })
}

/// The empty copy, with nothing of others on it.
fn like(table: &Table, crossing: &Ident) -> Result<u32> {
    let wanted = intrusion::wanted_copy(table)?;
    create::like(table, crossing, |oid, name| intrusion::settle(oid, name, &wanted))
}

/// The new table from step to step: each does to it what it is meant to, and nothing else happens to it.
struct Watch {
    shadow: u32,
    name: QualifiedName,
    seen: serde_json::Value,
}

impl Watch {
    fn begin(shadow: u32, name: &QualifiedName) -> Result<Self> {
        Ok(Self { shadow, name: name.clone(), seen: catalog::fingerprint(shadow)? })
    }

    fn end(&mut self, step: &Step<'_>) -> Result<()> {
        let now = catalog::fingerprint(self.shadow)?;
        intrusion::require_meant(&self.name.plain(), &self.seen, &now, step)?;
        self.seen = now;
        Ok(())
    }
}

/// Refuses what two deployments would both carry, or what one would carry while the other exchanges the
/// table under it. Foreign keys between them are no hindrance.
fn require_alone(adapted: &dependent::Adapted, id: i64) -> Result<()> {
    let touches = adapted.touches()?;
    if touches.is_empty() {
        return Ok(());
    }
    for other in store::open()?.iter().filter(|d| d.id != id) {
        let copies = other.plan.dependents.copies.iter().map(|c| c.origin);
        let twins = other.progress.twins.iter().flat_map(|t| [Some(t.origin), t.shadow]);
        let theirs: Vec<u32> =
            copies.chain(twins.flatten()).chain([other.origin, other.shadow]).collect();
        if let Some((title, _)) = touches.iter().find(|(_, oid)| theirs.contains(oid)) {
            return Err(Error::state(format!(
                "{title} also belongs to {}, which has an open deployment",
                other.source.plain()
            ))
            .hint("Finish or abort that deployment first; see bg_status()."));
        }
    }
    Ok(())
}
