//! Rounds that keep history: what they bring to blue is seen by each snapshot as green's rows are.
//!
//! Brought in as by other rounds, changes would be missing for a transaction that has a snapshot from before
//! the round's commit and reads the table after the swap, without an error. The last drain runs in the swap's
//! own transaction, so it always keeps history. A short round before it does so where it can, and the swap has
//! fewer snapshots to wait for: only those from before the last round that did not. For the keys of the batch:
//!
//! 1. The batch is applied as always, but rows are deleted and inserted, never updated: the versions of a
//!    row in blue are independent of each other.
//! 2. All versions that green has under these keys are read, as their key's index still has them.
//! 3. The earlier ones are written to blue beside the present one.
//! 4. At last each row of blue is given the transactions that made and ended its version in green
//!    ([`crate::heap::stamp`]), and what blue had before under these keys is seen by nobody any more.
//!
//! The caller's own changes have no number that others know: their rows stay as they were written, by
//! our transaction, and what they replaced is ended by it. A key that nobody else has changed is left alone.
//!
//! A round that is rolled back leaves what was stamped. It is what green has, so that it does no harm; the
//! next round finds it under the same keys of the log and replaces it.
//!
//! Others may write to green meanwhile. What the round's snapshot does not see has not happened for it: neither
//! is it in the batch, nor in the versions that are read.
//!
//! Invariant: nothing is stamped before all else of the batch has succeeded.
//! Locks: ACCESS EXCLUSIVE on blue, and on green in the swap; SHARE UPDATE EXCLUSIVE on blue's TOAST table, and
//! on green's in the swap.

mod keys;
mod means;
mod pending;
mod round;
mod write;

use std::collections::HashSet;

use crate::error::Result;
use crate::failpoint;
use crate::heap::versions::Ended;
use crate::heap::versions::is_ours;
use crate::oid::RelationId;
use crate::pg::xact::{self, SubtransactionError};
use crate::sync::apply::Failed;
use crate::sync::batch::{Batch, Item};
use crate::sync::tables::Tables;
use pending::History;
use round::{Round, is_newer, last_change};

pub(super) use keys::with_rows_there;
pub(super) use means::{Means, lock_at_once, needs_only_stored};

/// Writes the earlier versions of the rows of a batch that has been applied. What `snapshot` does not see has
/// not happened yet.
pub(super) fn keep(
    tables: Tables<'_>,
    batch: &Batch,
    failed: &[Failed<'_>],
    means: Means,
) -> Result<History> {
    let Tables { member, rows, .. } = tables;
    // A row that could not go where it went stays where it was.
    let failed: HashSet<usize> = failed
        .iter()
        .flat_map(|one| one.stays.into_iter().chain([one.item]))
        .map(|item| item.id)
        .collect();
    // What only our own transaction has changed is exact as it was written, and its log rows go with it.
    let others = batch.story().iter().filter(|(_, by)| !is_ours(*by));
    let changed = others.flat_map(|(event, _)| event.old.into_iter().chain([event.key]));
    // A misfit that this very transaction has recorded looks like a change of its own.
    let tried = batch.misfits.iter().flat_map(|marked| marked.old.into_iter().chain([marked.key]));
    let by_others: HashSet<usize> = changed.chain(tried).collect();
    let items: Vec<&Item> = batch
        .items
        .iter()
        .filter(|item| by_others.contains(&item.id) && !failed.contains(&item.id))
        .collect();
    if items.is_empty() {
        return Ok(History::default());
    }
    let kept = |items: &[&Item]| {
        xact::subtransaction(|| {
            keys::with_mapped_keys(member, rows, items, |mapped| {
                history(&Round::read(tables, batch, means, items, mapped)?, &failed)
            })
        })
    };
    match kept(&items) {
        Ok(history) => Ok(history),
        Err(caught) if caught.is_data_error() => {
            let items = keys::with_a_key_in_blue(member, rows, &items)?;
            kept(&items).or_else(SubtransactionError::raise)
        }
        Err(caught) => caught.raise(),
    }
}

/// Writes the earlier versions, and says what is to be stamped. `failed` are keys whose rows could not
/// be written.
fn history(round: &Round<'_>, failed: &HashSet<usize>) -> Result<History> {
    let mut history = History {
        blue: round.tables.member.blue(),
        toast: round.blue.toast_table(),
        ..History::default()
    };
    round.require_no_older(round.healed(failed))?;
    let earlier = round.earlier(&mut history);
    if !earlier.is_empty() {
        failpoint::reach("drain_earlier");
    }
    let (written, unfit) = write::versions(round, &earlier)?;
    // A version that does not fit, as of a row that was corrected since, is missing for those who would
    // have to see it.
    let missed = unfit.iter().map(|one| last_change(&one.version)).max().unwrap_or_default();
    history.left_out = history.left_out.max(missed);
    // What would take the old row's place if we were rolled back is not there: the old row stays.
    let left_alone: HashSet<usize> = unfit
        .iter()
        .filter(|one| one.version.ended == Ended::Ours)
        .map(|one| round.group(one))
        .collect();
    for (place, one) in written {
        if left_alone.contains(&round.group(one)) {
            history.left_over.push(place);
            continue;
        }
        let row = if history.toast == RelationId::INVALID { None } else { round.blue.at(place) };
        let chunks = row.map(|row| round.blue.chunks(&row)).unwrap_or_default();
        round.add(&mut history, place, one, &one.version, chunks);
    }
    round.replace(&mut history, &left_alone);
    // What is left out or frozen has to be seen by everybody here.
    let unseen = if is_newer(history.left_out, round.horizon) { history.left_out } else { 0 };
    round.require_no_older(unseen.max(missed))?;
    Ok(history)
}
