//! The last drain keeps history: what it brings to blue is seen by each snapshot as green's rows are.
//!
//! It runs in the swap's own transaction, which older snapshots do not see. Brought in as by any other
//! round, the last changes would be missing for a transaction that began after the last committed sync and
//! reads the table after the swap, without an error. So, for the keys of the batch:
//!
//! 1. The batch is applied as always, but rows are deleted and inserted, never updated: the versions of a
//!    row in blue are independent of each other.
//! 2. All versions that green has under these keys are read, as their key's index still has them.
//! 3. The earlier ones are written to blue beside the present one.
//! 4. At last each row of blue is given the transactions that made and ended its version in green
//!    ([`crate::pg::stamp`]), and what blue had before under these keys is seen by nobody any more.
//!
//! The caller's own changes have no number that others know: their rows stay as they were written, by
//! our transaction, and what they replaced is ended by it.
//!
//! A try of a swap that is rolled back leaves what was stamped. It is what green has, so that it does no
//! harm; the next round finds it under the same keys of the log and replaces it.
//!
//! Invariant: nothing is stamped before all else of the batch has succeeded.
//! Locks: ACCESS EXCLUSIVE on both tables, so that every transaction that wrote to green has ended.

use std::collections::{BTreeMap, HashMap, HashSet};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;

use crate::catalog;
use crate::ddl::rows::{self, Rows};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::ident::Ident;
use crate::model::deployment::Deployment;
use crate::pg::generated;
use crate::pg::history;
use crate::pg::log::Place;
use crate::pg::security::Identity;
use crate::pg::snapshot::{self, Snapshot};
use crate::pg::spi::{self, Options};
use crate::pg::stamp::{self, Stamp};
use crate::pg::versions::{Begun, Ended, Version, Versions, Xid, is_older, is_ours, newest};
use crate::pg::work::{Column, Work};
use crate::pg::xact::{self, Caught};
use crate::plan::provenance::Origin;
use crate::sync::apply::{self, Failed};
use crate::sync::batch::{Batch, Item};

/// What is left to do when everything else of a batch is done.
#[derive(Default)]
pub struct History {
    blue: u32,
    toast: u32,
    /// Rows that are there in other versions, and the first of the keys that belong together with theirs.
    replaced: Vec<(usize, Place)>,
    /// What a try that was rolled back has left.
    left_over: Vec<Place>,
    /// Rows of the batch, likewise.
    written: Vec<(usize, Row)>,
    /// The same beside the table.
    replaced_chunks: Vec<Place>,
    written_chunks: Vec<(Place, Stamp)>,
    /// The newest transaction that ended a version which was left out, because every snapshot of this
    /// server sees that it has ended: one of a standby may not.
    pub left_out: Option<Xid>,
}

