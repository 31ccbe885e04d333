//! What the builds of the indexes cost, measured on a few of the rows that the copy has written.
//!
//! The rows go into a temporary table of the table's owner, so that the server evaluates index expressions as
//! it will on blue. Everything is done in a subtransaction that is rolled back: nothing of it stays, and no
//! lock that it took. An error is not the deployment's: then there is no estimate.
//!
//! Locks: ACCESS SHARE on blue until the subtransaction ends.

use std::time::Instant;

use crate::catalog::{self, event_trigger};
use crate::ddl::sample;
use crate::error::Result;
use crate::ident::Ident;
use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::model::plan::RecordedIndex;
use crate::model::sample::{Sample, SampledIndex};
use crate::model::settings::Settings;
use crate::oid::BlockNumber;
use crate::pg::security::{self, Identity};
use crate::pg::spi::{self, Arg};
use crate::pg::xact::{self, SubtransactionError};
use crate::plan::sample::{self as plan, Copied};

/// Whether it is time to measure: once in a deployment, where enough rows are copied, and the work is so
/// long that nobody notices.
pub(crate) fn is_due(member: &Member) -> bool {
    let p = &member.progress;
    member.phase == Phase::Copying && p.sample.is_none() && rows(member).is_some()
}

/// The rows to measure with.
fn rows(member: &Member) -> Option<i64> {
    plan::rows(&Copied::of(&member.progress), &member.plan.indexes)
}

/// Measures. The only errors are those that end the call: a cancel, or the end of the session.
pub(crate) fn take(member: &Member, settings: &Settings) -> Result<Sample> {
    let nothing =
        Sample { copied_blocks: member.progress.copied_blocks.into(), ..Sample::default() };
    let Some(rows) = rows(member) else { return Ok(nothing) };
    let measured = xact::trial(|| {
        let _us = Identity::extension()?;
        security::set("temp_tablespaces", "")?;
        settings.maintenance.iter().try_for_each(|(name, value)| security::set(name, value))?;
        let size = "SELECT pg_catalog.pg_table_size($1::oid) / pg_catalog.current_setting('block_size')::int8";
        let blue_blocks = spi::one(size, &[Arg::oid(member.blue())])?.unwrap_or(0);
        let sample = Sample { blue_blocks, ..nothing.clone() };
        if rows == 0 || !event_trigger::event_triggers()?.is_empty() {
            // Event triggers are told of each table and index that is made: these are not for them.
            return Ok(sample);
        }
        build_all(member, plan::fitting(rows, member.progress.rows_copied, blue_blocks), sample)
    });
    usual(measured, nothing)
}

fn build_all(member: &Member, rows: i64, mut sample: Sample) -> Result<Sample> {
    let (blue, indexes) = (member.blue_name(), &member.plan.indexes);
    let columns = columns(member)?;
    spi::run(&sample::create(&blue, &columns), &[])?;
    spi::run(&sample::give(&catalog::existing_table(member.blue())?.owner_name), &[])?;
    // The first build of a kind finds out much that later ones know.
    for index in indexes {
        build(index)?;
    }
    let mut empty = None;
    for index in indexes {
        empty = build(index)?;
        if empty.is_some() {
            break;
        }
    }
    let Some(empty) = empty else { return Ok(sample) };
    let filled = spi::run(&sample::fill(&blue, &columns, blocks_of(member, rows)?, rows), &[])?;
    sample.rows = i64::try_from(filled).unwrap_or(rows);
    if sample.rows == 0 {
        return Ok(sample);
    }
    for index in indexes {
        // Twice: something else may have had the processor.
        let (Some(once), Some(again)) = (build(index)?, build(index)?) else { continue };
        let seconds = (once.seconds.min(again.seconds) - empty.seconds).max(0.0);
        let bytes = once.bytes - empty.bytes;
        let measured = SampledIndex { seconds, empty: empty.seconds, bytes };
        sample.indexes.insert(index.name.as_str().to_owned(), measured);
    }
    Ok(sample)
}

/// The columns of blue that its indexes may be made of: others, which may be long, are not needed.
fn columns(member: &Member) -> Result<Vec<Ident>> {
    let sql = "SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum)
                 FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
    let all: Vec<String> = spi::one(sql, &[Arg::oid(member.blue())])?.unwrap_or_default();
    let needs = |column: &Ident| {
        member.plan.indexes.iter().any(|index| sample::may_need(&index.definition, column))
    };
    Ok(all.into_iter().map(Ident::new).filter(needs).collect())
}

/// Builds an index on the sample, and takes it away again. None: it could not be built.
///
/// As a trial: what the expressions of the index do to the owner's table while it is built (a trigger, a rule) must be
/// rolled back before the extension writes to it.
fn build(index: &RecordedIndex) -> Result<Option<SampledIndex>> {
    let Some(sql) = sample::build(&index.definition) else { return Ok(None) };
    let built = xact::trial(|| {
        let _level = security::search(&index.meaning.path)?;
        security::set("default_tablespace", "")?;
        let began = Instant::now();
        spi::run(&sql, &[])?;
        let seconds = began.elapsed().as_secs_f64();
        let size = "SELECT pg_catalog.pg_indexes_size($1::pg_catalog.text::pg_catalog.regclass)";
        let name = sample::table().to_string();
        let bytes = spi::one(size, &[Arg::Text(&name)])?.unwrap_or(0);
        Ok(Some(SampledIndex { seconds, empty: 0.0, bytes }))
    });
    usual(built, None)
}

/// The first blocks of blue in which there are so many rows, about.
fn blocks_of(member: &Member, rows: i64) -> Result<BlockNumber> {
    let blocks = catalog::blocks(member.blue())?;
    let all = member.progress.rows_copied.max(1);
    let some = blocks.saturating_mul(rows) / all + 1;
    Ok(BlockNumber::try_from(some.min(blocks)).unwrap_or(BlockNumber::MAX))
}

/// What was found, or `otherwise` where there was an error that says nothing of the deployment.
fn usual<T>(found: std::result::Result<T, SubtransactionError>, otherwise: T) -> Result<T> {
    match found {
        Ok(found) => Ok(found),
        Err(caught) if caught.class() == "57" => caught.raise(),
        Err(_) => Ok(otherwise),
    }
}
