//! Swap: the roles of the two tables are swapped. Revert is the same with the roles as they are
//! then.
//!
//! Under ACCESS EXCLUSIVE on both tables, in one subtransaction of one transaction:
//! sequences lose their owners (or SET SCHEMA would take them along), SET SCHEMA three times through
//! the deployment's own schema, sequences get their new owners, extended statistics follow, rights
//! are swapped, capture is turned round. The caller counts, drains and checks before, under the
//! same lock.
//!
//! Lock order: the live table, then the others by OID and the sequences, every other try backwards.
//! Nothing of ours is locked before, so a rolled back try leaves nobody queued behind us.

mod sequences;
mod statistics;

use std::time::{Duration, Instant};

use crate::catalog::{self, Blocker};
use crate::ddl::{rights, shadow};
use crate::error::{Error, ErrorKind, Result};
use crate::model::deployment::Deployment;
use crate::model::member::{Member, Side};
use crate::oid::RelationId;
use crate::pg::acl;
use crate::pg::lock::{self, Mode};
use crate::pg::relation;
use crate::pg::security::{self, Identity};
use crate::pg::snapshot;
use crate::pg::spi;
use crate::pg::wal;
use crate::pg::xact;

/// Everything that the swap locks, in the order in which it does.
///
/// `others` are relations that what hangs on the tables makes us lock.
pub(crate) fn locks(d: &Deployment, others: &[RelationId]) -> Result<Vec<(RelationId, Mode)>> {
    let mut locks: Vec<_> =
        tables(d, others).into_iter().map(|oid| (oid, Mode::AccessExclusive)).collect();
    for member in d.members() {
        locks.extend(sequence_locks(member)?);
    }
    Ok(locks)
}