/// Writes the earlier versions of the rows of a batch that has been applied. `class` is the OID of
/// `bluegreen.deployment`.
pub fn keep(
    deployment: &Deployment,
    rows: &Rows<'_>,
    batch: &Batch,
    failed: &[Failed<'_>],
    class: u32,
) -> Result<History> {
    let failed: HashSet<usize> = failed.iter().map(|one| one.item.id).collect();
    // What only our own transaction has changed is exact as it was written, and its log rows go with it.
    let others = batch.story().iter().filter(|(_, by)| !is_ours(*by));
    let by_others: HashSet<usize> =
        others.flat_map(|(event, _)| event.old.into_iter().chain([event.key])).collect();
    let items: Vec<&Item> = batch
        .items
        .iter()
        .filter(|item| by_others.contains(&item.id) && !failed.contains(&item.id))
        .collect();
    if items.is_empty() {
        return Ok(History::default());
    }
    let kept = |items: &[&Item]| {
        xact::subtransaction(|| keep_items(deployment, rows, batch, items, &failed, class))
    };
    match kept(&items) {
        Ok(history) => Ok(history),
        Err(caught) if caught.is_data_error() => {
            kept(&with_a_key_in_blue(deployment, rows, &items)?).or_else(Caught::raise)
        }
        Err(caught) => caught.raise(),
    }
}

fn keep_items(
    deployment: &Deployment,
    rows: &Rows<'_>,
    batch: &Batch,
    items: &[&Item],
    failed: &HashSet<usize>,
    class: u32,
) -> Result<History> {
    with_mapped_keys(deployment, rows, items, |keys| {
        let mut green = Versions::open(deployment.green(), &rows.mapping.from_key.index)?;
        let mut blue = Versions::open(deployment.blue(), &rows.mapping.to_key.index)?;
        let own: Vec<(usize, Vec<Datum>)> = items
            .iter()
            .map(|item| (item.id, item.key.iter().flatten().copied().collect()))
            .collect();
        let live = found(&mut green, &own)?;
        let there = found(&mut blue, keys)?;
        let round = Round {
            deployment,
            rows,
            batch,
            green: &green,
            blue: &blue,
            oldest: blue.oldest(),
            groups: together(batch),
            class,
        };
        round.require_seen(&live, failed)?;
        let mut history = round.replaced(&there, &live);
        round.write_earlier(&mut history, &live, &there)?;
        Ok(history)
    })
}

impl History {
    /// Gives the rows their transactions. Nothing that can fail may come after it in the batch.
    pub fn stamp(&self) {
        let never = |place: &Place| (*place, Stamp::Never);
        // What lies beside a row before the row.
        stamp::stamp(self.toast, self.written_chunks.iter().copied());
        failpoint::reach("drain_chunks_stamped");
        stamp::stamp(self.blue, self.left_over.iter().map(never));
        let made = self.made();
        let (earlier, present): (Vec<_>, Vec<_>) =
            self.written.iter().partition(|(_, row)| matches!(row.ended, Ended::By(_)));
        stamp::stamp(self.blue, earlier.iter().map(|(_, row)| row.stamp(&made)));
        failpoint::reach("drain_earlier_stamped");
        // The old and the new row of a key at once, with those whose keys they have exchanged.
        let mut groups: BTreeMap<usize, Vec<(Place, Stamp)>> = BTreeMap::new();
        for (group, place) in &self.replaced {
            groups.entry(*group).or_default().push((*place, Stamp::Never));
        }
        for (group, row) in present {
            groups.entry(*group).or_default().push(row.stamp(&made));
        }
        let half = groups.len() / 2;
        let mut groups = groups.into_values();
        stamp::stamp_together(self.blue, groups.by_ref().take(half));
        failpoint::reach("drain_half_stamped");
        stamp::stamp_together(self.blue, groups);
        failpoint::reach("drain_rows_stamped");
        stamp::stamp(self.toast, self.replaced_chunks.iter().map(never));
    }

    /// Where the version is that a transaction made under a key.
    fn made(&self) -> HashMap<(usize, Xid), Place> {
        let mut made = HashMap::new();
        for (_, row) in &self.written {
            if let Begun::By(xid) = row.begun {
                made.extend(row.keys.iter().map(|key| ((*key, xid), row.place)));
            }
        }
        made
    }

    fn add(&mut self, group: usize, row: Row, chunks: Vec<Place>) {
        let (_, stamp) = row.stamp(&HashMap::new());
        self.written_chunks.extend(chunks.into_iter().map(|place| (place, stamp)));
        self.written.push((group, row));
    }
}

/// A row of blue that stands for a version of green.
struct Row {
    place: Place,
    /// As in [`Found`].
    keys: Vec<usize>,
    begun: Begun,
    /// As in [`Stamp::Seen`].
    frozen: bool,
    ended: Ended,
}

impl Row {
    /// Its stamp: an earlier version leads to the one that took its place under the same key.
    fn stamp(&self, made: &HashMap<(usize, Xid), Place>) -> (Place, Stamp) {
        let next = match self.ended {
            Ended::By(xid) => self.keys.iter().find_map(|key| made.get(&(*key, xid)).copied()),
            Ended::Ours | Ended::Never => None,
        };
        let Self { begun, frozen, ended, .. } = *self;
        (self.place, Stamp::Seen { begun, frozen, ended, next })
    }
}

/// A version, and the keys of the batch under which it was found: several, if they are equal without being
/// the same.
struct Found {
    keys: Vec<usize>,
    version: Version,
}

fn found(table: &mut Versions, keys: &[(usize, Vec<Datum>)]) -> Result<Vec<Found>> {
    let mut known: HashMap<Place, usize> = HashMap::new();
    let mut all: Vec<Found> = Vec::new();
    for (id, key) in keys {
        for version in table.under(key)? {
            match known.get(&version.place) {
                Some(number) => all[*number].keys.push(*id),
                None => {
                    known.insert(version.place, all.len());
                    all.push(Found { keys: vec![*id], version });
                }
            }
        }
    }
    Ok(all)
}

/// Those items whose key can be put into blue's terms. One that is gone, and cannot, was never in blue.
fn with_a_key_in_blue<'i>(
    deployment: &Deployment,
    rows: &Rows<'_>,
    items: &[&'i Item],
) -> Result<Vec<&'i Item>> {
    let mut left = Vec::new();
    for item in items {
        match xact::subtransaction(|| with_mapped_keys(deployment, rows, &[item], |_| Ok(()))) {
            Ok(()) => left.push(*item),
            Err(caught) if caught.is_data_error() => {}
            Err(caught) => return caught.raise(),
        }
    }
    Ok(left)
}

