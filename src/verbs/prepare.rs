//! bg_prepare: the new table is made and capture starts, in the caller's transaction.

use std::time::Instant;

use pgrx::PgSqlErrorCode;

use crate::blueprint::build::{Order, Request, build, definition, make_logs};
use crate::blueprint::preflight::facts;
use crate::capture;
use crate::catalog::{self, Table, event_trigger};
use crate::check;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::guard::access;
use crate::guard::fingerprint;
use crate::guard::lock as guard_lock;
use crate::model::changes::Change;
use crate::model::hold::Hold;
use crate::model::member::Member;
use crate::model::plan::Arguments;
use crate::model::settings::Settings;
use crate::oid::RoleId;
use crate::pg::lock::{self, Mode};
use crate::pg::parse;
use crate::pg::reasons::Reasons;
use crate::pg::relation;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::plan::difference::{self, Difference};
use crate::plan::intrusion::Step;
use crate::plan::next_step;
use crate::shadow::schema;
use crate::state::lock as state_lock;
use crate::state::restored;
use crate::state::store::{self, LockedMember};
use crate::verbs::make_way;
use crate::verbs::update;

/// Prepares a deployment; the second of the same call is no error.
pub(crate) fn prepare(
    mut request: Request,
    settings: &Settings,
) -> Result<(String, Option<String>)> {
    access::require_to_write("bg_prepare")?;
    let table = {
        let _us = Identity::extension()?;
        catalog::existing_table(request.source)?
    };
    access::require_owner(request.caller, table.owner, &table.qualified().plain())?;
    let ended = end_what_is_gone(&table, request.caller, settings)?;
    name_target(&mut request)?;
    let open = || Ok(store::find(request.source)?.filter(|member| member.phase.is_open()));
    if let Some(known) = open()? {
        return again(&known, &table, request, settings);
    }
    if let Some(other) = store::open_by_name(&table.qualified())? {
        return Err(same_name(&other));
    }
    lock_against_others(&table, settings)?;
    if let Some(known) = open()? {
        return again(&known, &table, request, settings);
    }
    let changes = parse::parse_changes(&request.arguments.changes)?;
    let blue = schema::blue_name(&table.schema, &settings.schema_suffix)?;
    refuse(&table, &changes)?;
    guard_lock::require_not_in_use(&[table.oid], "bg_prepare")?;
    let began = Instant::now();
    // Everything that can be made beside the writers comes first; then the lock, under which the
    // table has to be as it was.
    let before = definition(table.oid)?;
    let id = store::next_id()?;
    let order = Order {
        table: &table,
        request: &request,
        changes: &changes,
        blue: &blue,
        id,
        reasons: &Reasons::first(),
    };
    let member = build(&order, settings)?;
    failpoint::reach("prepare_built");
    lock_green(&table, settings)?;
    relation::check_not_in_use(table.oid, "bg_prepare")?;
    require_unchanged(&table, &difference::differences(&before, &definition(table.oid)?))?;
    {
        let _us = Identity::extension()?;
        make_logs(&member, &table)?;
        capture::install(&member)?;
    }
    failpoint::reach("prepare_captured");
    let member = captured(member, &table, &before)?;
    let seconds = began.elapsed().as_secs_f64();
    let detail = Some(asked_for(&member)).filter(|c| !c.is_empty());
    let step = store::Step { name: "prepare", seconds, count: None, detail, error: None };
    store::record(&member, &step)?;
    failpoint::reach("prepare_recorded");
    Ok((member.phase.to_string(), ended))
}

/// The changes, or the whole call where it says more.
fn asked_for(member: &Member) -> String {
    let Arguments { changes, forward, reverse, key, .. } = &member.arguments;
    if forward.is_empty() && reverse.is_empty() && key.is_none() {
        return changes.clone();
    }
    next_step::prepare_call(&member.source.plain(), &member.arguments)
}

