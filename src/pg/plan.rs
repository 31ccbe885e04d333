//! What the server would read: its plan, looked at and not run.

use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag;

use crate::error::Result;
use crate::oid::{FunctionId, RelationId};
use crate::pg::executor::{plan, text};

/// A plan that does not scan the table that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// What it does instead, as far as a node of a plan has a name.
    pub node: String,
    /// Relations that it reads.
    pub relations: Vec<RelationId>,
    /// Functions that it calls for rows.
    pub functions: Vec<FunctionId>,
}

/// Plans a query that reads one table, with every hook that this session has. None: it is a scan of that
/// very table. Nothing is run.
pub(crate) fn elsewhere(sql: &str, table: RelationId) -> Result<Option<Elsewhere>> {
    let text = text(sql)?;
    // SAFETY: the plan lives in the current memory context, and is only read; each node is what its tag
    // says, and a scan's number is that of an entry of its plan.
    unsafe {
        let Some(statement) = plan(&text, std::ptr::null_mut()) else {
            let node = "another statement".to_owned();
            return Ok(Some(Elsewhere { node, relations: vec![], functions: vec![] }));
        };
        let top = (*statement).planTree;
        let tag = (*top).type_;
        let is_scan = matches!(
            tag,
            NodeTag::T_SeqScan
                | NodeTag::T_IndexScan
                | NodeTag::T_IndexOnlyScan
                | NodeTag::T_BitmapHeapScan
        );
        let entries = entries(statement);
        if is_scan {
            let number = (*top.cast::<pg_sys::Scan>()).scanrelid as usize;
            let entry = number.checked_sub(1).and_then(|at| entries.get(at));
            if entry.is_some_and(|entry| (**entry).relid == pg_sys::Oid::from(table)) {
                return Ok(None);
            }
        }
        let node = if tag == NodeTag::T_CustomScan {
            let methods = (*top.cast::<pg_sys::CustomScan>()).methods;
            let name = std::ffi::CStr::from_ptr((*methods).CustomName);
            format!("CustomScan ({})", name.to_string_lossy())
        } else {
            format!("{tag:?}").trim_start_matches("T_").to_owned()
        };
        let relations = entries
            .iter()
            .map(|entry| RelationId::from((**entry).relid))
            .filter(|oid| *oid != RelationId::INVALID);
        let functions = entries.iter().flat_map(|entry| functions(*entry)).collect();
        Ok(Some(Elsewhere { node, relations: relations.collect(), functions }))
    }
}

unsafe fn entries(statement: *const pg_sys::PlannedStmt) -> Vec<*const pg_sys::RangeTblEntry> {
    // SAFETY: a list of range table entries, or null.
    unsafe {
        let list = (*statement).rtable;
        (0..pg_sys::list_length(list))
            .map(|at| pg_sys::list_nth(list, at).cast_const().cast())
            .collect()
    }
}

/// The functions of an entry.
unsafe fn functions(entry: *const pg_sys::RangeTblEntry) -> Vec<FunctionId> {
    // SAFETY: a list of RangeTblFunction, or null, whose expressions are what their tags say.
    unsafe {
        let list = (*entry).functions;
        (0..pg_sys::list_length(list))
            .filter_map(|at| {
                let function: *const pg_sys::RangeTblFunction = pg_sys::list_nth(list, at).cast();
                let call = (*function).funcexpr;
                ((*call).type_ == NodeTag::T_FuncExpr)
                    .then(|| (*call.cast::<pg_sys::FuncExpr>()).funcid.into())
            })
            .collect()
    }
}