/// The items' numbers and keys in blue's terms, as long as `work` runs.
fn with_mapped_keys<T>(
    deployment: &Deployment,
    rows: &Rows<'_>,
    items: &[&Item],
    work: impl FnOnce(&[(usize, Vec<Datum>)]) -> Result<T>,
) -> Result<T> {
    let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
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
fn together(batch: &Batch) -> HashMap<usize, usize> {
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
pub fn with_rows_there(
    deployment: &Deployment,
    rows: &Rows<'_>,
    snapshot: &Snapshot,
    batch: Batch,
) -> Result<Batch> {
    if rows.mapping.side_only.is_empty() || !batch.moves_rows() {
        return Ok(batch);
    }
    let _owner = Identity::table_owner(deployment.owner, &deployment.plan.session)?;
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

/// A batch with both tables.
struct Round<'a> {
    deployment: &'a Deployment,
    rows: &'a Rows<'a>,
    batch: &'a Batch,
    green: &'a Versions,
    blue: &'a Versions,
    /// The oldest transaction that may stand in blue.
    oldest: Xid,
    /// The first of the keys that a key belongs together with.
    groups: HashMap<usize, usize>,
    class: u32,
}

impl Round<'_> {
    /// Rows that did not fit before, and do now, have no earlier versions in blue: nobody may be there who
    /// would have to see them.
    fn require_seen(&self, live: &[Found], failed: &HashSet<usize>) -> Result<()> {
        let healed: HashSet<usize> = self
            .batch
            .misfits
            .iter()
            .map(|(key, ..)| *key)
            .filter(|key| !failed.contains(key))
            .collect();
        let versions = live.iter().filter(|one| one.keys.iter().any(|key| healed.contains(key)));
        match newest(versions.flat_map(|one| [begun_by(&one.version), ended_by(&one.version)])) {
            Some(xid) => self.require_no_older(xid),
            None => Ok(()),
        }
    }

    /// Fails, as for a lock that is not to be had, while a snapshot does not see that a transaction has
    /// ended.
    fn require_no_older(&self, xid: Xid) -> Result<()> {
        if snapshot::holders_older_than(self.class, snapshot::full(xid)).is_empty() {
            return Ok(());
        }
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!(
                "a transaction is still running that would see earlier versions of rows of {}, which do not fit into the other table",
                self.deployment.source.plain()
            ),
        ))
    }

    /// What blue has under the batch's keys: rows that this batch wrote, and what was there before.
    fn replaced(&self, there: &[Found], live: &[Found]) -> History {
        let mut history = History {
            blue: self.deployment.blue(),
            toast: self.blue.toast_table(),
            ..History::default()
        };
        let present: HashMap<usize, Begun> = live
            .iter()
            .filter(|one| one.version.ended == Ended::Never && one.version.begun != Begun::Ours)
            .flat_map(|one| one.keys.iter().map(|key| (*key, one.version.begun)))
            .collect();
        for one in there {
            let version = &one.version;
            match (version.begun, version.ended) {
                (Begun::Ours, Ended::Never) => {
                    if let Some(begun) = one.keys.iter().find_map(|key| present.get(key)) {
                        let row = self.row(version.place, one, (*begun, Ended::Never));
                        history.add(self.group(one), row, self.blue.chunks(version));
                    }
                }
                // Written and taken out again, or left as it was.
                (Begun::Ours, _) | (_, Ended::Never) => {}
                (_, Ended::Ours) => {
                    history.replaced.push((self.group(one), version.place));
                    history.replaced_chunks.extend(self.blue.chunks(version));
                }
                // Perhaps of a try that was rolled back.
                (_, Ended::By(_)) => history.left_over.push(version.place),
            }
        }
        history
    }

    fn group(&self, one: &Found) -> usize {
        one.keys.iter().filter_map(|key| self.groups.get(key)).min().copied().unwrap_or_default()
    }

    fn row(&self, place: Place, one: &Found, (begun, ended): (Begun, Ended)) -> Row {
        let frozen = matches!(begun, Begun::By(xid) if is_older(xid, self.oldest));
        Row { place, keys: one.keys.clone(), begun, frozen, ended }
    }

    /// Whether a row of blue was made by who made a version; it may be frozen in one of the tables only.
    fn alike(&self, row: Begun, version: Begun) -> bool {
        let is_old = |begun| match begun {
            Begun::By(xid) => is_older(xid, self.oldest),
            Begun::Frozen => true,
            Begun::Ours => false,
        };
        row == version || (is_old(row) && is_old(version))
    }

    /// Writes the versions that green's present ones have replaced.
    fn write_earlier(&self, history: &mut History, live: &[Found], there: &[Found]) -> Result<()> {
        let horizon = self.green.horizon();
        let mut earlier: Vec<&Found> = Vec::new();
        for one in live {
            let version = &one.version;
            match (version.begun, version.ended) {
                (Begun::Ours, _) | (_, Ended::Never) => {}
                (Begun::By(a), Ended::By(b)) if a == b => {}
                // Long values of a version that nobody here needs may be gone.
                (_, Ended::By(xid))
                    if is_older(xid, self.oldest)
                        || (is_older(xid, horizon) && version.has_external()) =>
                {
                    history.left_out = newest([history.left_out, Some(xid)]);
                }
                _ => earlier.push(one),
            }
        }
        if earlier.is_empty() {
            return Ok(());
        }
        failpoint::reach("drain_earlier");
        let (table, stored) = (self.deployment.blue(), self.rows.mapping.stored());
        let written = generated::written(table, &stored, || self.write(&earlier, there));
        let written = match written {
            Ok(written) => written,
            Err(caught) if caught.is_data_error() => {
                // A version that does not fit, as in a row that was corrected.
                let last = newest(earlier.iter().map(|one| ended_by(&one.version)));
                if let Some(xid) = last {
                    self.require_no_older(xid)?;
                }
                history.left_out = newest([history.left_out, last]);
                return Ok(());
            }
            Err(caught) => return caught.raise(),
        };
        for (place, one) in written {
            let row = if history.toast == 0 { None } else { self.blue.at(place)? };
            let chunks = row.map(|row| self.blue.chunks(&row)).unwrap_or_default();
            let Version { begun, ended, .. } = one.version;
            history.add(self.group(one), self.row(place, one, (begun, ended)), chunks);
        }
        Ok(())
    }

    /// Writes versions of green to blue; each with its place there.
    fn write<'f>(&self, earlier: &[&'f Found], there: &[Found]) -> Result<Vec<(Place, &'f Found)>> {
        let (columns, side) = {
            let _us = Identity::extension()?;
            let columns = catalog::columns(self.deployment.green())?;
            (columns, self.side_columns()?)
        };
        if columns.iter().any(|column| column.generated == "v") {
            return Err(Error::unsupported("values of virtual columns are not stored"));
        }
        let lineage = if side.is_empty() { HashMap::new() } else { self.batch.lineages() };
        let mut alone = Group::new(&columns, &[])?;
        let mut with_side = Group::new(&columns, &side)?;
        for one in earlier {
            let values = self.green.values(&one.version);
            let mut row: Vec<Option<Datum>> =
                columns.iter().map(|c| values[c.attnum as usize - 1]).collect();
            match self.row_before(one, there, &lineage).filter(|_| !side.is_empty()) {
                Some(before) => {
                    let before = self.blue.values(&before.version);
                    row.extend(side.iter().map(|c| before[c.attnum as usize - 1]));
                    with_side.push(&row, one);
                }
                None => alone.push(&row, one),
            }
        }
        let _owner = Identity::table_owner(self.deployment.owner, &self.deployment.plan.session)?;
        let mut written = alone.write(self.deployment.blue(), &self.rows.write_versions(false))?;
        let sql = self.rows.write_versions(true);
        written.extend(with_side.write(self.deployment.blue(), &sql)?);
        Ok(written)
    }

    /// Blue's columns that green has no value for, in the mapping's order.
    fn side_columns(&self) -> Result<Vec<catalog::Column>> {
        let names = &self.rows.mapping.side_only;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let columns = catalog::columns(self.deployment.blue())?;
        let of = |name: &Ident| columns.iter().find(|c| c.name == *name).cloned();
        names
            .iter()
            .map(|name| of(name).ok_or_else(|| Error::state(format!("column {name} is missing"))))
            .collect()
    }

    /// Blue's row, before the batch, that a version of green belongs to.
    fn row_before<'f>(
        &self,
        one: &Found,
        there: &'f [Found],
        lineage: &HashMap<(usize, u32), Origin>,
    ) -> Option<&'f Found> {
        let shares = |row: &Found, keys: &[usize]| row.keys.iter().any(|key| keys.contains(key));
        // Of a try that was rolled back: the same version.
        let left = there.iter().find(|row| {
            self.alike(row.version.begun, one.version.begun)
                && row.version.ended == one.version.ended
                && shares(row, &one.keys)
        });
        if left.is_some() {
            return left;
        }
        let by = begun_by(&one.version).map(Xid::into_inner);
        let known = by.and_then(|by| one.keys.iter().find_map(|key| lineage.get(&(*key, by))));
        let keys = match known {
            Some(Origin::From(key)) => vec![*key],
            Some(Origin::Fresh | Origin::Gone) => return None,
            None => one.keys.clone(),
        };
        there.iter().find(|row| {
            row.version.begun != Begun::Ours
                && row.version.ended == Ended::Ours
                && shares(row, &keys)
        })
    }
}

