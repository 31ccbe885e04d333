//! Writing a batch to blue, and finding the rows that cannot be written.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use crate::ddl::constraint;
use crate::ddl::rows::{self, Conflict, Rows};
use crate::error::{Error, ErrorKind, Result};
use crate::heap::generated;
use crate::ident::{Ident, QualifiedName};
use crate::oid::{CollationId, RelationId};
use crate::pg::lookup::Planned;
use crate::pg::security::Identity;
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::{self, Arg, Options};
use crate::pg::transient_relation::Column;
use crate::pg::transient_relation::Work;
use crate::pg::xact;
use crate::state::key_rows::key_columns;
use crate::sync::batch::Item;
use crate::sync::tables::Tables;

/// An item that cannot be written, and why.
pub(super) struct Failed<'a> {
    /// The item.
    pub item: &'a Item,
    /// The error of its own write.
    pub error: Error,
    /// The key that its row has come from, where blue still has it as it was: no row of green has that key.
    pub stays: Option<&'a Item>,
}

impl Failed<'_> {
    /// It collides with another row.
    pub(super) fn is_collision(&self) -> bool {
        xact::SubtransactionError { error: self.error.clone() }.is_collision()
    }
}

/// How a row that blue has is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// It is updated, where the key allows it.
    Updates,
    /// It is deleted, and its new version inserted.
    NewRows,
    /// The same under the swap's locks.
    LastRows,
}

/// A row in a batch of the largest size is found in some twenty steps.
const PATIENCE: usize = 100;

/// How a batch that fails is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Divide {
    /// Few of its rows are expected to fail: in halves.
    Halves,
    /// Most of them are.
    Singly,
}

/// A batch's tools.
struct Writer<'a> {
    rows: &'a Rows<'a>,
    /// The table that is written.
    table: RelationId,
    /// Generated columns whose stored values are taken over.
    stored: Vec<&'a Ident>,
    snapshot: &'a Snapshot,
    all_columns: Vec<Ident>,
    /// What a row does first that collides with one that blue has.
    first: Conflict,
    /// The batch was divided.
    parted: Cell<bool>,
    /// How often something may still be missing for a part of the batch until it counts as missing for all.
    patience: Cell<usize>,
}

