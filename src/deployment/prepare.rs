//! bg_prepare: the shadow is made and capture starts, in the caller's transaction.

use std::collections::BTreeMap;
use std::time::Instant;

use pgrx::PgSqlErrorCode;

use crate::capture;
use crate::catalog::{self, Table, event_trigger};
use crate::check;
use crate::ddl::{self, rights};
use crate::dependent;
use crate::deployment::check::{collisions, facts};
use crate::deployment::{elsewhere, gone, guard, intrusion, restored, store, update};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::changes::Change;
use crate::model::deployment::{Arguments, Deployment, Plan, Progress};
use crate::model::phase::Phase;
use crate::model::settings::Settings;
use crate::pg::lock::{self, Hold, Mode};
use crate::pg::parse;
use crate::pg::security::{self, Identity};
use crate::pg::spi::{self, Arg};
use crate::pg::{acl, relation, xact};
use crate::plan::difference;
use crate::plan::intrusion::Step;
use crate::shadow::mapping::Sides;
use crate::shadow::{create, mapping, remove, schema, sequences};

/// A call of bg_prepare or bg_check.
pub struct Request {
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

/// Prepares a deployment; the second of the same call is no error.
pub fn prepare(mut request: Request, settings: &Settings) -> Result<(String, Option<String>)> {
    guard::require_read_committed("bg_prepare")?;
    let table = {
        let _us = Identity::extension()?;
        catalog::existing_table(request.source)?
    };
    guard::require_owner(request.caller, table.owner, &table.qualified().plain())?;
    let ended = end_what_is_gone(&table, request.caller, settings)?;
    name_target(&mut request)?;
    if let Some(known) = store::find(request.source)?.filter(|d| d.phase.is_open()) {
        return again(&known, &table, request, settings);
    }
    if let Some(other) = store::open_by_name(&table.qualified())? {
        return Err(same_name(&other));
    }
    if !lock::deployment(
        guard::prepare_class()?,
        request.source.into(),
        Hold::Alone,
        settings.retry_for,
    )? {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!("another transaction is preparing {}", table.qualified().plain()),
        )
        .hint("Wait until it commits, then call again."));
    }
    if let Some(known) = store::find(request.source)?.filter(|d| d.phase.is_open()) {
        return again(&known, &table, request, settings);
    }
    let changes = parse::parse_changes(&request.arguments.changes)?;
    let blue = schema::blue_name(&table.schema, &settings.schema_suffix)?;
    refuse(&table, &changes, &blue)?;
    guard::require_not_in_use(&[table.oid], "bg_prepare")?;
    let began = Instant::now();
    // Everything that can be made beside the writers comes first; then the lock, under which the
    // table has to be as it was.
    let before = definition(table.oid)?;
    let id = store::next_id()?;
    let mut deployment = build(&table, &request, &changes, &blue, id, settings)?;
    failpoint::reach("prepare_built");
    lock_green(&table, settings)?;
    relation::check_not_in_use(table.oid, "bg_prepare")?;
    require_unchanged(&table, &difference::differences(&before, &definition(table.oid)?))?;
    {
        let _us = Identity::extension()?;
        make_logs(&deployment, &table)?;
        capture::install(&deployment)?;
    }
    failpoint::reach("prepare_captured");
    store::insert(&deployment)?;
    guard::take_fingerprints(&mut deployment, &Step::Captured)?;
    // A view or a function needs no lock that ours would keep out: what came meanwhile was not carried.
    let mut changed = difference::differences(&before, &deployment.fingerprint_origin);
    changed.retain(|part| !part.starts_with("capture trigger "));
    require_unchanged(&table, &changed)?;
    store::record(
        &deployment,
        &store::Step {
            name: "prepare",
            seconds: began.elapsed().as_secs_f64(),
            count: None,
            detail: Some(deployment.arguments.changes.clone()).filter(|c| !c.is_empty()),
            error: None,
        },
    )?;
    failpoint::reach("prepare_recorded");
    Ok((deployment.phase.to_string(), ended))
}

