//! The keys of a batch: in blue's terms, and which of them belong together.

use std::collections::HashMap;

use pgrx::pg_sys::Datum;

use crate::ddl::rows::Rows;
use crate::error::Result;
use crate::model::member::Member;
use crate::pg::lookup::Planned;
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::{self, Options};
use crate::pg::xact;
use crate::sync::apply;
use crate::sync::batch::{Batch, Item};

/// Those items whose key can be put into blue's terms. One that is gone, and cannot, was never in blue.
pub(super) fn with_a_key_in_blue<'i>(
    member: &Member,
    rows: &Rows<'_>,
    items: &[&'i Item],
) -> Result<Vec<&'i Item>> {
    let mut left = Vec::new();
    for item in items {
        match xact::subtransaction(|| with_mapped_keys(member, rows, &[item], |_| Ok(()))) {
            Ok(()) => left.push(*item),
            Err(caught) if caught.is_data_error() => {}
            Err(caught) => return caught.raise(),
        }
    }
    Ok(left)
}

/// The items' numbers and keys in blue's terms, as long as `work` runs.
pub(super) fn with_mapped_keys<T>(
    member: &Member,
    rows: &Rows<'_>,
    items: &[&Item],
    work: impl FnOnce(&[(usize, Vec<Datum>)]) -> Result<T>,
) -> Result<T> {
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    let numbered = apply::work_of(rows, items)?;
    let options = Options { work: &[&numbered], ..Options::default() };
    spi::with_rows(&rows.map_numbered_keys(), &[], options, |found, _| {
        let columns = rows.mapping.to_key.columns.len();
        let keys: Vec<_> = (0..found.len())
            .filter_map(|row| {
                let id: i64 = found.get(row, 1)?;
                let key: Option<Vec<_>> = (0..columns).map(|i| found.datum(row, 2 + i)).collect();
                Some((id as usize, key?))
            })
            .collect();
        work(&keys)
    })
}

/// For each key the first of those between which rows have moved.
pub(super) fn together(batch: &Batch) -> HashMap<usize, usize> {
    let mut first: HashMap<usize, usize> = HashMap::new();
    let find = |first: &HashMap<usize, usize>, mut key: usize| {
        while let Some(next) = first.get(&key).filter(|next| **next != key) {
            key = *next;
        }
        key
    };
    for (event, _) in batch.story() {
        if let Some(old) = event.old {
            let (a, b) = (find(&first, old), find(&first, event.key));
            first.insert(a.max(b), a.min(b));
        }
    }
    batch.items.iter().map(|item| (item.id, find(&first, item.id))).collect()
}

/// Blue's rows that are already what a transaction of the batch made of them, because a try of a swap was
/// rolled back after they were stamped: matters for columns that only blue has, where a key has changed.
pub(crate) fn with_rows_there(
    member: &Member,
    rows: &Rows<'_>,
    snapshot: &Snapshot,
    batch: Batch,
) -> Result<Batch> {
    if rows.mapping.side_only.is_empty() || !batch.moves_rows() {
        return Ok(batch);
    }
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    let _planned = Planned::by_key(&member.keyed())?;
    let made_by = |items: &[&Item]| {
        xact::subtransaction(|| {
            let work = apply::work_of(rows, items)?;
            let options =
                Options { snapshot: Some(snapshot), work: &[&work], ..Options::default() };
            spi::with_rows(&rows.made_by(), &[], options, |found, _| {
                let row = |row| {
                    let id: i64 = found.get(row, 1)?;
                    Some((id as usize, found.datum(row, 2)?.value() as u32))
                };
                Ok((0..found.len()).filter_map(row).collect::<Vec<_>>())
            })
        })
    };
    let all: Vec<&Item> = batch.items.iter().collect();
    let found = match made_by(&all) {
        Ok(found) => found,
        // A key that cannot be put into blue's terms has no row there.
        Err(caught) if caught.is_data_error() => {
            let mut found = Vec::new();
            for item in all {
                match made_by(&[item]) {
                    Ok(one) => found.extend(one),
                    Err(caught) if caught.is_data_error() => {}
                    Err(caught) => return caught.raise(),
                }
            }
            found
        }
        Err(caught) => return caught.raise(),
    };
    Ok(batch.with_rows_there(found))
}