/// Makes blue show green's rows for all items; what cannot be written is returned. `suspects` are the
/// numbers of items that could not be written before: they are tried apart, so that the others need not
/// be taken apart with them.
pub(super) fn apply<'a>(
    tables: Tables<'_>,
    items: &'a [Item],
    suspects: &HashSet<usize>,
    how: Writes,
) -> Result<Vec<Failed<'a>>> {
    let Tables { member, rows, snapshot } = tables;
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    let mapping = rows.mapping;
    let all_columns = mapping
        .columns
        .iter()
        .map(|c| c.column.clone())
        .chain(mapping.side_only.iter().cloned())
        .collect();
    let (table, stored) = (member.blue(), mapping.stored());
    let parted = Cell::new(false);
    let first = match how {
        Writes::Updates if mapping.upsert => Conflict::Update,
        Writes::Updates | Writes::NewRows | Writes::LastRows => Conflict::Fail,
    };
    let patience = Cell::new(if how == Writes::LastRows { 0 } else { PATIENCE });
    let writer = Writer { rows, table, stored, snapshot, all_columns, first, parted, patience };
    // In a restricted operation nothing may be left to the end of the transaction.
    for constraint in &mapping.to_deferred {
        let name = QualifiedName { schema: rows.to.schema.clone(), name: constraint.clone() };
        spi::run(&constraint::check_at_once(&name), &[])?;
    }
    let _planned = Planned::by_key(&member.keyed())?;
    let groups = linked(items);
    let groups: Vec<&[&Item]> = groups.iter().map(Vec::as_slice).collect();
    let failed = writer.apart(&groups, suspects)?;
    writer.together(failed)
}
impl Writer<'_> {
    /// The suspects after the others, if those need none of them.
    fn apart<'i>(
        &self,
        groups: &[&[&'i Item]],
        suspects: &HashSet<usize>,
    ) -> Result<Vec<Failed<'i>>> {
        let (suspect, sure): (Vec<_>, Vec<_>) =
            groups.iter().partition(|group| group.iter().any(|item| suspects.contains(&item.id)));
        if suspect.is_empty() {
            return self.divided(groups, Divide::Halves);
        }
        let apart = xact::subtransaction(|| {
            let mut failed = self.divided(&sure, Divide::Halves)?;
            if failed.iter().any(Failed::is_collision) {
                return Err(Error::signal(ErrorKind::Together));
            }
            failed.extend(self.divided(&suspect, Divide::Singly)?);
            Ok(failed)
        });
        match apart {
            Ok(failed) => Ok(failed),
            Err(caught) if caught.error.kind == ErrorKind::Together => {
                self.divided(groups, Divide::Halves)
            }
            Err(caught) => caught.raise(),
        }
    }

    /// Rows that collide may have been parted from those that they exchange values with: all of them
    /// once more, without the rows that fail by themselves.
    fn together<'i>(&self, failed: Vec<Failed<'i>>) -> Result<Vec<Failed<'i>>> {
        let (collided, mut failed): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(Failed::is_collision);
        if collided.len() < 2 || !self.parted.get() {
            failed.extend(collided);
            return Ok(failed);
        }
        let groups: Vec<Vec<&Item>> =
            collided.iter().map(|one| one.stays.into_iter().chain([one.item]).collect()).collect();
        let groups: Vec<&[&Item]> = groups.iter().map(Vec::as_slice).collect();
        failed.extend(self.divided(&groups, Divide::Halves)?);
        Ok(failed)
    }

    /// The whole; then, deleting first, the whole with those left out that collide with rows of
    /// blue; then its parts, down to the row that fails.
    fn divided<'i>(&self, groups: &[&[&'i Item]], how: Divide) -> Result<Vec<Failed<'i>>> {
        let items = groups.concat();
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let work = self.work(&items)?;
        let caught = match self.written(|| self.write(&work, self.first)) {
            Ok(()) => return Ok(Vec::new()),
            Err(caught) if self.is_of_rows(&caught)? => caught,
            Err(caught) => return caught.raise(),
        };
        if let Some(collided) = self.replace(&work, &caught)? {
            let failed = items.iter().filter(|item| collided.contains(&(item.id as i64)));
            let (error, left) = (caught.error, left_for(&items));
            let failed = failed.map(|item| Failed {
                item,
                error: error.clone(),
                stays: left.get(&item.id).copied(),
            });
            return Ok(failed.collect());
        }
        if let [item] = items[..] {
            return self.alone(item, caught.error);
        }
        if let [from, item] = items[..]
            && from.left_for() == Some(item.id)
        {
            return self.moved(from, item);
        }
        if let [group] = groups {
            // One chain of keys, with a row in it that fails: each key by itself.
            let single = keys_apart(group);
            let single: Vec<&[&Item]> = single.iter().map(Vec::as_slice).collect();
            return self.parts(&single, Divide::Halves);
        }
        self.parts(groups, how)
    }

    fn parts<'i>(&self, groups: &[&[&'i Item]], how: Divide) -> Result<Vec<Failed<'i>>> {
        self.parted.set(true);
        let size = match how {
            Divide::Halves => groups.len().div_ceil(2),
            Divide::Singly => 1,
        };
        let mut failed = Vec::new();
        for part in groups.chunks(size.max(1)) {
            failed.extend(self.divided(part, Divide::Halves)?);
        }
        Ok(failed)
    }

    /// A row that moved to another key. If it cannot be written there, blue keeps it where it was.
    fn moved<'i>(&self, from: &'i Item, item: &'i Item) -> Result<Vec<Failed<'i>>> {
        let mut failed = self.divided(&[&[item]], Divide::Halves)?;
        if failed.is_empty() {
            return self.divided(&[&[from]], Divide::Halves);
        }
        failed.iter_mut().for_each(|one| one.stays = Some(from));
        Ok(failed)
    }

    /// For collisions of unique values: all rows of the batch are taken out, then written; those that
    /// collide with a row outside of the batch stay out and are returned. None: another error.
    fn replace(&self, work: &Work, cause: &xact::SubtransactionError) -> Result<Option<Vec<i64>>> {
        if !cause.is_collision() {
            return Ok(None);
        }
        let conflict =
            if self.rows.mapping.to_deferrable { Conflict::Fail } else { Conflict::Skip };
        match self.written(|| {
            let kept = self.take_out(work, true)?;
            self.put(work, kept.as_ref(), conflict)?;
            let missing = self.missing(work)?;
            if let Some(kept) = kept.filter(|_| !missing.is_empty()) {
                self.restore(&kept, &missing)?;
            }
            Ok(missing)
        }) {
            Ok(missing) => Ok(Some(missing)),
            Err(caught) if self.is_of_rows(&caught)? => Ok(None),
            Err(caught) => caught.raise(),
        }
    }

    /// Whether rows are at fault: also where what a few of them call is not there, if nothing is missing that
    /// every statement needs. Where most rows call it, it is not theirs. Under the swap's locks nobody waits
    /// until that is found out.
    fn is_of_rows(&self, caught: &xact::SubtransactionError) -> Result<bool> {
        if caught.is_data_error() || !caught.is_undefined() {
            return Ok(caught.is_data_error());
        }
        let Some(left) = self.patience.get().checked_sub(1) else { return Ok(false) };
        self.patience.set(left);
        let nothing = self.work(&[])?;
        Ok(self.written(|| self.write(&nothing, self.first)).is_ok())
    }

    /// A key that fails by itself. Where blue's row under it was to go elsewhere, and cannot, it is
    /// only taken away: the row's key there is an item of its own. A key that is gone and cannot be
    /// put into blue's terms was never in blue.
    fn alone<'i>(&self, item: &'i Item, error: Error) -> Result<Vec<Failed<'i>>> {
        if item.goes.as_ref().is_some_and(|(to, _)| *to != item.id) {
            let stays_here = Item { goes: None, ..item.clone() };
            let work = self.work(&[&stays_here])?;
            match self.written(|| self.write(&work, Conflict::Fail)) {
                Ok(()) => return Ok(Vec::new()),
                Err(caught) if self.is_of_rows(&caught)? => {}
                Err(caught) => return caught.raise(),
            }
        }
        let present = item.kind != b'g' || self.green_has(item)?;
        Ok(if present { vec![Failed { item, error, stays: None }] } else { Vec::new() })
    }

    fn green_has(&self, item: &Item) -> Result<bool> {
        let work = self.work(&[item])?;
        spi::with_rows(&self.rows.present(), &[], self.options(&[&work]), |rows, _| {
            Ok(!rows.is_empty())
        })
    }

    /// Writes in a subtransaction; `work` may be called again.
    fn written<T>(
        &self,
        work: impl FnMut() -> Result<T>,
    ) -> std::result::Result<T, xact::SubtransactionError> {
        generated::written(self.table, &self.stored, work)
    }

    fn write(&self, work: &Work, conflict: Conflict) -> Result<()> {
        let kept = self.take_out(work, conflict != Conflict::Update)?;
        self.put(work, kept.as_ref(), conflict)
    }

    fn take_out(&self, work: &Work, replace: bool) -> Result<Option<Work>> {
        let sql = self.rows.take_out(replace, &self.all_columns);
        spi::with_rows(&sql, &[], self.options(&[work]), |rows, _| {
            Ok(if rows.is_empty() { None } else { Some(rows.to_work(rows::KEPT)?) })
        })
    }

    fn put(&self, work: &Work, kept: Option<&Work>, conflict: Conflict) -> Result<()> {
        let side_only = !self.rows.mapping.side_only.is_empty();
        let kept = kept.filter(|_| side_only);
        let mut statements = if side_only && conflict == Conflict::Update {
            self.rows.update_then_insert(kept.is_some()).to_vec()
        } else {
            vec![self.rows.write(conflict, kept.is_some())]
        };
        let mut read = vec![work];
        if let Some(kept) = kept {
            read.push(kept);
            statements.push(self.rows.put_back(&self.all_columns, conflict));
        }
        let mut written = 0;
        for sql in statements {
            written = spi::run_with(&sql, &[], self.options(&read))?;
        }
        let Some(kept) = kept else { return Ok(()) };
        // Which row of a deferrable key moved on is not sure enough to show one green has not. Where all
        // rows are back there is none.
        if !self.rows.mapping.from_key.deferrable && written < kept.len() {
            // Passed over, its values of columns that only blue has would be lost.
            let conflict = if conflict == Conflict::Skip { Conflict::Fail } else { conflict };
            let sql = self.rows.put_back_in_transit(&self.all_columns, conflict);
            spi::run_with(&sql, &[], self.options(&read))?;
        }
        Ok(())
    }

    fn missing(&self, work: &Work) -> Result<Vec<i64>> {
        spi::with_rows(&self.rows.missing(), &[], self.options(&[work]), |rows, _| {
            Ok((0..rows.len()).filter_map(|row| rows.get::<i64>(row, 1)).collect())
        })
    }

    fn restore(&self, kept: &Work, ids: &[i64]) -> Result<()> {
        let sql = self.rows.restore(&self.all_columns);
        spi::run_with(&sql, &[Arg::Ints(ids)], self.options(&[kept]))?;
        Ok(())
    }

    fn options<'o>(&'o self, work: &'o [&'o Work]) -> Options<'o> {
        Options { snapshot: Some(self.snapshot), work, ..Default::default() }
    }

    fn work(&self, items: &[&Item]) -> Result<Work> {
        work_of(self.rows, items)
    }
}