/// Ends a deployment of the table whose offline table is gone, or one of a dropped table of its name. What
/// came of it, where there was one.
fn end_what_is_gone(table: &Table, caller: u32, settings: &Settings) -> Result<Option<String>> {
    let known = match store::find(table.oid)?.filter(|d| d.phase.is_open()) {
        Some(known) => Some(known).filter(|d| d.green() == table.oid),
        None => store::open_by_name(&table.qualified())?,
    };
    known.map_or(Ok(None), |known| gone::make_way(&known, caller, settings))
}

/// Another table has this one's name in a deployment that is open: it came with a dump, or was renamed.
fn same_name(other: &Deployment) -> Error {
    if other.restored {
        return restored::refusal(other);
    }
    Error::state(format!(
        "deployment {} of another table that was named {} is still open",
        other.id,
        other.source.plain()
    ))
    .hint(format!(
        "Give that table its name back, or end its deployment with SELECT bg_abort({}).",
        other.id
    ))
}

fn require_unchanged(table: &Table, changed: &[String]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let error = Error::state(format!(
        "the definition of {} changed while it was prepared: {}",
        table.qualified().plain(),
        changed.join("; ")
    ))
    .hint("Call bg_prepare again.");
    let _us = Identity::extension()?;
    Err(match event_trigger::suspects(None)? {
        Some(who) => {
            error.detail(format!("Commands of the deployment fire {who}, which may have done it."))
        }
        None => error,
    })
}

/// Makes both logs, with nothing of others on them. Runs as the extension.
pub fn make_logs(d: &Deployment, table: &Table) -> Result<()> {
    let unlogged = table.persistence == "u";
    capture::make_logs(d, unlogged, |oid, name, key| {
        intrusion::settle(oid, name, &intrusion::wanted_log(key, unlogged)?)
    })
}

fn definition(table: u32) -> Result<serde_json::Value> {
    let _us = Identity::extension()?;
    catalog::fingerprint(table)
}

/// The same call again says so, and brings blue up to date where green's definition changed; another
/// one names the difference. Where the deployment was ended meanwhile, the call begins a new one.
fn again(
    known: &Deployment,
    table: &Table,
    request: Request,
    settings: &Settings,
) -> Result<(String, Option<String>)> {
    let name = known.source.plain();
    if known.arguments == request.arguments {
        let mut known = guard::lock(known.id)?;
        if !known.phase.is_open() {
            return prepare(request, settings);
        }
        let changes = parse::parse_changes(&request.arguments.changes)?;
        if table.oid == known.green()
            && let Some(what) = update::update(&mut known, table, &request, &changes, settings)?
        {
            let notice = format!(
                "{name}: brought the offline table up to date ({what}); CALL bg_run(table) completes it"
            );
            return Ok((known.phase.to_string(), Some(notice)));
        }
        let notice =
            format!("{name} is prepared already; its deployment is in phase {}", known.phase);
        return Ok((known.phase.to_string(), Some(notice)));
    }
    let (old, new) = (&known.arguments, &request.arguments);
    let mut differs = Vec::new();
    if old.changes != new.changes {
        differs.push(format!("changes are {:?}, were {:?}", new.changes, old.changes));
    }
    if old.target != new.target {
        differs.push("target differs".to_owned());
    }
    if old.forward != new.forward {
        differs.push("forward differs".to_owned());
    }
    if old.reverse != new.reverse {
        differs.push("reverse differs".to_owned());
    }
    if old.key != new.key {
        differs.push("key differs".to_owned());
    }
    Err(Error::state(format!(
        "{name} has a deployment in phase {} with other arguments: {}",
        known.phase,
        differs.join("; ")
    ))
    .hint("Go on with that deployment, or end it with SELECT bg_abort(table) (bg_finish after a swap) and prepare again."))
}

/// Writes the target's name into the arguments, by which the same call is known again.
fn name_target(request: &mut Request) -> Result<()> {
    let Some(oid) = request.target else { return Ok(()) };
    if !request.arguments.changes.trim().is_empty() {
        return Err(Error::argument("target and changes cannot be combined")
            .hint("Make the changes on the target table yourself, or leave target out."));
    }
    let _us = Identity::extension()?;
    // After prepare the target is blue, under another name.
    let known = store::find(oid)?.filter(|d| d.phase.is_open() && d.shadow == oid);
    request.arguments.target = match known {
        Some(deployment) => deployment.plan.target,
        None => Some(catalog::existing_table(oid)?.qualified()),
    };
    Ok(())
}

