//! Rows that are written for the sake of older snapshots: earlier versions of rows that are there already.
//!
//! They are written and indexed by our own transaction, and are given the transactions of the versions that
//! they stand for afterwards ([`super::stamp`]). Their index entries are made without a look for others of
//! the same value: of the versions of a row, and of rows that have given a value to one another, no two are
//! seen by one snapshot.
//!
//! Source: `execIndexing.c` (`ExecInsertIndexTuples`: how a row's entries are made).

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::heap::bulk;
use crate::heap::bulk::Receiver;
use crate::heap::index_entries::Entries;
use crate::heap::toast::Moved;
use crate::oid::RelationId;
use crate::pg::executor;
use crate::pg::tid::Place;
use crate::pg::transient_relation::Work;

/// Runs `sql`, an INSERT … SELECT into `table` whose rows are one for each of `work`, in their order, and
/// returns their places. The caller holds ACCESS EXCLUSIVE on the table.
pub(crate) fn insert(sql: &str, work: &Work, table: RelationId) -> Result<Vec<Place>> {
    let text = executor::text(sql)?;
    // SAFETY: `work` outlives the statement. The snapshot is pushed and popped in pairs, or popped by the
    // abort; what is opened is closed, or so by the abort.
    let places = unsafe {
        let names = pg_sys::create_queryEnv();
        pg_sys::register_ENR(names, work.named());
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let command = pg_sys::CmdType::CMD_INSERT;
        let places = executor::plan_of_write(&text, names, table, command)
            .map(|plan| write(plan, &text, names, table));
        pg_sys::PopActiveSnapshot();
        pg_sys::CommandCounterIncrement();
        places
    };
    match places {
        Some(places) if places.len() as u64 == work.len() => Ok(places),
        _ => Err(Error::internal("earlier versions of rows were not written one by one")),
    }
}

unsafe fn write(
    plan: *mut pg_sys::PlannedStmt,
    text: &CStr,
    names: *mut pg_sys::QueryEnvironment,
    table: RelationId,
) -> Vec<Place> {
    let mode = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: see `insert`; the plan is ours alone.
    unsafe {
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        let plan = bulk::source(plan);
        let mut receiver =
            Receiver::new(relation, Moved::default(), None, Some(Entries::default()));
        // The executor writes to it through this pointer, and so do we until it has ended.
        let target = &raw mut receiver;
        executor::run(plan, text, target.cast(), names, || (*target).flush());
        let (_, places) = receiver.finish();
        pg_sys::table_close(relation, mode);
        places
    }
}
