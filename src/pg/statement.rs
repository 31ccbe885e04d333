//! The statement that the client sent.

use std::ffi::CStr;

use pgrx::pg_sys;

/// Whether it is `SELECT function(…)` and nothing else, one of these functions of our extension, and the
/// whole transaction. Source: `pquery.c` (the active portal's plans).
pub fn is_one_call(functions: &[&CStr]) -> bool {
    // SAFETY: the active portal lives as long as its statement, which called us; its nodes are read only
    // after their tags were looked at.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if pg_sys::IsTransactionBlock()
            || portal.is_null()
            || pg_sys::list_length((*portal).stmts) != 1
        {
            return false;
        }
        let statement: *mut pg_sys::PlannedStmt = pg_sys::list_nth((*portal).stmts, 0).cast();
        if (*statement).type_ != pg_sys::NodeTag::T_PlannedStmt
            || (*statement).commandType != pg_sys::CmdType::CMD_SELECT
            || !(*statement).subplans.is_null()
        {
            return false;
        }
        let plan = (*statement).planTree;
        if (*plan).type_ != pg_sys::NodeTag::T_Result
            || !(*plan).lefttree.is_null()
            || pg_sys::list_length((*plan).targetlist) != 1
        {
            return false;
        }
        let column: *mut pg_sys::TargetEntry = pg_sys::list_nth((*plan).targetlist, 0).cast();
        let call: *mut pg_sys::FuncExpr = (*column).expr.cast();
        (*call).xpr.type_ == pg_sys::NodeTag::T_FuncExpr && is_ours((*call).funcid, functions)
    }
}

unsafe fn is_ours(function: pg_sys::Oid, functions: &[&CStr]) -> bool {
    // SAFETY: catalog cache look-ups; the name is palloc'd or null.
    unsafe {
        let name = pg_sys::get_func_name(function);
        let extension = pg_sys::get_extension_oid(c"pg_bluegreen".as_ptr(), true);
        !name.is_null()
            && functions.contains(&CStr::from_ptr(name))
            && pg_sys::getExtensionOfObject(pg_sys::ProcedureRelationId, function) == extension
    }
}
