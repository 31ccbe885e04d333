//! How history is kept, and what it needs.

use crate::catalog::{self, Column};
use crate::error::Result;
use crate::ident::Ident;
use crate::model::member::Member;
use crate::oid::RelationId;
use crate::pg::lock::{self, Mode};
use crate::pg::security::Identity;
use crate::pg::syscache;

/// How history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Means {
    /// `bluegreen.member`, by which those are known who need not be asked for their snapshots.
    pub class: RelationId,
    /// Nobody else writes to green, and other servers are to see the same: the last drain.
    pub last: bool,
}

/// Locks blue for a round before the swap, if nobody is there. Who read it in the middle of the stamps would
/// find rows twice or not at all; and a VACUUM would say that no transaction is left in blue which is as old as
/// some that are to be written there.
///
/// Locks: ACCESS EXCLUSIVE on blue, SHARE UPDATE EXCLUSIVE on its TOAST table, until the transaction ends.
pub(crate) fn lock_at_once(member: &Member) -> bool {
    let blue = member.blue();
    let at_once = |toast| lock::relation_at_once(toast, Mode::ShareUpdateExclusive);
    lock::relation_at_once(blue, Mode::AccessExclusive)
        && syscache::toast_table(blue).is_none_or(at_once)
}

/// Whether blue's values come only from columns that green stores. A version has none of a virtual column: the
/// server computes it where it reads the table, and here we read the tuples ourselves. (Blue's virtual columns, and
/// what is checked of them, the server computes of the values that the row gets there.)
pub(crate) fn needs_only_stored(member: &Member) -> Result<bool> {
    // The server has had virtual columns since 18.
    if !cfg!(feature = "pg18") {
        return Ok(true);
    }
    let _us = Identity::extension()?;
    let columns = catalog::columns(member.green())?.into_iter();
    let computed: Vec<Ident> = columns.filter(Column::is_virtual).map(|c| c.name).collect();
    Ok(!member.mapping().may_read(&computed))
}
