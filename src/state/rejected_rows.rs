//! `bluegreen.misfit`: rows of one table that cannot be written to the other, with the error.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::model::member::{Member, Side};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg, Options};
use crate::pg::transient_relation::Work;
use crate::pg::xact;

/// A row that was rejected.
pub(crate) struct Rejected<'a> {
    /// Its key as JSON, where the types allow it.
    pub key: Option<&'a str>,
    /// All of it, likewise.
    pub row: Option<&'a str>,
    /// Why.
    pub error: &'a Error,
    /// It is left behind from the start.
    pub set_aside: bool,
}

/// Writes a rejected row; its number.
pub(crate) fn insert(member: &Member, rejected: &Rejected<'_>) -> Result<i64> {
    let direction = match member.green_side() {
        Side::Origin => "forward",
        Side::Shadow => "reverse",
    };
    let _us = Identity::extension()?;
    let sql = "INSERT INTO bluegreen.misfit (deployment, direction, key, \"row\", error, sqlstate, set_aside)
               VALUES ($1, $2, $3::jsonb, $4::jsonb, $5, $6, $7) RETURNING id";
    let state = xact::sqlstate(rejected.error.code);
    let id = spi::one::<i64>(
        sql,
        &[
            Arg::Int(member.id),
            Arg::Text(direction),
            Arg::OptText(rejected.key),
            Arg::OptText(rejected.row),
            Arg::Text(&rejected.error.message),
            Arg::Text(&state),
            Arg::Bool(rejected.set_aside),
        ],
    )?;
    Ok(id.unwrap_or_default())
}

/// Writes why a row is rejected now.
pub(crate) fn update(id: i64, rejected: &Rejected<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    let sql =
        "UPDATE bluegreen.misfit SET error = $2, sqlstate = $3, \"row\" = $4::jsonb WHERE id = $1";
    let state = xact::sqlstate(rejected.error.code);
    let args = [
        Arg::Int(id),
        Arg::Text(&rejected.error.message),
        Arg::Text(&state),
        Arg::OptText(rejected.row),
    ];
    spi::run(sql, &args).map(drop)
}

/// Forgets a row that is no longer rejected.
pub(crate) fn remove(id: i64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run("DELETE FROM bluegreen.misfit WHERE id = $1", &[Arg::Int(id)]).map(drop)
}

/// Forgets those that no longer mean anything; those set aside stay.
pub(crate) fn forget(deployment: i64) -> Result<()> {
    let _us = Identity::extension()?;
    let sql = "DELETE FROM bluegreen.misfit WHERE deployment = $1 AND NOT set_aside";
    spi::run(sql, &[Arg::Int(deployment)]).map(drop)
}

/// Forgets damaged rows that a copy has left out which begins anew.
pub(crate) fn forget_damaged(deployment: i64) -> Result<()> {
    let _us = Identity::extension()?;
    let sql = "DELETE FROM bluegreen.misfit
                WHERE deployment = $1 AND set_aside AND sqlstate IN ('XX001', 'XX002')";
    spi::run(sql, &[Arg::Int(deployment)]).map(drop)
}

/// Leaves all that there are behind: they no longer stand in the way.
pub(crate) fn set_aside(deployment: i64) -> Result<()> {
    let _us = Identity::extension()?;
    let sql = "UPDATE bluegreen.misfit SET set_aside = true
                WHERE deployment = $1 AND NOT set_aside";
    spi::run(sql, &[Arg::Int(deployment)]).map(drop)
}

/// Refuses to set rows of other tables aside where there is no column for their table: the database has the
/// schema of 0.1.0 still.
pub(crate) fn require_children() -> Result<()> {
    let _us = Identity::extension()?;
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute
                 WHERE attrelid = 'bluegreen.misfit'::pg_catalog.regclass AND attname = 'child'
                   AND NOT attisdropped)";
    if spi::one::<bool>(sql, &[])? == Some(true) {
        return Ok(());
    }
    Err(Error::state("the extension in this database is older than its library: bluegreen.misfit cannot keep rows of other tables yet")
        .hint("Run ALTER EXTENSION pg_bluegreen UPDATE."))
}

/// Keeps rows of another table as set aside, because of a foreign key: `children` has `key` and `row` as JSON
/// in columns of these names.
pub(crate) fn keep_children(
    deployment: i64,
    (children, key, row): (&Work, &str, &str),
    why: &str,
    table: &str,
) -> Result<()> {
    let _us = Identity::extension()?;
    let (key, row) = (Ident::new(key), Ident::new(row));
    let sql = format!(
        "INSERT INTO bluegreen.misfit (deployment, direction, key, \"row\", error, sqlstate, set_aside, child)
         SELECT $1, 'reverse', k.{key}::jsonb, k.{row}::jsonb, $2, '23503', true, $3 FROM {} k",
        children.name()
    );
    let args = [Arg::Int(deployment), Arg::Text(why), Arg::Text(table)];
    spi::run_with(&sql, &args, Options { work: &[children], ..Options::default() }).map(drop)
}

/// Whether there are rejected rows to be tried again.
pub(crate) fn is_any(deployment: i64) -> Result<bool> {
    let _us = Identity::extension()?;
    let found = spi::one_kept::<bool>(
        "SELECT EXISTS (SELECT FROM bluegreen.misfit WHERE deployment = $1 AND NOT set_aside)",
        &[Arg::Int(deployment)],
    )?;
    Ok(found == Some(true))
}

/// Rejected rows that stand in the way now.
pub(crate) fn count(deployment: i64) -> Result<i64> {
    let _us = Identity::extension()?;
    let sql = "SELECT pg_catalog.count(*) FROM bluegreen.misfit
                WHERE deployment = $1 AND NOT set_aside";
    Ok(spi::one::<i64>(sql, &[Arg::Int(deployment)])?.unwrap_or(0))
}

/// A few of them in words, for an error.
pub(crate) fn describe(deployment: i64) -> Result<String> {
    #[derive(Deserialize)]
    struct Misfit {
        key: Option<String>,
        error: String,
    }
    let _us = Identity::extension()?;
    let found: Vec<Misfit> = spi::rows(
        "SELECT key::text AS key, error FROM bluegreen.misfit
          WHERE deployment = $1 AND NOT set_aside ORDER BY id LIMIT 5",
        &[Arg::Int(deployment)],
    )?;
    let lines: Vec<_> =
        found.into_iter().map(|m| format!("{}: {}", m.key.unwrap_or_default(), m.error)).collect();
    Ok(lines.join("\n"))
}
