//! An expression over the columns of a table, analyzed by the server.

use super::columns;

use super::raw;
use super::select::{self, ONE_EXPRESSION};
use crate::error::{Error, Result};
use crate::ident::Ident;
use pgrx::pg_sys;
use std::ptr;

/// Where names are searched when an expression that was written down is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Search<'a> {
    /// Not known yet: what is written is not proved to be read as the same.
    Unknown,
    /// In pg_catalog, then in these schemas.
    Then(&'a [Ident]),
}

/// An open relation; closed when dropped, while its lock stays to the transaction's end.
pub(super) struct Open(pg_sys::Relation);

impl Open {
    pub(super) fn new(relation: pg_sys::Oid) -> Self {
        // ACCESS SHARE, as a SELECT takes it: the columns cannot change under the expression.
        // SAFETY: raises where the OID is no table's; the result is never null.
        Self(unsafe { pg_sys::table_open(relation, pg_sys::AccessShareLock as i32) })
    }

    /// The relation's OID and name.
    pub(super) fn oid_and_name(&self) -> (pg_sys::Oid, *const std::ffi::c_char) {
        // SAFETY: an open relation has its pg_class row, which lives as long as it is open.
        unsafe { ((*self.0).rd_id, (&raw const (*(*self.0).rd_rel).relname.data).cast()) }
    }

    /// A variable for one of its columns.
    pub(super) fn variable(&self, column: i16) -> Result<*mut pg_sys::Var> {
        let (relation, _) = self.oid_and_name();
        let (mut type_oid, mut typmod, mut collation) =
            (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
        // SAFETY: the relation is open and locked, so its attributes stay; a dropped one has no
        // type. The three places are written before they are read.
        unsafe {
            if column <= 0 || pg_sys::get_atttype(relation, column) == pg_sys::InvalidOid {
                return Err(Error::internal(format!("the relation has no column number {column}")));
            }
            pg_sys::get_atttypetypmodcoll(
                relation,
                column,
                &mut type_oid,
                &mut typmod,
                &mut collation,
            );
            Ok(pg_sys::makeVar(1, column, type_oid, typmod, collation, 0))
        }
    }

    /// A new parse state in which the relation is the only one, as range table entry 1.
    ///
    /// # Safety
    /// What is returned lives in the current memory context.
    pub(super) unsafe fn parse_state(
        &self,
    ) -> (*mut pg_sys::ParseState, *mut pg_sys::ParseNamespaceItem) {
        // SAFETY: the relation is open and locked as the entry says.
        unsafe {
            let pstate = pg_sys::make_parsestate(ptr::null_mut());
            let item = pg_sys::addRangeTableEntryForRelation(
                pstate,
                self.0,
                pg_sys::AccessShareLock as i32,
                ptr::null_mut(),
                false,
                true,
            );
            pg_sys::addNSItemToQuery(pstate, item, true, true, true);
            (pstate, item)
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: opened by us, closed once.
        unsafe { pg_sys::table_close(self.0, pg_sys::NoLock as i32) }
    }
}

/// Parses one target expression and resolves its names.
///
/// # Safety
/// What is returned lives in the current memory context.
pub(super) unsafe fn transform(
    text: &str,
    what: &str,
    open: &Open,
    names: Option<&[(i16, String)]>,
) -> Result<(*mut pg_sys::ParseState, *mut pg_sys::Node)> {
    // SAFETY: the trees are the server's, in the current context; nothing else reads them.
    unsafe {
        let target = select::target(text, what)?;
        let (pstate, item) = open.parse_state();
        rename((*item).p_names, names.unwrap_or_default())?;
        let kind = pg_sys::ParseExprKind::EXPR_KIND_SELECT_TARGET;
        let expr = pg_sys::transformExpr(pstate, target, kind);
        refuse_beyond_row(&*pstate, what)?;
        columns::columns(expr, what)?;
        Ok((pstate, expr))
    }
}

/// Gives columns the names that the user knows them by.
///
/// # Safety
/// The names are those of an entry that we have just made.
unsafe fn rename(alias: *mut pg_sys::Alias, names: &[(i16, String)]) -> Result<()> {
    // SAFETY: the names are a list of String nodes, one per attribute, made for this entry.
    unsafe {
        for (at, node) in raw::members((*alias).colnames).enumerate() {
            let found = names.iter().find(|(number, _)| usize::try_from(*number) == Ok(at + 1));
            if let (Some((_, name)), true) = (found, raw::cast::<pg_sys::String, _>(node).is_some())
            {
                let name = raw::c_string(name, "a column's name")?;
                (*node.cast::<pg_sys::String>()).sval = pg_sys::pstrdup(name.as_ptr());
            }
        }
    }
    Ok(())
}

/// Refuses what looks beyond the row.
fn refuse_beyond_row(pstate: &pg_sys::ParseState, what: &str) -> Result<()> {
    let found = if pstate.p_hasSubLinks {
        "a subquery"
    } else if pstate.p_hasAggs {
        "an aggregate function"
    } else if pstate.p_hasWindowFuncs {
        "a window function"
    } else if pstate.p_hasTargetSRFs {
        "a set-returning function"
    } else {
        return Ok(());
    };
    Err(Error::unsupported(format!("{what} cannot contain {found}")).hint(ONE_EXPRESSION))
}