/// The member with its fingerprints, where nothing else has changed while it was made.
fn captured(member: Member, table: &Table, before: &serde_json::Value) -> Result<LockedMember> {
    let mut member = store::insert(member)?;
    fingerprint::take_fingerprints(&mut member, &Step::Captured)?;
    // CREATE VIEW and CREATE FUNCTION do not conflict with our lock: find what was created meanwhile.
    let mut changed = difference::differences(before, &member.fingerprint_origin);
    changed.retain(|part| !part.is_of("capture trigger "));
    require_unchanged(table, &changed)?;
    Ok(member)
}

/// One transaction at a time prepares a table.
fn lock_against_others(table: &Table, settings: &Settings) -> Result<()> {
    let class = guard_lock::prepare_class()?;
    if state_lock::deployment(class, table.oid.into(), Hold::Alone, settings.retry_for)? {
        return Ok(());
    }
    let who = state_lock::holders(class, table.oid.into())?;
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("another transaction is preparing {}{who}", table.qualified().plain()),
    )
    .hint("Wait until it commits, or COMMIT PREPARED or ROLLBACK PREPARED it, then call again."))
}

/// Ends a deployment of the table whose offline table is gone, or one of a dropped table of its name. What
/// came of it, where there was one.
fn end_what_is_gone(table: &Table, caller: RoleId, settings: &Settings) -> Result<Option<String>> {
    let known = match store::find(table.oid)?.filter(|member| member.phase.is_open()) {
        Some(known) => Some(known).filter(|member| member.green() == table.oid),
        None => store::open_by_name(&table.qualified())?,
    };
    known.map_or(Ok(None), |known| make_way::make_way(&known, caller, settings))
}

/// Another table has this one's name in a deployment that is open: it came with a dump, or was renamed.
fn same_name(other: &Member) -> Error {
    if other.restored {
        return restored::refusal(other);
    }
    Error::state(format!(
        "the deployment of another table that was named {} is still open",
        other.source.plain()
    ))
    .hint(format!(
        "Give that table its name back, or end its deployment with SELECT bg_abort({}).",
        other.id
    ))
}

fn require_unchanged(table: &Table, changed: &[Difference]) -> Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let error = Error::state(format!(
        "the definition of {} changed while it was prepared: {}",
        table.qualified().plain(),
        difference::in_words(changed)
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

/// The same call again says so, and brings blue up to date where green's definition changed; another
/// one names the difference. Where the deployment was ended meanwhile, the call begins a new one.
fn again(
    known: &Member,
    table: &Table,
    request: Request,
    settings: &Settings,
) -> Result<(String, Option<String>)> {
    let name = known.source.plain();
    if known.arguments == request.arguments {
        let mut d = guard_lock::lock(known.id)?;
        let known = d.first_mut();
        if !known.phase.is_open() {
            return prepare(request, settings);
        }
        let changes = parse::parse_changes(&request.arguments.changes)?;
        if table.oid == known.green()
            && let Some(what) = update::update(known, table, &request, &changes, settings)?
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
    let known =
        store::find(oid)?.filter(|member| member.phase.is_open() && member.shadow.root == oid);
    request.arguments.target = match known {
        Some(member) => member.plan.target,
        None => Some(catalog::existing_table(oid)?.qualified()),
    };
    Ok(())
}

fn refuse(table: &Table, changes: &[Change]) -> Result<()> {
    let findings = check::run(&facts(table.clone(), changes.to_vec())?);
    match check::refusal(&findings) {
        Some(error) => Err(check::pointing_to_all(error, &findings)),
        None => {
            check::foretold(&findings).iter().for_each(|line| xact::tell(line));
            Ok(())
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
            let caller = access::caller();
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
                    "could not obtain the lock on {} in time ({})",
                    table.qualified().plain(),
                    who.join("; ")
                ),
            )
            .hint("Call again when those transactions have ended, or allow more time with bluegreen.retry_for."))
        }
        Err(caught) => caught.raise(),
    }
}
