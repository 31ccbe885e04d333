//! A batch with both tables: what green has under its keys, and what blue has.

use std::collections::{HashMap, HashSet};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;

use crate::ddl::rows::Rows;
use crate::error::{Error, Result};
use crate::heap::versions::Begun;
use crate::heap::versions::Ended;
use crate::heap::versions::Version;
use crate::heap::versions::Versions;
use crate::heap::versions::Xid;
use crate::heap::versions::is_older;
use crate::model::deployment::Deployment;
use crate::pg::snapshot;
use crate::pg::tid::Place;
use crate::pg::xact;
use crate::sync::batch::{Batch, Item};
use crate::sync::history::keys;
use crate::sync::history::pending::{History, Row};

/// A version, and the keys of the batch under which it was found: several, if they are equal without being
/// the same.
pub(super) struct Found {
    pub(super) keys: Vec<usize>,
    pub(super) version: Version,
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

/// A batch with both tables.
pub(super) struct Round<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) rows: &'a Rows<'a>,
    pub(super) batch: &'a Batch,
    pub(super) green: Versions,
    pub(super) blue: Versions,
    /// Green's versions.
    live: Vec<Found>,
    /// Blue's: what the batch wrote, and what was there before.
    pub(super) there: Vec<Found>,
    /// The oldest transaction that may stand in blue.
    oldest: Xid,
    /// From this one on a transaction may not be seen by every snapshot of this server.
    pub(super) horizon: Xid,
    /// The first of the keys that a key belongs together with.
    groups: HashMap<usize, usize>,
    class: u32,
}

impl<'a> Round<'a> {
    /// Reads both; `mapped` are the items' keys in blue's terms.
    pub(super) fn read(
        deployment: &'a Deployment,
        rows: &'a Rows<'a>,
        batch: &'a Batch,
        class: u32,
        items: &[&Item],
        mapped: &[(usize, Vec<Datum>)],
    ) -> Result<Self> {
        let mut green = Versions::open(deployment.green(), &rows.mapping.from_key.index)?;
        let mut blue = Versions::open(deployment.blue(), &rows.mapping.to_key.index)?;
        let own: Vec<(usize, Vec<Datum>)> = items
            .iter()
            .map(|item| (item.id, item.key.iter().flatten().copied().collect()))
            .collect();
        let (live, there) = (found(&mut green, &own)?, found(&mut blue, mapped)?);
        let (oldest, horizon) = (blue.oldest(), green.horizon());
        let groups = keys::together(batch);
        Ok(Self {
            deployment,
            rows,
            batch,
            green,
            blue,
            live,
            there,
            oldest,
            horizon,
            groups,
            class,
        })
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
        if xid == 0 || snapshot::holders_older_than(self.class, xid).is_empty() {
            return Ok(());
        }
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            format!(
                "a transaction is still running that would have to see earlier versions of rows of {}, which the other table cannot have",
                self.deployment.source.plain()
            ),
        ))
    }

    /// The versions that have to be written: those that somebody may see, and that are not the present ones.
    pub(super) fn earlier(&self, history: &mut History) -> Vec<&Found> {
        let mut earlier = Vec::new();
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
        for one in self.there.iter().filter(|one| !left_alone.contains(&self.group(one))) {
            let version = &one.version;
            match (version.begun, version.ended) {
                (Begun::Ours, Ended::Never) => {
                    if let Some(live) = one.keys.iter().find_map(|key| present.get(key)) {
                        let chunks = self.blue.chunks(version);
                        self.add(history, version.place, one, live, chunks);
                    }
                }
                // Written and taken out again, or left as it was.
                (Begun::Ours, _) | (_, Ended::Never) => {}
                (_, Ended::Ours) => {
                    history.replaced.push((self.group(one), version.place));
                    history.replaced_chunks.extend(self.blue.chunks(version));
                }
                // Perhaps of a try that was rolled back, perhaps the beginning of the old row's HOT chain:
                // without it no index finds that row.
                (_, Ended::By(_)) => history.replaced.push((self.group(one), version.place)),
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
        let frozen = match begun {
            Begun::By(xid) if is_older(xid, self.oldest) => {
                // A standby may have a snapshot that does not see it.
                history.left_out = history.left_out.max(snapshot::full(xid));
                true
            }
            _ => false,
        };
        let row = Row { place, keys: one.keys.clone(), begun, frozen, ended, changes_key };
        history.add(self.group(one), row, chunks);
    }

    pub(super) fn group(&self, one: &Found) -> usize {
        one.keys.iter().filter_map(|key| self.groups.get(key)).min().copied().unwrap_or_default()
    }

    /// Whether a row of blue was made by who made a version; it may be frozen in one of the tables only.
    pub(super) fn alike(&self, row: Begun, version: Begun) -> bool {
        let is_old = |begun| match begun {
            Begun::By(xid) => is_older(xid, self.oldest),
            Begun::Frozen => true,
            Begun::Ours => false,
        };
        row == version || (is_old(row) && is_old(version))
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
