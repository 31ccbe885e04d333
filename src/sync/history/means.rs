//! How history is kept, and what it needs.

use crate::catalog;
use crate::error::Result;
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

/// Whether green stores the values of all its columns: of others there are none of earlier versions.
pub(crate) fn stores_all(member: &Member) -> Result<bool> {
    // The server has had virtual columns since 18.
    if !cfg!(feature = "pg18") {
        return Ok(true);
    }
    let _us = Identity::extension()?;
    Ok(catalog::columns(member.green())?.iter().all(|column| column.generated != "v"))
}
