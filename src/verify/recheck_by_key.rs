//! The close look at single keys: green, blue and the log under one snapshot.

use crate::ddl;
use crate::ddl::compare::{Compare, KEY_TEXT, LOGGED, PROBLEM, PROBLEMS};
use crate::ddl::rows::{WORK, batch_key};
use crate::error::Result;
use crate::model::difference::Difference;
use crate::model::member::Member;
use crate::oid::{BlockNumber, CollationId, TypeId};
use crate::pg::lookup::Planned;
use crate::pg::security::{self, Identity};
use crate::pg::snapshot::Snapshot;
use crate::pg::spi::{self, Arg, Options};
use crate::pg::tid::Place;
use crate::pg::transient_relation::Column;
use crate::pg::transient_relation::Work;
use crate::pg::xact;
use crate::state::change_log;
use crate::state::key_rows;
use crate::state::key_rows::key_columns;
use crate::state::truncation;
use crate::verify::hash_diff::{Side, UnpairedRow};

/// The type text.
const TEXT: TypeId = TypeId::new(25);

/// Looks at the rows that were at these places.
pub(super) fn at_places(
    member: &Member,
    compare: &Compare<'_>,
    rows: &[UnpairedRow],
    repair: bool,
) -> Result<Vec<Difference>> {
    let snapshot = Snapshot::now();
    let mut keys = keys(compare)?;
    {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let _planned = Planned::by_key(&member.keyed())?;
        for (side, sql) in [(Side::Green, compare.green_keys()), (Side::Blue, compare.blue_keys())]
        {
            let places: Vec<Place> =
                rows.iter().filter(|row| row.side == side).map(|row| row.place).collect();
            if !places.is_empty() {
                let options = Options { snapshot: Some(&snapshot), ..Options::default() };
                spi::fill(&mut keys, &sql, &[Arg::Text(&tids(&places))], options)?;
            }
        }
    }
    under(member, compare, &snapshot, &keys, repair)
}

/// Looks at every row of green in these blocks.
pub(super) fn in_blocks(
    member: &Member,
    compare: &Compare<'_>,
    (from, to): (BlockNumber, BlockNumber),
    repair: bool,
) -> Result<Vec<Difference>> {
    let snapshot = Snapshot::now();
    let mut keys = keys(compare)?;
    {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let _planned = Planned::by_key(&member.keyed())?;
        let options = Options { snapshot: Some(&snapshot), ..Options::default() };
        spi::fill(&mut keys, &compare.keys_of_blocks(from, to), &[], options)?;
    }
    under(member, compare, &snapshot, &keys, repair)
}

/// Looks at every row of green in these blocks whose key does not lead back to itself.
pub(super) fn strays(
    member: &Member,
    compare: &Compare<'_>,
    (from, to): (BlockNumber, BlockNumber),
    repair: bool,
) -> Result<Vec<Difference>> {
    let snapshot = Snapshot::now();
    let mut keys = keys(compare)?;
    let found = {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let options = Options { snapshot: Some(&snapshot), ..Options::default() };
        xact::subtransaction(|| spi::fill(&mut keys, &compare.strays(from, to), &[], options))
    };
    match found {
        Ok(()) => under(member, compare, &snapshot, &keys, repair),
        Err(caught) if caught.may_be_a_rows() => in_blocks(member, compare, (from, to), repair),
        Err(caught) => caught.raise(),
    }
}

/// The keys under which the tables differ, and that do not wait in the log; with `repair` they do
/// afterwards.
fn under(
    member: &Member,
    compare: &Compare<'_>,
    snapshot: &Snapshot,
    keys: &Work,
    repair: bool,
) -> Result<Vec<Difference>> {
    let mut problems = Work::new(PROBLEMS, &problem_columns(compare))?;
    {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let _planned = Planned::by_key(&member.keyed())?;
        differ(compare, snapshot, keys, &mut problems)?;
    }
    if problems.is_empty() || truncation::is_marked(member.id, snapshot)? {
        return Ok(Vec::new());
    }
    let logged = {
        let _us = Identity::extension()?;
        let key = &compare.mapping.from_key;
        let sql = ddl::log::keys(&member.log(), key.columns.len());
        key_rows::read_keys(LOGGED, key, batch_key, &sql, snapshot)?
    };
    let mut found = problems.empty_copy()?;
    {
        let _owner = Identity::table_owner(member.owner, &member.plan.session)?;
        let work: &[&Work] = &[&problems, &logged];
        let options = Options { snapshot: Some(snapshot), work, ..Options::default() };
        spi::fill(&mut found, &compare.not_logged(), &[], options)?;
    }
    let _us = Identity::extension()?;
    if repair {
        let sql = compare.log_again(&member.log());
        let options = Options { work: &[&found], ..Options::default() };
        spi::run_with(&sql, &[Arg::Int(change_log::order_now())], options)?;
    }
    let options = Options { work: &[&found], ..Options::default() };
    spi::with_rows(&compare.found(), &[], options, |rows, _| {
        let text = |row, column| rows.get(row, column).unwrap_or_default();
        Ok((0..rows.len())
            .map(|row| Difference { key: text(row, 1), problem: text(row, 2) })
            .collect())
    })
}

/// Adds to `problems` the keys under which the tables differ; those whose value cannot be computed
/// too.
fn differ(
    compare: &Compare<'_>,
    snapshot: &Snapshot,
    keys: &Work,
    problems: &mut Work,
) -> Result<()> {
    // Only the rows under these keys are to be computed: others may not be computable.
    let _by_index = security::by_index()?;
    // Made outside: its files belong to the transaction, not to the subtransaction.
    let mut part = problems.empty_copy()?;
    let options = || Options { snapshot: Some(snapshot), work: &[], ..Options::default() };
    let done = xact::subtransaction(|| {
        spi::fill(&mut part, &compare.differ(), &[], Options { work: &[keys], ..options() })
    });
    match done {
        Ok(()) => {
            problems.append(&part);
            Ok(())
        }
        Err(caught) if caught.may_be_a_rows() && keys.len() > 1 => {
            let (left, right) = keys.split()?;
            differ(compare, snapshot, &left, problems)?;
            differ(compare, snapshot, &right, problems)
        }
        Err(caught) if caught.may_be_a_rows() => {
            spi::fill(problems, &compare.all_differ(), &[], Options { work: &[keys], ..options() })
        }
        Err(caught) => caught.raise(),
    }
}

fn keys(compare: &Compare<'_>) -> Result<Work> {
    Work::new(WORK, &key_columns(&compare.mapping.from_key, batch_key))
}

fn problem_columns(compare: &Compare<'_>) -> Vec<Column> {
    let text = |name: &str| Column {
        name: name.to_owned(),
        type_oid: TEXT,
        collation: CollationId::new(100),
    };
    let mut columns = key_columns(&compare.mapping.from_key, batch_key);
    columns.extend([text(KEY_TEXT), text(PROBLEM)]);
    columns
}

/// Places as the text of a tid[].
fn tids(places: &[Place]) -> String {
    let all: Vec<_> = places.iter().map(|(block, line)| format!("\"({block},{line})\"")).collect();
    format!("{{{}}}", all.join(","))
}