fn refuse(table: &Table, changes: &[Change], blue: &Ident) -> Result<()> {
    let facts = facts(table.clone(), changes.to_vec(), blue.clone())?;
    match check::refusal(&check::run(&facts)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
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

/// SHARE ROW EXCLUSIVE, because CREATE TRIGGER needs it: it waits for writers that began before, and
/// keeps new ones out until the caller commits.
fn lock_green(table: &Table, settings: &Settings) -> Result<()> {
    let until = Instant::now() + settings.retry_for;
    let locked = lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(table.oid, Mode::ShareRowExclusive)], limit).map(drop)
    });
    match locked {
        Ok(()) => Ok(()),
        Err(caught) if caught.is_lock_failure() => {
            let caller = guard::caller();
            let _us = Identity::extension()?;
            let blockers = catalog::blockers(&[table.oid], 0, caller)?;
            let who: Vec<_> = blockers
                .iter()
                .map(|b| {
                    let pid = b.pid.map_or(String::new(), |pid| format!("pid {pid} "));
                    format!("{pid}{}", b.what.as_deref().unwrap_or_default())
                })
                .collect();
            Err(Error::new(
                PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                format!(
                    "the lock on {} could not be had in time ({})",
                    table.qualified().plain(),
                    who.join("; ")
                ),
            )
            .hint("Call again when those transactions have ended, or allow more time with bluegreen.retry_for."))
        }
        Err(caught) => caught.raise(),
    }
}

/// Makes the shadow in the blue schema with everything decided. Nothing of it needs a lock on green
/// beyond ACCESS SHARE, so bg_check uses it for its trial.
pub fn build(
    table: &Table,
    request: &Request,
    changes: &[Change],
    blue: &Ident,
    id: i64,
    settings: &Settings,
) -> Result<Deployment> {
    let crossing = Ident::new(format!("bluegreen_{id}"));
    let name = QualifiedName { schema: crossing.clone(), name: table.name.clone() };
    let class = guard::lock_table()?;
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

/// Rights by attribute number, 0 for the table.
type GivenRights = Vec<(i16, Option<String>)>;

/// Takes a hand-made table over: its rights are noted, it gets green's name in our schema.
fn take_target(
    green: &Table,
    target: u32,
    crossing: &Ident,
    settings: &Settings,
) -> Result<(u32, GivenRights)> {
    create::check_target(green, &catalog::existing_table(target)?)?;
    let until = Instant::now() + settings.retry_for;
    lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(target, Mode::AccessExclusive)], limit).map(drop)
    })
    .or_else(xact::Caught::raise)?;
    relation::check_not_in_use(target, "bg_prepare")?;
    let table = catalog::existing_table(target)?;
    create::check_target(green, &table)?;
    elsewhere::require_here(&table)?;
    if let Some(dependent) = dependent::first(target)? {
        return Err(Error::unsupported(format!(
            "target {} has {dependent}, which has no place in the deployment",
            table.qualified().plain()
        ))
        .hint("Give a target that nothing hangs on: what hangs on the live table is carried over to it."));
    }
    #[derive(serde::Deserialize)]
    struct Rights {
        attnum: i16,
        acl: Option<String>,
    }
    let rights: Vec<Rights> = spi::rows(
        "SELECT 0 AS attnum, relacl::text AS acl FROM pg_catalog.pg_class WHERE oid = $1
         UNION ALL
         SELECT attnum, attacl::text FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped",
        &[Arg::Oid(target)],
    )?;
    remove::move_to(target, crossing)?;
    if table.name != green.name {
        let here = QualifiedName { schema: crossing.clone(), name: table.name };
        spi::run(&ddl::object::rename("TABLE", &here, &green.name), &[])?;
    }
    for statistics in catalog::statistics(target)? {
        spi::run(&ddl::statistics::set_schema(&statistics.qualified(), crossing), &[])?;
    }
    Ok((target, rights.into_iter().map(|r| (r.attnum, r.acl)).collect()))
}
