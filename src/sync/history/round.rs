//! A batch with both tables: what green has under its keys, and what blue has.

use std::collections::{HashMap, HashSet};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;

use crate::error::{Error, ErrorKind, Result};
use crate::heap::versions::Begun;
use crate::heap::versions::Beside;
use crate::heap::versions::Ended;
use crate::heap::versions::Version;
use crate::heap::versions::Versions;
use crate::heap::versions::Xid;
use crate::heap::versions::is_older;
use crate::pg::snapshot;
use crate::pg::tid::Place;
use crate::pg::xact;
use crate::sync::batch::{Batch, Item};
use crate::sync::history::keys;
use crate::sync::history::means::Means;
use crate::sync::history::pending::{History, Row};
use crate::sync::tables::Tables;

/// A version, and the keys of the batch under which it was found: several, if they are equal without being
/// the same.
pub(super) struct Found {
    pub(super) keys: Vec<usize>,
    pub(super) version: Version,
}

/// Versions of one key of which all are kept, also those that nobody on this server sees any more: somebody on
/// a standby may.
const ALL_OF_A_KEY: usize = 50;
/// Versions that are read for each key of a batch, on average, and how many more for the whole batch.
const FOR_EACH_KEY: usize = 16;
const FOR_A_BATCH: usize = 2_000;

/// The versions under the keys, `each` and `most` as in [`Versions::under`]; None: there are more.
fn found(
    table: &mut Versions<'_>,
    keys: &[(usize, Vec<Datum>)],
    each: usize,
    most: usize,
) -> Option<Vec<Found>> {
    let mut known: HashMap<Place, usize> = HashMap::new();
    let mut all: Vec<Found> = Vec::new();
    for (id, key) in keys {
        let left = most.checked_sub(all.len())?;
        for version in table.under(key, each, left)? {
            match known.get(&version.place) {
                Some(number) => all[*number].keys.push(*id),
                None => {
                    known.insert(version.place, all.len());
                    all.push(Found { keys: vec![*id], version });
                }
            }
        }
    }
    Some(all)
}

/// A batch with both tables.
pub(super) struct Round<'a> {
    pub(super) tables: Tables<'a>,
    pub(super) batch: &'a Batch,
    pub(super) green: Versions<'a>,
    pub(super) blue: Versions<'a>,
    /// Green's versions.
    live: Vec<Found>,
    /// Which of them is at a place.
    places: HashMap<Place, usize>,
    /// Blue's: what the batch wrote, and what was there before.
    pub(super) there: Vec<Found>,
    /// The oldest transaction that may stand in blue.
    oldest: Xid,
    /// From this one on a transaction may not be seen by every snapshot of this server.
    pub(super) horizon: Xid,
    /// The first of the keys that a key belongs together with.
    groups: HashMap<usize, usize>,
    means: Means,
}

impl<'a> Round<'a> {
    /// Reads both; `mapped` are the items' keys in blue's terms.
    pub(super) fn read(
        tables: Tables<'a>,
        batch: &'a Batch,
        means: Means,
        items: &[&Item],
        mapped: &[(usize, Vec<Datum>)],
    ) -> Result<Self> {
        let Tables { member, rows, snapshot } = tables;
        let index = &rows.mapping.from_key.index;
        let beside = if means.last { Beside::VacuumKeptOut } else { Beside::Vacuum };
        let mut green = Versions::open(member.green(), index, snapshot, beside)?;
        let index = &rows.mapping.to_key.index;
        let mut blue = Versions::open(member.blue(), index, snapshot, Beside::VacuumKeptOut)?;
        let own: Vec<(usize, Vec<Datum>)> = items
            .iter()
            .map(|item| (item.id, item.key.iter().flatten().copied().collect()))
            .collect();
        // A row that is changed all the time has many, while somebody has an old snapshot.
        let most = items.len() * FOR_EACH_KEY + FOR_A_BATCH;
        let too_many = || {
            Error::new(
                PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                format!(
                    "a transaction is still running that may see some of more than {most} earlier versions of rows of {} which have changed again and again",
                    member.source.plain()
                ),
            )
            .kind(ErrorKind::InTheWay)
        };
        // Before the last drain standbys have no say: it costs too much to write what only they may see.
        let each = if means.last { ALL_OF_A_KEY } else { 0 };
        let live = found(&mut green, &own, each, most).ok_or_else(too_many)?;
        let most = if means.last { usize::MAX } else { most };
        let there = found(&mut blue, mapped, usize::MAX, most).ok_or_else(too_many)?;
        let (oldest, horizon) = (blue.oldest(), green.horizon());
        let groups = keys::together(batch);
        let places = live.iter().enumerate().map(|(at, one)| (one.version.place, at)).collect();
        Ok(Self { tables, batch, green, blue, live, places, there, oldest, horizon, groups, means })
    }