/// The items in groups that must not be parted: keys between which rows moved.
fn linked(items: &[Item]) -> Vec<Vec<&Item>> {
    let mut leader: HashMap<usize, usize> = items.iter().map(|i| (i.id, i.id)).collect();
    fn find(leader: &HashMap<usize, usize>, mut id: usize) -> usize {
        while leader[&id] != id {
            id = leader[&id];
        }
        id
    }
    for item in items {
        if let Some((to, _)) = &item.goes {
            let (a, b) = (find(&leader, item.id), find(&leader, *to));
            leader.insert(a, b);
        }
    }
    let mut groups: HashMap<usize, Vec<&Item>> = HashMap::new();
    let mut order = Vec::new();
    for item in items {
        let id = find(&leader, item.id);
        groups.entry(id).or_insert_with(|| {
            order.push(id);
            Vec::new()
        });
        groups.entry(id).and_modify(|group| group.push(item));
    }
    order.into_iter().filter_map(|id| groups.remove(&id)).collect()
}

/// Keys that nothing has any more, by the numbers of those that their rows went to.
fn left_for<'i>(items: &[&'i Item]) -> HashMap<usize, &'i Item> {
    items.iter().filter_map(|from| Some((from.left_for()?, *from))).collect()
}

/// The keys of a chain one by one; one that was left stays with the one that its row went to.
fn keys_apart<'i>(group: &[&'i Item]) -> Vec<Vec<&'i Item>> {
    let mut left = left_for(group);
    let present = group.iter().filter(|item| item.left_for().is_none());
    let mut apart: Vec<Vec<&Item>> =
        present.map(|item| left.remove(&item.id).into_iter().chain([*item]).collect()).collect();
    apart.extend(left.into_values().map(|from| vec![from]));
    apart
}

