//! `bluegreen.difference`: what the last verification found.

use crate::error::Result;
use crate::model::difference::Difference;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};

/// Forgets what the last verification found.
pub(crate) fn forget(id: i64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run("DELETE FROM bluegreen.difference WHERE deployment = $1", &[Arg::Int(id)])?;
    Ok(())
}

/// Writes down what a verification found.
pub(crate) fn add(id: i64, found: &[Difference]) -> Result<()> {
    let _us = Identity::extension()?;
    let (keys, problems) = found.iter().map(|d| (d.key.clone(), d.problem.clone())).unzip();
    spi::run(
        "INSERT INTO bluegreen.difference (deployment, key, problem)
         SELECT $1, k::jsonb, p FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) f(k, p)",
        &[Arg::Int(id), Arg::Texts(keys), Arg::Texts(problems)],
    )?;
    Ok(())
}

/// A few of the differences in words, for an error.
pub(crate) fn describe(id: i64) -> Result<String> {
    let _us = Identity::extension()?;
    let sql = "SELECT pg_catalog.string_agg(key::text || ': ' || problem, '; ') FROM (
                   SELECT key, problem FROM bluegreen.difference WHERE deployment = $1
                    ORDER BY found_at LIMIT 5) f";
    Ok(spi::one::<String>(sql, &[Arg::Int(id)])?.unwrap_or_default())
}
