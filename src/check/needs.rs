//! What a deployment will write, and how many locks its swap will take.

use crate::catalog::directory::{LockTable, Sizes};
use crate::model::finding::Finding;
use crate::model::member::Member;
use crate::model::server_load::Volume;

/// Locks that every swap takes: both tables with their TOAST tables, the logs, our own tables with their
/// indexes, schemas and catalogs.
const OF_A_SWAP: usize = 80;
/// Locks for each object that is taken off or put on: the object, its triggers or its index, what it is on.
const OF_A_MOVE: usize = 8;
/// Locks for each view or function that changes its place, of both sides, with its type and rule.
const OF_A_COPY: usize = 8;
/// Locks for each partition of a table at the other end of a foreign key: the partition, and the key's
/// constraint and triggers there.
const OF_A_PARTITION: usize = 6;
/// A swap that takes more than this part of the room, as a divisor, is warned of: others need locks too.
const COMFORTABLE: i64 = 2;

/// What is known of what is needed.
pub(crate) struct Needs<'a> {
    /// What would be made.
    pub member: &'a Member,
    /// The live table's indexes.
    pub live_indexes: usize,
    /// Partitions of the tables at the other end of foreign keys.
    pub partitions: usize,
    /// Rows of an UNLOGGED table are not in the WAL.
    pub is_logged: bool,
    /// Where it is written.
    pub volumes: &'a [Volume],
    /// How much.
    pub sizes: Sizes,
    /// The server's lock table.
    pub lock_table: LockTable,
}

/// A note with the numbers; a warning where the locks are many.
pub(crate) fn findings(needs: &Needs<'_>) -> Vec<Finding> {
    let table = needs.member.source.plain();
    let locks = locks(needs);
    let LockTable { room, held } = needs.lock_table;
    let written: Vec<_> = needs.volumes.iter().filter(|v| v.needed > 0).map(disk).collect();
    let mut parts = vec![match written.is_empty() {
        true => "nearly nothing".to_owned(),
        false => written.join(" and "),
    }];
    if needs.is_logged {
        let free = needs.volumes.iter().find(|v| v.name == "pg_wal");
        let free = free.map_or(String::new(), |v| format!(" ({} free)", size(v.free)));
        parts.push(format!("about {} of WAL{free}", size(needs.sizes.table + needs.sizes.indexes)));
    }
    let mut found = vec![Finding::note(
        "needs",
        &table,
        format!(
            "a deployment of {table} writes {}; its swap takes about {locks} of {room} locks",
            parts.join(", ")
        ),
        "Keep that room until bg_finish, and some for the change log, which has a row for each write until it is synced.",
    )];
    if i64::try_from(locks).unwrap_or(i64::MAX) > (room - held) / COMFORTABLE {
        found.push(Finding::warning(
            "locks",
            &table,
            format!(
                "the swap of {table} takes about {locks} locks, and the server has room for {room}, of which {held} are taken: it may fail with \"out of shared memory\", or others may"
            ),
            "Increase max_locks_per_transaction and restart the server first, or swap when few sessions hold locks.",
        ));
    }
    found
}

/// How many locks a swap takes, about, and rather too many: see `relations` in `verbs/swap.rs`.
fn locks(needs: &Needs<'_>) -> usize {
    let Member { plan, .. } = needs.member;
    let twins = plan.dependents.copies.iter().filter(|copy| copy.kind.lives_in_schema()).count();
    let parts = plan.dependents.copies.len() - twins;
    OF_A_SWAP
        + needs.live_indexes
        + plan.indexes.len()
        + 2 * plan.sequences.len()
        + OF_A_COPY * twins
        + parts
        + OF_A_MOVE * plan.dependents.moves.len()
        + OF_A_PARTITION * needs.partitions
}

fn disk(volume: &Volume) -> String {
    format!("about {} in {} ({} free)", size(volume.needed), volume.name, size(volume.free))
}

/// Bytes, for people.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes.max(0).div_euclid(1024), 0);
    while value >= 10 * 1024 && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_the_unit_that_leaves_some_digits() {
        assert_eq!([0, 8192, 12 << 20, 2 << 40].map(size), ["0 kB", "8 kB", "12 MB", "2048 GB"]);
    }
}