    /// The last change of rows that did not fit before, and do now: blue has no earlier versions of them.
    pub(super) fn healed(&self, failed: &HashSet<usize>) -> u64 {
        let tried = self.batch.misfits.iter().map(|marked| marked.key);
        let healed: HashSet<usize> = tried.filter(|key| !failed.contains(key)).collect();
        let versions =
            self.live.iter().filter(|one| one.keys.iter().any(|key| healed.contains(key)));
        versions.map(|one| last_change(&one.version)).max().unwrap_or_default()
    }

    /// Fails, as for a lock that is not to be had, while a snapshot does not see that a transaction has
    /// ended; 0 is none.
    pub(super) fn require_no_older(&self, xid: u64) -> Result<()> {
        if xid == 0 {
            return Ok(());
        }
        let holders = snapshot::holders_older_than(self.means.class, xid);
        if holders.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!(
                "a transaction is still running that would have to see earlier versions of rows of {}, which the other table cannot have",
                self.tables.member.source.plain()
            ),
        )
        .kind(ErrorKind::InTheWay)
        .detail(format!(
            "It is, as pg_locks.virtualtransaction has it: {}.",
            holders.iter().map(|(backend, number)| format!("{backend}/{number}")).collect::<Vec<_>>().join(", ")
        )))
    }

    /// The versions that have to be written: those that somebody may see, and that are not the present ones.
    pub(super) fn earlier(&self, history: &mut History) -> Vec<&Found> {
        let mut earlier = Vec::new();
        let passed_over = self.green.passed_over().map_or(0, snapshot::full);
        history.left_out = history.left_out.max(passed_over);
        for one in &self.live {
            let version = &one.version;
            match (version.begun, version.ended) {
                (Begun::Ours, _) | (_, Ended::Never) => {}
                (Begun::By(a), Ended::By(b)) if a == b => {}
                // Long values of a version that nobody here needs may be gone.
                (_, Ended::By(xid))
                    if is_older(xid, self.oldest)
                        || (is_older(xid, self.horizon) && version.has_external()) =>
                {
                    history.left_out = history.left_out.max(snapshot::full(xid));
                }
                _ => earlier.push(one),
            }
        }
        earlier
    }

    /// What blue has under the batch's keys: rows that this batch wrote, and what was there before.
    pub(super) fn replace(&self, history: &mut History, left_alone: &HashSet<usize>) {
        let present: HashMap<usize, &Version> = self
            .live
            .iter()
            .filter(|one| one.version.ended == Ended::Never && one.version.begun != Begun::Ours)
            .flat_map(|one| one.keys.iter().map(|key| (*key, &one.version)))
            .collect();
        // A row that was not taken out may be found through the beginning of its HOT chain only.
        let stays =
            |one: &&Found| one.version.ended == Ended::Never && one.version.begun != Begun::Ours;
        let stay: HashSet<usize> =
            self.there.iter().filter(stays).map(|one| self.group(one)).collect();
        for one in self.there.iter().filter(|one| !left_alone.contains(&self.group(one))) {
            let version = &one.version;
            match (version.begun, version.ended) {
                // Written and taken out again. Between two others of one HOT chain it would be left without a
                // beginning.
                (Begun::Ours, Ended::Ours) if !stay.contains(&self.group(one)) => {
                    history.ended_before.push((version.place, version.number));
                }
                (Begun::Ours, Ended::Never) => {
                    if let Some(live) = one.keys.iter().find_map(|key| present.get(key)) {
                        let chunks = self.blue.chunks(version);
                        self.add(history, version.place, one, live, chunks);
                    }
                }
                (Begun::By(_) | Begun::Frozen, Ended::Ours) => {
                    history.replaced.push((self.group(one), version.place, version.number));
                    history.replaced_chunks.extend(self.blue.chunks(version));
                }
                // Perhaps of a try that was rolled back, perhaps the beginning of the old row's HOT chain:
                // without it no index finds that row.
                (_, Ended::By(_)) if !stay.contains(&self.group(one)) => {
                    history.ended_before.push((version.place, version.number));
                }
                // Left as it was.
                (_, Ended::Never | Ended::By(_)) | (Begun::Ours, Ended::Ours) => {}
            }
        }
    }

    /// A row that stands for a version of green.
    pub(super) fn add(
        &self,
        history: &mut History,
        place: Place,
        one: &Found,
        version: &Version,
        chunks: Vec<Place>,
    ) {
        let Version { begun, ended, changes_key, .. } = *version;
        let next = self.next(version);
        let frozen = match begun {
            Begun::By(xid) if is_older(xid, self.oldest) => {
                // A standby may have a snapshot that does not see it.
                history.left_out = history.left_out.max(snapshot::full(xid));
                true
            }
            _ => false,
        };
        let of = version.place;
        let row = Row { place, of, next, begun, frozen, ended, changes_key };
        history.add(self.group(one), row, chunks);
    }

    /// Where in green the version is that took a version's place. A transaction may have made several of a row:
    /// between those of its subtransactions, or such as nobody has ever seen, which are passed over.
    fn next(&self, version: &Version) -> Option<Place> {
        let Ended::By(by) = version.ended else { return None };
        let mut at = version.next?;
        for _ in 0..self.places.len() {
            let next = &self.live[*self.places.get(&at)?].version;
            if next.begun != Begun::By(by) {
                return None;
            }
            if next.ended != Ended::By(by) {
                return Some(at);
            }
            at = next.next?;
        }
        None
    }

    pub(super) fn group(&self, one: &Found) -> usize {
        one.keys.iter().filter_map(|key| self.groups.get(key)).min().copied().unwrap_or_default()
    }

    /// Whether a row of blue was made by who made a version; it may be frozen in one of the tables only.
    pub(super) fn alike(&self, row: &Version, version: &Version) -> bool {
        let is_old = |begun| match begun {
            Begun::By(xid) => is_older(xid, self.oldest),
            Begun::Frozen => true,
            Begun::Ours => false,
        };
        // The number of a frozen row stays in its header.
        row.begun == version.begun
            || (row.begun != Begun::Ours && row.number == version.number)
            || (is_old(row.begun) && is_old(version.begun))
    }
}

/// Whether a transaction with its epoch is not older than another one.
pub(super) fn is_newer(xid: u64, than: Xid) -> bool {
    xid != 0 && !is_older(Xid::from_inner(xid as u32), than)
}

/// The transaction, with its epoch, that everybody has to see who need not see the version.
pub(super) fn last_change(version: &Version) -> u64 {
    match (version.begun, version.ended) {
        (_, Ended::Ours) => xact::current_xid(),
        (_, Ended::By(xid)) | (Begun::By(xid), Ended::Never) => snapshot::full(xid),
        (_, Ended::Never) => 0,
    }
}
