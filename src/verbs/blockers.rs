//! bg_blockers: who would make a swap of the table wait.

use crate::catalog::{self, Blocker};
use crate::error::Result;
use crate::guard::access;
use crate::oid::RelationId;
use crate::pg::security::Identity;
use crate::state::store;
use crate::verbs::swap;

/// Who holds what a swap needs of a table: locks, or a snapshot older than the last large sync. Without a deployment:
/// locks on the table.
pub(crate) fn blockers(relation: RelationId) -> Result<Vec<Blocker>> {
    let caller = access::caller();
    let _us = Identity::extension()?;
    let table = catalog::existing_table(relation)?;
    access::require_owner(caller, table.owner, &table.qualified().plain())?;
    let (relations, xid) = match store::find(relation)?.filter(|member| member.phase.is_open()) {
        Some(member) => {
            let d = store::read(member.id)?;
            (swap::relations(&d)?, d.drain_xid())
        }
        None => (vec![relation], 0),
    };
    catalog::blockers(&relations, xid, caller)
}
