//! The statement that the client sent.

use pgrx::pg_sys;

/// Whether an argument of a call, from 0, is written in the statement as a value: no parameter and no variable.
pub(crate) fn is_constant(fcinfo: pg_sys::FunctionCallInfo, number: i32) -> bool {
    // SAFETY: PostgreSQL called us with it; nodes are read only after their tags were looked at.
    unsafe {
        let function = (*fcinfo).flinfo;
        let call: *mut pg_sys::FuncExpr = match function.is_null() {
            true => return false,
            false => (*function).fn_expr.cast(),
        };
        if call.is_null()
            || (*call).xpr.type_ != pg_sys::NodeTag::T_FuncExpr
            || pg_sys::list_length((*call).args) <= number
        {
            return false;
        }
        let argument: *mut pg_sys::Node = pg_sys::list_nth((*call).args, number).cast();
        (*argument).type_ == pg_sys::NodeTag::T_Const
    }
}

/// Whether this call is all that its client's statement and transaction are: `SELECT function(…)`, without
/// anything around it, beside it or before it that reads with the same snapshot afterwards. Source:
/// `pquery.c` (the active portal's plans), `portalmem.c`.
///
/// An EXECUTE, and a cursor of a function, have portals with names of their own, and count for more; in the
/// extended protocol another portal may have been bound, and wait to be executed or to go on.
pub(crate) fn is_one_call(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: PostgreSQL called us with it. The active portal lives as long as its statement, which called
    // us; its nodes are read only after their tags were looked at.
    unsafe {
        let portal = pg_sys::ActivePortal;
        if pg_sys::IsTransactionBlock()
            || portal.is_null()
            || *(*portal).name != 0
            || !pg_sys::ThereAreNoReadyPortals()
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
        let function = (*fcinfo).flinfo;
        !function.is_null() && (*function).fn_expr == (*column).expr.cast()
    }
}