/// The tables of all members and the others, each once, by OID.
fn tables(d: &Deployment, others: &[RelationId]) -> Vec<RelationId> {
    let mut tables: Vec<_> = d.relations().chain(others.iter().copied()).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

fn sequence_locks(member: &Member) -> Result<Vec<(RelationId, Mode)>> {
    // ALTER SEQUENCE waits for transactions that called nextval; only needed where options differ.
    let sequences = member
        .plan
        .sequences
        .iter()
        .filter(|p| p.shadow_options.is_some())
        .map(|p| (p.live, Mode::ShareRowExclusive));
    // Sequences that only one side has go with it, which a session that has called nextval holds up.
    let paired = |oid: RelationId| {
        member.plan.sequences.iter().any(|p| p.live == oid || p.spare == Some(oid))
    };
    let _us = Identity::extension()?;
    let mut others = catalog::sequences(member.origin.root)?;
    others.extend(catalog::sequences(member.shadow.root)?);
    let others =
        others.into_iter().filter(|s| !paired(s.oid)).map(|s| (s.oid, Mode::AccessExclusive));
    Ok(sequences.chain(others).collect())
}

/// The locks in the order in which they are tried: the live tables first, because most clients come to
/// what hangs on them with a lock on them (a foreign key's check has one at once), then the others.
pub(crate) fn in_order(
    locks: &[(RelationId, Mode)],
    green: &[RelationId],
    ascending: bool,
) -> Vec<(RelationId, Mode)> {
    let mut order = locks.to_vec();
    if !ascending {
        order.reverse();
    }
    order.sort_by_key(|(oid, _)| !green.contains(oid));
    order
}

/// Waits until no snapshot of others is older than the last committed drain. They would read blue
/// as it was before it, without an error.
///
/// `class` is `bluegreen.deployment`; `alone` says that the call is all that its client's
/// transaction does, so that other swaps need not wait for its snapshot while it waits.
pub(crate) fn wait_for_snapshots(
    d: &Deployment,
    class: RelationId,
    relations: &[RelationId],
    until: Instant,
    alone: bool,
) -> Result<()> {
    let xid = d.drain_xid();
    let _announced = alone.then(|| snapshot::announce(class));
    let look = || xact::with_memory(|| snapshot::holders_older_than(class, xid));
    // Most are gone in a moment, and each millisecond brings new changes to drain.
    let mut rest = Duration::from_millis(1);
    let exports = snapshot::Exports::now();
    // Those who are there now: whoever comes later sees the drain, even if an old writer elsewhere
    // holds its xmin back; unless it has the snapshot of one who was there.
    let there = look();
    loop {
        let holders = look();
        let imported = exports.may_be_imported();
        if !holders.iter().any(|h| imported || there.contains(h)) {
            return Ok(());
        }
        if Instant::now() >= until {
            let blockers = describe_blockers(xid, relations)?;
            return Err(Error::new(
                pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                format!(
                    "a transaction older than the last large sync of {} is still running and would read stale rows after the swap{}",
                    d.first().source.plain(),
                    first(&blockers)
                ),
            )
            .kind(ErrorKind::OldSnapshot)
            .and_detail(others(&blockers))
            .hint("Let it end or end it, then call again; see bg_blockers(table). SET bluegreen.wait_for_snapshots = off accepts stale reads in such transactions."));
        }
        xact::sleep(rest);
        rest = (rest * 2).min(Duration::from_millis(50));
    }
}

/// Lets standbys end what has a snapshot older than the last committed drain, which nobody here can wait for.
/// Before any lock: a standby that waits for its readers would hold the lock meanwhile, and where commits wait
/// for it (`synchronous_commit = remote_apply`), so would we.
pub(crate) fn end_readers_on_standbys(d: &Deployment, until: Instant) -> Result<()> {
    let Some(record) = snapshot::end_older_on_standbys(d.drain_xid()) else {
        return Ok(());
    };
    // Sent at once, not with our commit.
    let reached = wal::flush(record);
    let _us = Identity::extension()?;
    let mut rest = Duration::from_millis(1);
    while catalog::commits_wait_for_replay(&reached)? {
        if Instant::now() >= until {
            return Err(Error::new(
                pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                format!(
                    "a synchronous standby has not yet replayed what the swap of {} waits for",
                    d.first().source.plain()
                ),
            )
            .detail("Queries on the standby are older than the last large sync, and synchronous_commit is remote_apply.")
            .hint("Let those queries end, or lower max_standby_streaming_delay there; then call again."));
        }
        xact::sleep(rest);
        rest = (rest * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

/// Refuses, as for a lock that is not to be had, while somebody makes the first copy of a subscription of
/// the table: it would go on with the new one, as it was before what is synced now, and what was missing
/// then would never be sent. The caller holds the locks. A slot that is begun later waits for us.
pub(crate) fn refuse_first_copies(member: &Member) -> Result<()> {
    let _us = Identity::extension()?;
    for leaf in member.green_leaves() {
        let Some(pids) = catalog::first_copies(*leaf, xact::current_xid())? else { continue };
        return Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!("the first copy of a subscription is being made (walsender with pid {pids})"),
        )
        .kind(ErrorKind::InTheWay));
    }
    Ok(())
}

/// Refuses, as for a lock that is not to be had, where a SERIALIZABLE transaction has read the live table:
/// by what it read the server finds out who must not commit beside it, and that stays with the table which
/// goes offline. The caller holds the locks.
pub(crate) fn refuse_serializable_readers(member: &Member) -> Result<()> {
    if !member.green_leaves().iter().any(|leaf| lock::was_read_serializably(*leaf)) {
        return Ok(());
    }
    Err(Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!(
            "a SERIALIZABLE transaction that may still conflict with others has read {}",
            member.source.plain()
        ),
    )
    .kind(ErrorKind::InTheWay))
}

/// Who stands in the way, a line each; of snapshots, those older than transaction `xid`.
fn describe_blockers(xid: u64, relations: &[RelationId]) -> Result<Vec<String>> {
    let caller = security::current_user();
    let _us = Identity::extension()?;
    let blockers = catalog::blockers(relations, xid, caller)?;
    Ok(blockers.iter().map(describe).collect())
}

/// `pid 4711 (user app, application web) holds RowExclusiveLock on users: UPDATE users …`, as far as it
/// is known; a prepared transaction has no process and no query.
fn describe(blocker: &Blocker) -> String {
    let text = |part: &Option<String>| part.clone().filter(|text| !text.is_empty());
    let pid = blocker.pid.map_or(String::new(), |pid| format!("pid {pid} "));
    let application = text(&blocker.application).map(|name| format!(", application {name}"));
    let (user, what) = (text(&blocker.user), text(&blocker.what).unwrap_or_default());
    let who =
        format!("(user {}{})", user.unwrap_or("?".to_owned()), application.unwrap_or_default());
    match text(&blocker.query) {
        Some(query) => {
            format!("{pid}{who} {what}: {}", query.chars().take(200).collect::<String>())
        }
        None if pid.is_empty() => format!("{what} {who}"),
        None => format!("{pid}{who} {what}"),
    }
}

fn first(blockers: &[String]) -> String {
    blockers.first().map_or(String::new(), |b| format!(" ({b})"))
}

/// Those that the message does not name.
fn others(blockers: &[String]) -> Option<String> {
    blockers.get(1..).and_then(listed)
}

/// A line each, if there are any.
fn listed(blockers: &[String]) -> Option<String> {
    Some(blockers.join("\n")).filter(|lines| !lines.is_empty())
}

/// The error of a call that did not get its locks, or that would have been wrong under them; it names who blocks, also
/// by snapshots older than transaction `xid`.
pub(crate) fn lock_error(
    name: &str,
    xid: u64,
    relations: &[RelationId],
    cause: &Error,
) -> Result<Error> {
    let blockers = describe_blockers(xid, relations)?;
    if cause.kind == ErrorKind::InTheWay {
        // Who has a lock by now need not have been in the way.
        return Ok(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!("could not swap {name} in time: {}", cause.message),
        )
        .and_detail(cause.detail.clone().or_else(|| listed(&blockers)))
        .hint("Let it end, or end it; then call again, or give it longer with retry_for. Nothing was changed, and nobody waits behind this call."));
    }
    Ok(Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!(
            "could not obtain the locks on {name} in time{}",
            first(&blockers)
        ),
    )
    .and_detail(if blockers.is_empty() { Some(cause.message.clone()) } else { others(&blockers) })
    .hint("Call again, give it longer with retry_for, or see bg_blockers(table). Nothing was changed, and nobody waits behind this call."))
}

