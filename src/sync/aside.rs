//! Rows that a revert leaves behind.
//!
//! Misfits of the table that goes offline are not written to the one that goes live. What that one has
//! of such a row, its earlier state, is what both have afterwards: it is logged, and the next sync brings
//! it to the offline table, where columns that only that one has keep their values. A row of which the
//! live table has nothing is deleted from the offline one; `bluegreen.misfit` keeps it for people.
//!
//! Everything is written after the swap: then nobody's triggers, foreign keys or publications are on
//! the offline table. Rows of others that refer to one that no table has any more are `children`'s.
//!
//! Locks: the caller holds those of the swap.

use std::collections::HashSet;

use crate::ddl;
use crate::ddl::aside::{AGAIN, BEFORE, NOW, OPERATION};
use crate::ddl::rows::{self, ID, Rows, WORK};
use crate::error::Result;
use crate::model::key::Key;
use crate::model::member::Member;
use crate::oid::{CollationId, TypeId};
use crate::pg::security::{Identity, by_index};
use crate::pg::spi::{self, Arg, Options};
use crate::pg::transient_relation::Column;
use crate::pg::transient_relation::Work;
use crate::state::change_log;
use crate::state::key_rows;
use crate::state::key_rows::key_columns;
use crate::state::rejected_rows;
use crate::sync::children;
use crate::sync::left_behind::Aside;

const BIGINT: TypeId = TypeId::new(20);
const CHAR: TypeId = TypeId::new(18);

/// Marks the misfits of the table that is live, before the swap; None where there are none.
pub(crate) fn mark(member: &Member) -> Result<Option<Aside>> {
    let mapping = member.mapping();
    let (from, to) = (&mapping.from_key, &mapping.to_key);
    let mut columns = numbered(from, rows::batch_key);
    columns.extend(key_columns(from, rows::goes_key));
    let mut marked = Work::new(WORK, &columns)?;
    {
        let _us = Identity::extension()?;
        let sql = ddl::aside::misfits(&member.log(), from.columns.len());
        spi::fill(&mut marked, &sql, &[], Options::default())?;
        rejected_rows::set_aside(member.id)?;
    }
    if marked.is_empty() {
        return Ok(None);
    }
    let candidates = children::candidates(member, &marked)?;
    let blue = member.blue_name();
    let rows = Rows { mapping, from: &member.source, to: &blue };
    let mut now = Work::new(NOW, &numbered(to, rows::mapped_name))?;
    let mut before = Work::new(BEFORE, &numbered(to, rows::mapped_name))?;
    let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
    // A key that cannot be put into the other table's terms has no row there.
    key_rows::fill_what_can_be(&mut now, &ddl::aside::mapped(&rows, rows::batch_key), &marked)?;
    key_rows::fill_what_can_be(&mut before, &ddl::aside::mapped(&rows, rows::goes_key), &marked)?;
    Ok(Some(Aside { marked, now, before, candidates }))
}

/// A number, and the columns of a key.
fn numbered(key: &Key, name: fn(usize) -> String) -> Vec<Column> {
    let mut columns =
        vec![Column { name: ID.to_owned(), type_oid: BIGINT, collation: CollationId::INVALID }];
    columns.extend(key_columns(key, name));
    columns
}

/// After the swap, and with empty logs: leaves the marked rows behind. `with_children` says what becomes
/// of rows that refer to one which no table has any more: they go too, or nothing is done. Returns what
/// is to be told.
pub(crate) fn leave(member: &Member, aside: &Aside, with_children: bool) -> Result<Vec<String>> {
    let mapping = member.mapping();
    let (live, offline) = (&mapping.from_key, &mapping.to_key);
    let again = {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let _by_index = by_index()?;
        let known = ids(&ddl::aside::numbers(NOW), &aside.now)?;
        let here = ids(&ddl::aside::present(NOW, &member.source, live), &aside.now)?;
        let mut back = ids(&ddl::aside::present(BEFORE, &member.source, live), &aside.before)?;
        back.retain(|id| !here.contains(id));
        // A key that the log of the live table cannot hold goes at once.
        let kept: Vec<i64> = here.iter().chain(back.intersection(&known)).copied().collect();
        let sql = ddl::aside::leave(&member.blue_name(), offline);
        let work: &[&Work] = &[&aside.marked];
        spi::run_with(&sql, &[Arg::Ints(&kept)], Options { work, ..Default::default() })?;
        let operation =
            Column { name: OPERATION.to_owned(), type_oid: CHAR, collation: CollationId::INVALID };
        let mut columns = vec![operation];
        columns.extend(key_columns(live, rows::batch_key));
        columns.extend(key_columns(live, rows::goes_key));
        let mut again = Work::new(AGAIN, &columns)?;
        let (here, back): (Vec<_>, Vec<_>) =
            (here.into_iter().collect(), back.into_iter().collect());
        let work: &[&Work] = &[&aside.now, &aside.before];
        let options = Options { work, ..Default::default() };
        spi::fill(
            &mut again,
            &ddl::aside::again(live),
            &[Arg::Ints(&here), Arg::Ints(&back)],
            options,
        )?;
        again
    };
    {
        let _us = Identity::extension()?;
        let sql = ddl::aside::log(&member.log(), live.columns.len());
        let options = Options { work: &[&again], ..Default::default() };
        spi::run_with(&sql, &[Arg::Int(change_log::order_now())], options)?;
    }
    children::settle(member, aside, &aside.candidates, with_children)
}

/// The numbers that a query over rows of ours gives.
fn ids(sql: &str, work: &Work) -> Result<HashSet<i64>> {
    let options = Options { work: &[work], ..Default::default() };
    spi::with_rows(sql, &[], options, |rows, _| {
        Ok((0..rows.len()).filter_map(|row| rows.get(row, 1)).collect())
    })
}
