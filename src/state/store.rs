//! The only reader and writer of our tables of deployments and history. Runs as the extension.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::deployment::{Arguments, Deployment, Plan, Progress};
use crate::model::phase::Phase;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg, Options};
use crate::state::restored;

const COLUMNS: &str = "id, source_schema, source_table, blue_schema, origin::int8 AS origin,
    shadow::int8 AS shadow, owner::int8 AS owner, phase, paused, arguments, plan, progress,
    fingerprint_origin, fingerprint_shadow, last_error,
    EXISTS (SELECT FROM bluegreen.capture c WHERE c.deployment = deployment.id
        AND c.log IS DISTINCT FROM pg_catalog.to_regclass(pg_catalog.format('bluegreen.%s_%s',
            CASE c.relation WHEN origin THEN 'forward' ELSE 'reverse' END, deployment.id))) AS restored";

#[derive(Deserialize)]
struct Row {
    id: i64,
    source_schema: String,
    source_table: String,
    blue_schema: Ident,
    origin: u32,
    shadow: u32,
    owner: u32,
    phase: Phase,
    paused: bool,
    arguments: Arguments,
    plan: Plan,
    progress: Progress,
    fingerprint_origin: serde_json::Value,
    fingerprint_shadow: serde_json::Value,
    last_error: Option<String>,
    restored: bool,
}

impl From<Row> for Deployment {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            source: QualifiedName::new(row.source_schema, row.source_table),
            blue_schema: row.blue_schema,
            origin: row.origin,
            shadow: row.shadow,
            owner: row.owner,
            phase: row.phase,
            paused: row.paused,
            arguments: row.arguments,
            plan: row.plan,
            progress: row.progress,
            fingerprint_origin: row.fingerprint_origin,
            fingerprint_shadow: row.fingerprint_shadow,
            last_error: row.last_error,
            restored: row.restored,
        }
    }
}

fn select(condition: &str, args: &[Arg<'_>]) -> Result<Vec<Deployment>> {
    let _us = Identity::extension()?;
    let sql = format!("SELECT {COLUMNS} FROM bluegreen.deployment WHERE {condition}");
    let mut found: Vec<_> =
        spi::rows::<Row>(&sql, args)?.into_iter().map(Deployment::from).collect();
    found.iter_mut().filter(|d| d.restored).try_for_each(restored::find_by_name)?;
    Ok(found)
}

/// The deployment with this number.
pub(crate) fn load(id: i64) -> Result<Deployment> {
    select("id = $1", &[Arg::Int(id)])?
        .pop()
        .ok_or_else(|| Error::state(format!("deployment {id} does not exist")))
}

/// The deployment that a table takes part in, live or offline: the open one, else the last. One that
/// came with a dump has OIDs of other tables.
pub(crate) fn find(relation: u32) -> Result<Option<Deployment>> {
    let condition = "$1 IN (origin, shadow)
        ORDER BY phase NOT IN ('finished', 'aborted') DESC, id DESC";
    Ok(select(condition, &[Arg::Oid(relation)])?.into_iter().find(|d| !d.restored))
}

/// The deployment with this number, if there is one.
pub(crate) fn by_id(id: i64) -> Result<Option<Deployment>> {
    Ok(select("id = $1", &[Arg::Int(id)])?.pop())
}

/// The open deployment of a table with this name, whatever its OID.
pub(crate) fn open_by_name(name: &QualifiedName) -> Result<Option<Deployment>> {
    let condition = "source_schema = $1 AND source_table = $2
        AND phase NOT IN ('finished', 'aborted')";
    let args = [Arg::Text(name.schema.as_str()), Arg::Text(name.name.as_str())];
    Ok(select(condition, &args)?.pop())
}

/// All deployments that still exist.
pub(crate) fn open() -> Result<Vec<Deployment>> {
    select("phase NOT IN ('finished', 'aborted') ORDER BY id", &[])
}

/// A number for a new deployment. One whose schema is there already (left by an earlier
/// installation of the extension) is passed over.
pub(crate) fn next_id() -> Result<i64> {
    let _us = Identity::extension()?;
    loop {
        let id = spi::one::<i64>("SELECT pg_catalog.nextval('bluegreen.deployment_id_seq')", &[])?
            .ok_or_else(|| Error::internal("no deployment number"))?;
        let taken = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace
                       WHERE nspname = $1 OR nspname LIKE pg_catalog.replace($1, '_', '\\_') || '\\_%')";
        let name = format!("bluegreen_{id}");
        if spi::one::<bool>(taken, &[Arg::Text(&name)])? == Some(false) {
            return Ok(id);
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal(format!("state as JSON: {e}")))
}

/// Writes a new deployment.
pub(crate) fn insert(d: &Deployment) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "INSERT INTO bluegreen.deployment (id, source_schema, source_table, blue_schema, origin,
             shadow, owner, owner_name, phase, arguments, plan, progress, fingerprint_origin,
             fingerprint_shadow)
         OVERRIDING SYSTEM VALUE
         VALUES ($1, $2::name, $3::name, $4::name, $5, $6, $7, pg_catalog.pg_get_userbyid($7), $8,
             $9::jsonb, $10::jsonb, $11::jsonb, $12::jsonb, $13::jsonb)",
        &[
            Arg::Int(d.id),
            Arg::Text(d.source.schema.as_str()),
            Arg::Text(d.source.name.as_str()),
            Arg::Text(d.blue_schema.as_str()),
            Arg::Oid(d.origin),
            Arg::Oid(d.shadow),
            Arg::Oid(d.owner),
            Arg::Text(&d.phase.to_string()),
            Arg::Text(&json(&d.arguments)?),
            Arg::Text(&json(&d.plan)?),
            Arg::Text(&json(&d.progress)?),
            Arg::Text(&json(&d.fingerprint_origin)?),
            Arg::Text(&json(&d.fingerprint_shadow)?),
        ],
    )?;
    Ok(())
}