/// Swaps the roles. The caller is the extension, holds all of [`locks`] and has drained the log.
/// `live` and `offline` are clauses of ALTER TABLE for the triggers and rules of the two.
pub(crate) fn apply(member: &Member, live: &[String], offline: &[String]) -> Result<()> {
    let switches = (live, offline);
    let live = catalog::existing_schema(&member.source.schema)?;
    let offline = catalog::existing_schema(&member.blue_schema)?;
    let staging = catalog::existing_schema(&member.staging_schema())?;
    let (green, blue) = (member.green(), member.blue());
    sequences::release(member);
    statistics::swap(member, || {
        relation::set_schema(green, live, staging);
        relation::set_schema(blue, offline, live);
        relation::set_schema(green, staging, offline);
    })?;
    sequences::own(member)?;
    swap_rights(member)?;
    // From here on the names have changed hands.
    spi::run(&shadow::set_triggers(&member.source, true, switches.0), &[])?;
    spi::run(&shadow::set_triggers(&member.blue_name(), false, switches.1), &[])?;
    Ok(())
}

/// Asks once what [`apply`] will ask, so that plans and caches are there before anybody waits.
pub(crate) fn rehearse(member: &Member) -> Result<()> {
    let _us = Identity::extension()?;
    let nothing = rights::arguments(RelationId::INVALID, &[]);
    acl::prepare(rights::LIVE, &nothing)?;
    acl::prepare(rights::READ_ONLY, &nothing)?;
    for leaf in member.green_leaves() {
        catalog::first_copies(*leaf, xact::current_xid())?;
    }
    for table in member.relations() {
        catalog::statistics(table)?;
        catalog::columns(table)?;
        catalog::existing_table(table)?;
    }
    for side in [Side::Origin, Side::Shadow] {
        catalog::relation_oid(&member.log_of(side))?;
    }
    Ok(())
}

fn swap_rights(member: &Member) -> Result<()> {
    let (from, to) = (member.green(), member.blue());
    let forward: Vec<_> = match member.green_side() {
        Side::Origin => member.plan.pairs.clone(),
        Side::Shadow => member.plan.pairs.iter().map(|(o, s)| (s.clone(), o.clone())).collect(),
    };
    let back: Vec<_> = forward.iter().map(|(f, t)| (t.clone(), f.clone())).collect();
    acl::replace(to, member.owner, rights::LIVE, &rights::arguments(from, &forward))?;
    acl::replace(from, member.owner, rights::READ_ONLY, &rights::arguments(to, &back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::member::TableTree;

    /// Two members: 20 with its leaves 21 and 22 is to become 30, 5 is to become 40.
    fn two() -> Deployment {
        let tree = |oids: &[u32]| TableTree {
            root: RelationId::new(oids[0]),
            leaves: oids
                .iter()
                .skip(usize::from(oids.len() > 1))
                .map(|oid| RelationId::new(*oid))
                .collect(),
        };
        let first = Member::of_tables(1, tree(&[20, 21, 22]), tree(&[30, 31]));
        Deployment::of(first, vec![Member::of_tables(2, tree(&[5]), tree(&[40]))])
    }

    fn oids(locks: Vec<(RelationId, Mode)>) -> Vec<u32> {
        locks.into_iter().map(|(oid, _)| oid.get()).collect()
    }

    #[test]
    fn the_tables_and_leaves_of_all_members_are_locked_once_the_live_ones_first() {
        let d = two();
        let others = [7, 21].map(RelationId::new);
        let locks: Vec<_> =
            tables(&d, &others).into_iter().map(|oid| (oid, Mode::AccessExclusive)).collect();
        let green = d.green_relations();

        assert_eq!(oids(in_order(&locks, &green, true)), [5, 20, 21, 22, 7, 30, 31, 40]);
        assert_eq!(oids(in_order(&locks, &green, false)), [22, 21, 20, 5, 40, 31, 30, 7]);
    }
}
