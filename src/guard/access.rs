//! Who calls, and which deployment a table stands for.

use pgrx::PgSqlErrorCode;

use crate::catalog;
use crate::error::{Error, Result};
use crate::guard::gone;
use crate::model::member::Member;
use crate::model::phase::{self, Event, Phase};
use crate::oid::{RelationId, RoleId};
use crate::pg::security::{self, Identity};
use crate::pg::xact;
use crate::state::store;

/// Refuses callers who see the database as it was.
pub(crate) fn require_read_committed(call: &str) -> Result<()> {
    if xact::is_read_committed() {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
        format!("{call} cannot run in a REPEATABLE READ or SERIALIZABLE transaction: it has to see what is committed now"),
    )
    .hint("SET default_transaction_isolation = 'read committed' and call it in a new transaction."))
}

/// Refuses a call that writes where nothing can be written, and a caller who sees the database as it was.
pub(crate) fn require_to_write(call: &str) -> Result<()> {
    require_writable(call)?;
    require_read_committed(call)
}

/// Refuses a call that writes on a standby, and in a READ ONLY transaction.
pub(crate) fn require_writable(call: &str) -> Result<()> {
    // As the server names its own commands and functions there.
    let name = if call.contains(' ') { call.to_owned() } else { format!("{call}()") };
    if xact::is_in_recovery() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            format!("cannot execute {name} during recovery: this server is a standby"),
        )
        .hint("Call it on the primary."));
    }
    if xact::is_read_only() {
        return Err(read_only(&name));
    }
    Ok(())
}

/// The same for the procedure, whose next transactions are as the session's default says.
pub(crate) fn require_lasting_writable(call: &str) -> Result<()> {
    require_writable(call)?;
    if xact::is_read_only_by_default() { Err(read_only(call)) } else { Ok(()) }
}

fn read_only(name: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        format!("cannot execute {name} in a read-only transaction"),
    )
    .hint("SET default_transaction_read_only = off and call it in a new transaction.")
}

/// Refuses a caller without the rights of the table's owner.
pub(crate) fn require_owner(caller: RoleId, owner: RoleId, table: &str) -> Result<()> {
    let _us = Identity::extension()?;
    if catalog::is_owner(caller, owner)? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("must be owner of table {table}"),
    )
    .hint("Call it as the table's owner, as a member of that role, or as a superuser."))
}

/// The deployment that a table (or a deployment's number, for a table that is gone) stands for, for
/// a caller who may act on it.
pub(crate) fn find(relation: RelationId, caller: RoleId) -> Result<Member> {
    let table = {
        let _us = Identity::extension()?;
        catalog::table(relation)?
    };
    if let Some(table) = &table {
        require_owner(caller, table.owner, &table.qualified().plain())?;
    }
    if let Some(member) = store::find(relation)? {
        require_owner(caller, member.owner, &member.source.plain())?;
        return Ok(member);
    }
    // A restored dump, where the tables have other OIDs and the same names, or a table that was dropped and
    // made anew.
    if let Some(table) = &table
        && let Some(member) = store::open_by_name(&table.qualified())?
    {
        if !member.restored {
            gone::require_owner(&member, caller)?;
        }
        return Ok(member);
    }
    if let Some(member) = store::by_id(relation.into())?.filter(|_| table.is_none()) {
        require_owner(caller, member.owner, &member.source.plain())?;
        return Ok(member);
    }
    let message = match table {
        Some(table) => format!("there is no deployment of {}", table.qualified().plain()),
        None => {
            format!("there is neither a table with OID {relation} nor a deployment of that number")
        }
    };
    Err(Error::state(message).hint("Begin one with SELECT bg_prepare(table, changes)."))
}

/// Who calls, before any identity of ours.
pub(crate) fn caller() -> RoleId {
    security::current_user()
}

/// The phase after `event`, or a refusal that names the table.
pub(crate) fn next_phase(member: &Member, event: Event) -> Result<Phase> {
    phase::next(member.phase, event)
        .map_err(|e| Error { message: format!("{}: {}", member.source.plain(), e.message), ..e })
}