/// Writes phase and progress.
pub(crate) fn save(d: &Deployment) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.deployment SET phase = $2, progress = $3::jsonb, last_error = NULL,
                owner = $4, owner_name = pg_catalog.pg_get_userbyid($4),
                updated_at = pg_catalog.clock_timestamp() WHERE id = $1",
        &[
            Arg::Int(d.id),
            Arg::Text(&d.phase.to_string()),
            Arg::Text(&json(&d.progress)?),
            Arg::Oid(d.owner),
        ],
    )?;
    Ok(())
}

/// When a deployment was made and last written, in seconds since 1970.
pub(crate) fn times(id: i64) -> Result<(f64, f64)> {
    let _us = Identity::extension()?;
    let sql =
        "SELECT extract(epoch FROM created_at)::float8, extract(epoch FROM updated_at)::float8
                 FROM bluegreen.deployment WHERE id = $1";
    spi::with_rows(sql, &[Arg::Int(id)], Options::default(), |rows, _| {
        let time = |column| (!rows.is_empty()).then(|| rows.get(0, column)).flatten();
        Ok((time(1).unwrap_or(0.0), time(2).unwrap_or(0.0)))
    })
}

/// Pauses the work on a deployment, or lets it go on.
pub(crate) fn save_paused(id: i64, paused: bool) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.deployment SET paused = $2 WHERE id = $1",
        &[Arg::Int(id), Arg::Bool(paused)],
    )?;
    Ok(())
}

/// Writes the plan, after blue was brought up to date.
pub(crate) fn save_plan(d: &Deployment) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.deployment SET plan = $2::jsonb WHERE id = $1",
        &[Arg::Int(d.id), Arg::Text(&json(&d.plan)?)],
    )?;
    Ok(())
}

/// Writes the fingerprints, after a swap.
pub(crate) fn save_fingerprints(d: &Deployment) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.deployment SET fingerprint_origin = $2::jsonb,
                fingerprint_shadow = $3::jsonb WHERE id = $1",
        &[
            Arg::Int(d.id),
            Arg::Text(&json(&d.fingerprint_origin)?),
            Arg::Text(&json(&d.fingerprint_shadow)?),
        ],
    )?;
    Ok(())
}

/// Writes the error that ended a run; if it was this session's, nobody drives the deployment any more.
pub(crate) fn save_error(id: i64, error: &Error) -> Result<()> {
    let _us = Identity::extension()?;
    let text = match &error.detail {
        Some(detail) => format!("{} ({detail})", error.message),
        None => error.message.clone(),
    };
    spi::run(
        "UPDATE bluegreen.deployment SET last_error = $2, updated_at = pg_catalog.clock_timestamp(),
                progress = CASE WHEN progress->'runner'->>0 = pg_catalog.pg_backend_pid()::text
                     THEN progress - 'runner' - 'waiting' ELSE progress END WHERE id = $1",
        &[Arg::Int(id), Arg::Text(&text)],
    )?;
    Ok(())
}

/// One step for `bluegreen.history`.
pub(crate) struct Step<'a> {
    /// Its name.
    pub name: &'a str,
    /// Seconds it took.
    pub seconds: f64,
    /// How many rows.
    pub count: Option<i64>,
    /// What else.
    pub detail: Option<String>,
    /// Its error.
    pub error: Option<String>,
}

/// Writes a step that has just ended.
pub(crate) fn record(d: &Deployment, step: &Step<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "INSERT INTO bluegreen.history (deployment, step, phase, started_at, duration, count, detail,
             error, role)
         VALUES ($1, $2, $3,
             pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $4),
             pg_catalog.make_interval(secs => $4), $5::bigint, $6, $7, session_user)",
        &[
            Arg::Int(d.id),
            Arg::Text(step.name),
            Arg::Text(&d.phase.to_string()),
            Arg::Float(step.seconds),
            Arg::OptText(step.count.map(|c| c.to_string()).as_deref()),
            Arg::OptText(step.detail.as_deref()),
            Arg::OptText(step.error.as_deref()),
        ],
    )?;
    Ok(())
}