/// Items as rows for our statements.
pub(super) fn work_of(rows: &Rows<'_>, items: &[&Item]) -> Result<Work> {
    let key = &rows.mapping.from_key.columns;
    let column = |name: &str, type_oid: pgrx::pg_sys::Oid| Column {
        name: name.to_owned(),
        type_oid: type_oid.into(),
        collation: CollationId::INVALID,
    };
    let mut columns = vec![
        column(rows::KIND, pgrx::pg_sys::CHAROID),
        column(rows::ID, pgrx::pg_sys::INT8OID),
        column(rows::GOES_ID, pgrx::pg_sys::INT8OID),
    ];
    for name in [rows::batch_key, rows::goes_key] {
        columns.extend(key_columns(&rows.mapping.from_key, name));
    }
    let mut work = Work::new(rows::WORK, &columns)?;
    for item in items {
        let number = |id: usize| pgrx::pg_sys::Datum::from(id as i64);
        let mut values = vec![
            Some(pgrx::pg_sys::Datum::from(item.kind as i8)),
            Some(number(item.id)),
            item.goes.as_ref().map(|(id, _)| number(*id)),
        ];
        values.extend_from_slice(&item.key);
        match &item.goes {
            Some((_, key)) => values.extend_from_slice(key),
            None => values.extend(key.iter().map(|_| None)),
        }
        work.push(&values);
    }
    Ok(work)
}