fn begun_by(version: &Version) -> Option<Xid> {
    match version.begun {
        Begun::By(xid) => Some(xid),
        Begun::Ours | Begun::Frozen => None,
    }
}

fn ended_by(version: &Version) -> Option<Xid> {
    match version.ended {
        Ended::By(xid) => Some(xid),
        Ended::Ours | Ended::Never => None,
    }
}

/// Versions that are written by one statement.
struct Group<'f> {
    work: Work,
    versions: Vec<&'f Found>,
}

impl<'f> Group<'f> {
    fn new(columns: &[catalog::Column], side: &[catalog::Column]) -> Result<Self> {
        let column = |c: &catalog::Column, name: String| Column {
            name,
            type_oid: c.type_oid,
            collation: c.collation,
        };
        let own = columns.iter().map(|c| column(c, c.name.as_str().to_owned()));
        let side = side.iter().enumerate().map(|(i, c)| column(c, rows::side_column(i)));
        let work = Work::new(rows::VERSIONS, &own.chain(side).collect::<Vec<_>>())?;
        Ok(Self { work, versions: Vec::new() })
    }

    fn push(&mut self, row: &[Option<Datum>], version: &'f Found) {
        self.work.push(row);
        self.versions.push(version);
    }

    fn write(self, table: u32, sql: &str) -> Result<Vec<(Place, &'f Found)>> {
        if self.versions.is_empty() {
            return Ok(Vec::new());
        }
        let places = history::insert(sql, &self.work, table)?;
        Ok(places.into_iter().zip(self.versions).collect())
    }
}
