//! Relations: opening, moving between schemas, and who owns a sequence.

use std::ffi::CString;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::oid::{RelationId, SchemaId, TypeId};

/// Refuses with PostgreSQL's own error (55006) when a statement of this session is using the table
/// or has trigger events pending on it. Locks: ACCESS SHARE for the moment.
pub(crate) fn check_not_in_use(table: RelationId, statement: &str) -> Result<()> {
    let statement =
        CString::new(statement).map_err(|_| Error::internal("a name contains a NUL byte"))?;
    // SAFETY: the relation is locked; an error unwinds and the abort closes it.
    unsafe {
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::relation_open(pg_sys::Oid::from(table), mode);
        pg_sys::CheckTableNotInUse(relation, statement.as_ptr());
        pg_sys::relation_close(relation, mode);
    }
    Ok(())
}

/// What a publication may send of a table besides new rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Updates.
    Updates,
    /// Deletions.
    Deletions,
}

/// Raises PostgreSQL's own error where no such statement on the table would be let through, because a
/// publication sends it and the replica identity does not do. Locks: ACCESS SHARE for the moment.
pub(crate) fn check_replica_identity(table: RelationId, sent: Sent) -> Result<()> {
    let command = match sent {
        Sent::Updates => pg_sys::CmdType::CMD_UPDATE,
        Sent::Deletions => pg_sys::CmdType::CMD_DELETE,
    };
    // SAFETY: the relation is locked; an error unwinds and the abort closes it.
    unsafe {
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::relation_open(pg_sys::Oid::from(table), mode);
        pg_sys::CheckCmdReplicaIdentity(relation, command);
        pg_sys::relation_close(relation, mode);
    }
    Ok(())
}

/// Moves a table with its indexes, constraints, row type and owned sequences to another schema.
/// The server's own function: the owner may lack CREATE, and no event trigger can veto half a swap.
///
/// Locks: the caller holds ACCESS EXCLUSIVE on the table.
pub(crate) fn set_schema(table: RelationId, from: SchemaId, to: SchemaId) {
    // SAFETY: the relation is locked; the list of moved objects is freed before we leave.
    unsafe {
        // As CREATE in a schema does, so that nobody drops it meanwhile.
        pg_sys::LockDatabaseObject(
            pg_sys::NamespaceRelationId,
            pg_sys::Oid::from(to),
            0,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        let relation =
            pg_sys::relation_open(pg_sys::Oid::from(table), pg_sys::NoLock as pg_sys::LOCKMODE);
        let moved = pg_sys::new_object_addresses();
        pg_sys::AlterTableNamespaceInternal(
            relation,
            pg_sys::Oid::from(from),
            pg_sys::Oid::from(to),
            moved,
        );
        pg_sys::free_object_addresses(moved);
        pg_sys::relation_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::CommandCounterIncrement();
    }
}

/// Gives a type of a schema another name.
///
/// # Errors
///
/// 42710 where another type of the schema has that name.
pub(crate) fn rename_type(of: TypeId, schema: SchemaId, name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Error::internal("a name contains a NUL byte"))?;
    // SAFETY: writes a row of pg_type; the caller has made the relation, and with it the type.
    unsafe {
        pg_sys::RenameTypeInternal(pg_sys::Oid::from(of), name.as_ptr(), pg_sys::Oid::from(schema));
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Takes the ownership record off a sequence, of either kind (identity, serial).
pub(crate) fn release_sequence(sequence: RelationId) {
    let class = pg_sys::RelationRelationId;
    // SAFETY: deletes rows of pg_depend; the caller has locked both tables.
    unsafe {
        for kind in
            [pg_sys::DependencyType::DEPENDENCY_AUTO, pg_sys::DependencyType::DEPENDENCY_INTERNAL]
        {
            pg_sys::deleteDependencyRecordsForClass(
                class,
                pg_sys::Oid::from(sequence),
                class,
                kind as std::ffi::c_char,
            );
        }
        pg_sys::CommandCounterIncrement();
    }
}

/// Makes a column the owner of a sequence: `i` as its identity sequence, `a` as a serial's.
pub(crate) fn own_sequence(sequence: RelationId, table: RelationId, column: i16, kind: char) {
    let class = pg_sys::RelationRelationId;
    let behavior = if kind == 'i' {
        pg_sys::DependencyType::DEPENDENCY_INTERNAL
    } else {
        pg_sys::DependencyType::DEPENDENCY_AUTO
    };
    let sequence = pg_sys::ObjectAddress {
        classId: class,
        objectId: pg_sys::Oid::from(sequence),
        objectSubId: 0,
    };
    let column = pg_sys::ObjectAddress {
        classId: class,
        objectId: pg_sys::Oid::from(table),
        objectSubId: column.into(),
    };
    // SAFETY: writes a row of pg_depend; the caller has locked both tables.
    unsafe {
        pg_sys::recordDependencyOn(&sequence, &column, behavior);
        pg_sys::CommandCounterIncrement();
    }
}
