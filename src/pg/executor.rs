//! A statement that the server plans and its executor runs, without SPI: with a receiver of our own, and
//! a ring of buffers where it reads some blocks of a table.
//!
//! Source: `spi.c` (`_SPI_pquery`, `_SPI_execute_plan`: the order of snapshots and counters).

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::oid::RelationId;
use crate::pg::buffer_strategy;
use crate::pg::snapshot::Snapshot;
use crate::pg::transient_relation::Work;

/// The text of a statement for the server.
pub(crate) fn text(sql: &str) -> Result<CString> {
    CString::new(sql).map_err(|_| Error::internal("a statement contains a NUL byte"))
}

/// The server's plan of the one statement; None where rules make several of it, or none. It lives in the
/// current memory context, and needs the text.
pub(crate) unsafe fn plan(
    text: &CStr,
    names: *mut pg_sys::QueryEnvironment,
) -> Option<*mut pg_sys::PlannedStmt> {
    // SAFETY: the text is NUL-terminated and outlives the plan; the lists are the server's own.
    unsafe {
        let raw = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        if pg_sys::list_length(raw) != 1 {
            return None;
        }
        let queries = pg_sys::pg_analyze_and_rewrite_fixedparams(
            pg_sys::list_nth(raw, 0).cast(),
            text.as_ptr(),
            std::ptr::null(),
            0,
            names,
        );
        if pg_sys::list_length(queries) != 1 {
            return None;
        }
        let query: *mut pg_sys::Query = pg_sys::list_nth(queries, 0).cast();
        if (*query).commandType == pg_sys::CmdType::CMD_UTILITY {
            return None;
        }
        Some(pg_sys::pg_plan_query(query, text.as_ptr(), 0, std::ptr::null_mut()))
    }
}

/// The plan of a statement that writes to this table in this way and to no other; None where a rule makes
/// something else of it.
pub(crate) unsafe fn plan_of_write(
    text: &CStr,
    names: *mut pg_sys::QueryEnvironment,
    table: RelationId,
    command: pg_sys::CmdType::Type,
) -> Option<*mut pg_sys::PlannedStmt> {
    // SAFETY: as in `plan`; a ModifyTable of a plan has at least one table, by its place in the list.
    unsafe {
        let statement = plan(text, names)?;
        let top = (*statement).planTree;
        if (*statement).commandType != command || (*top).type_ != pg_sys::NodeTag::T_ModifyTable {
            return None;
        }
        let modify: *mut pg_sys::ModifyTable = top.cast();
        let index = pg_sys::list_nth_int((*modify).resultRelations, 0);
        let entry: *mut pg_sys::RangeTblEntry =
            pg_sys::list_nth((*statement).rtable, index - 1).cast();
        let alone = pg_sys::list_length((*modify).resultRelations) == 1;
        (alone && (*entry).relid == pg_sys::Oid::from(table)).then_some(statement)
    }
}

/// Runs a plan under the active snapshot; `ended` is called when it has given all its rows. Returns how
/// many rows it wrote or gave.
pub(crate) unsafe fn run(
    statement: *mut pg_sys::PlannedStmt,
    text: &CStr,
    receiver: *mut pg_sys::DestReceiver,
    names: *mut pg_sys::QueryEnvironment,
    ended: impl FnOnce(),
) -> u64 {
    // SAFETY: the plan is of this text and these names, and its tables are locked by the planning. What is
    // started is ended here, or by the abort when an error unwinds.
    unsafe {
        let query = pg_sys::CreateQueryDesc(
            statement,
            text.as_ptr(),
            pg_sys::GetActiveSnapshot(),
            std::ptr::null_mut(),
            receiver,
            std::ptr::null_mut(),
            names,
            0,
        );
        pg_sys::ExecutorStart(query, 0);
        buffer_strategy::for_reading(query);
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        #[cfg(any(feature = "pg15", feature = "pg16", feature = "pg17"))]
        pg_sys::ExecutorRun(query, forward, 0, true);
        #[cfg(feature = "pg18")]
        pg_sys::ExecutorRun(query, forward, 0);
        ended();
        let processed = (*(*query).estate).es_processed;
        pg_sys::ExecutorFinish(query);
        pg_sys::ExecutorEnd(query);
        pg_sys::FreeQueryDesc(query);
        processed
    }
}

/// Gives the rows of a query, as `snapshot` sees them, to a receiver. False: it is not one query.
pub(crate) unsafe fn query(
    sql: &str,
    snapshot: &Snapshot,
    receiver: *mut pg_sys::DestReceiver,
) -> Result<bool> {
    let text = text(sql)?;
    // SAFETY: the receiver outlives the call. The snapshot is pushed and popped in pairs, or popped by
    // the abort.
    unsafe {
        pg_sys::PushActiveSnapshot(snapshot.as_ptr());
        let statement = plan(&text, std::ptr::null_mut());
        if let Some(statement) = statement {
            run(statement, &text, receiver, std::ptr::null_mut(), || {});
        }
        pg_sys::PopActiveSnapshot();
        Ok(statement.is_some())
    }
}

/// Runs a DELETE from `table` that can read `work` by its name, under a new snapshot; the number of
/// rows. None: a rule makes something else of it, and nothing was done.
pub(crate) fn delete(sql: &str, table: RelationId, work: &Work) -> Result<Option<u64>> {
    let text = text(sql)?;
    // SAFETY: `work` outlives the statement, and so do the names, which are forgotten with the memory
    // context. The snapshot is pushed and popped in pairs, or popped by the abort.
    unsafe {
        let names = pg_sys::create_queryEnv();
        pg_sys::register_ENR(names, work.named());
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let nobody = pg_sys::CreateDestReceiver(pg_sys::CommandDest::DestNone);
        let plan = plan_of_write(&text, names, table, pg_sys::CmdType::CMD_DELETE);
        let count = plan.map(|plan| run(plan, &text, nobody, names, || {}));
        pg_sys::PopActiveSnapshot();
        pg_sys::CommandCounterIncrement();
        Ok(count)
    }
}
