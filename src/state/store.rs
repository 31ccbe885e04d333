//! The only reader and writer of our tables of deployments and history. Runs as the extension.

use std::borrow::Borrow;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::deployment::Deployment;
use crate::model::hold::Hold;
use crate::model::member::{Member, TableTree};
use crate::model::progress::{Failed, Progress};
use crate::model::version::StateVersion;
use crate::oid::{RelationId, RoleId};
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg, Options};
use crate::pg::xact;
use crate::state::lock;
use crate::state::restored;

const COLUMNS: &str = "id, source_schema, source_table, blue_schema, origin::int8 AS origin,
    shadow::int8 AS shadow, owner::int8 AS owner, phase, paused, arguments, plan, progress,
    fingerprint_origin, fingerprint_shadow, last_error,
    EXISTS (SELECT FROM bluegreen.capture c WHERE c.deployment = deployment.id
        AND c.log IS DISTINCT FROM pg_catalog.to_regclass(pg_catalog.format('bluegreen.%s_%s',
            CASE c.relation WHEN origin THEN 'forward' ELSE 'reverse' END, deployment.id))) AS restored";

/// A row as it is stored. What a later version may write in another way is read once it is known that none
/// has written it.
#[derive(Deserialize)]
struct Row {
    id: i64,
    source_schema: String,
    source_table: String,
    blue_schema: Ident,
    origin: RelationId,
    shadow: RelationId,
    owner: RoleId,
    phase: Value,
    paused: bool,
    arguments: Value,
    plan: Value,
    progress: Value,
    fingerprint_origin: Value,
    fingerprint_shadow: Value,
    last_error: Option<String>,
    restored: bool,
}

impl Row {
    /// Refuses what a later version has written.
    fn require_known(&self) -> Result<()> {
        let StateVersion(known) = StateVersion::CURRENT;
        let is_known = |state: &&Value| match state.get("version") {
            None => true,
            Some(version) => version.as_u64().is_some_and(|version| version <= known.into()),
        };
        if [&self.plan, &self.progress].iter().all(is_known) {
            return Ok(());
        }
        let table = QualifiedName::new(&self.source_schema, &self.source_table).plain();
        Err(Error::state(format!(
            "the deployment of {table} was written by a later version of pg_bluegreen than the library of this session"
        ))
        .detail(format!("This library knows stored state up to form {known}."))
        .hint("Update the library: install the later version of pg_bluegreen and connect again."))
    }

    fn read(self) -> Result<Member> {
        self.require_known()?;
        let progress: Progress = part(self.progress, "progress")?;
        Ok(Member {
            id: self.id,
            source: QualifiedName::new(self.source_schema, self.source_table),
            blue_schema: self.blue_schema,
            origin: TableTree::plain(self.origin),
            shadow: TableTree::plain(self.shadow),
            owner: self.owner,
            phase: part(self.phase, "phase")?,
            paused: self.paused,
            arguments: part(self.arguments, "arguments")?,
            plan: part(self.plan, "plan")?,
            // The next batch writes it whole, in the present form.
            progress: Progress { version: StateVersion::CURRENT, ..progress },
            fingerprint_origin: self.fingerprint_origin,
            fingerprint_shadow: self.fingerprint_shadow,
            last_error: self.last_error,
            restored: self.restored,
        })
    }
}

fn part<T: DeserializeOwned>(value: Value, name: &str) -> Result<T> {
    serde_json::from_value(value).map_err(|e| {
        Error::internal(format!("{name} of a deployment is stored in an unexpected form: {e}"))
    })
}

fn select(condition: &str, args: &[Arg<'_>]) -> Result<Vec<Member>> {
    let _us = Identity::extension()?;
    let sql = format!("SELECT {COLUMNS} FROM bluegreen.deployment WHERE {condition}");
    let mut found: Vec<Member> =
        spi::rows::<Row>(&sql, args)?.into_iter().map(Row::read).collect::<Result<_>>()?;
    found.iter_mut().filter(|member| member.restored).try_for_each(restored::find_by_name)?;
    Ok(found)
}

/// A member whose state may be written: read under its lock by [`lock()`], which our transaction has until
/// it ends, or new and seen by nobody else ([`insert`]). Of those who share the lock only the runner writes.
/// [`LockedDeployment::copied`] is under the same lock; a clone is a plain [`Member`].
pub(crate) struct LockedMember(Member);

/// A deployment whose members are locked.
pub(crate) type LockedDeployment = Deployment<LockedMember>;

impl LockedDeployment {
    /// The same again, for changes that may be given up.
    pub(crate) fn copied(&self) -> Self {
        self.map(|member| LockedMember(member.0.clone()))
    }

    /// As it is now, without the lock.
    pub(crate) fn read(&self) -> Deployment {
        self.map(|member| member.0.clone())
    }
}

impl Borrow<Member> for LockedMember {
    fn borrow(&self) -> &Member {
        &self.0
    }
}

impl Deref for LockedMember {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0
    }
}

impl DerefMut for LockedMember {
    fn deref_mut(&mut self) -> &mut Member {
        &mut self.0
    }
}

/// Takes a deployment's lock until the transaction ends, waiting at most `wait`, and reads its members under
/// it: today the one that has its number. None: another has it. `class` is `bluegreen.deployment`.
pub(crate) fn lock(
    class: RelationId,
    id: i64,
    hold: Hold,
    wait: Duration,
) -> Result<Option<LockedDeployment>> {
    if !lock::deployment(class, id, hold, wait)? {
        return Ok(None);
    }
    load(id).map(|member| Some(Deployment::of(LockedMember(member), Vec::new())))
}

/// The deployment with this number as it is now, without its lock.
pub(crate) fn read(id: i64) -> Result<Deployment> {
    load(id).map(|member| Deployment::of(member, Vec::new()))
}

/// The member with this number.
pub(crate) fn load(id: i64) -> Result<Member> {
    select("id = $1", &[Arg::Int(id)])?.pop().ok_or_else(|| {
        Error::state(format!("deployment {id} does not exist"))
            .hint("See bg_status() for those that are open.")
    })
}

/// The deployment that a table takes part in, live or offline: the open one, else the last. One that
/// came with a dump has OIDs of other tables.
pub(crate) fn find(relation: RelationId) -> Result<Option<Member>> {
    let condition = "$1 IN (origin, shadow)
        ORDER BY phase NOT IN ('finished', 'aborted') DESC, id DESC";
    Ok(select(condition, &[Arg::oid(relation)])?.into_iter().find(|member| !member.restored))
}

/// The deployment with this number, if there is one.
pub(crate) fn by_id(id: i64) -> Result<Option<Member>> {
    Ok(select("id = $1", &[Arg::Int(id)])?.pop())
}

/// The open deployment of a table with this name, whatever its OID.
pub(crate) fn open_by_name(name: &QualifiedName) -> Result<Option<Member>> {
    let condition = "source_schema = $1 AND source_table = $2
        AND phase NOT IN ('finished', 'aborted')";
    let args = [Arg::Text(name.schema.as_str()), Arg::Text(name.name.as_str())];
    Ok(select(condition, &args)?.pop())
}

/// All deployments that still exist.
pub(crate) fn open() -> Result<Vec<Member>> {
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

/// Writes a new deployment, which nobody else sees before our transaction has ended.
pub(crate) fn insert(member: Member) -> Result<LockedMember> {
    let _us = Identity::extension()?;
    spi::run(
        "INSERT INTO bluegreen.deployment (id, source_schema, source_table, blue_schema, origin,
             shadow, owner, owner_name, phase, arguments, plan, progress, fingerprint_origin,
             fingerprint_shadow)
         OVERRIDING SYSTEM VALUE
         VALUES ($1, $2::name, $3::name, $4::name, $5, $6, $7, pg_catalog.pg_get_userbyid($7), $8,
             $9::jsonb, $10::jsonb, $11::jsonb, $12::jsonb, $13::jsonb)",
        &[
            Arg::Int(member.id),
            Arg::Text(member.source.schema.as_str()),
            Arg::Text(member.source.name.as_str()),
            Arg::Text(member.blue_schema.as_str()),
            Arg::oid(member.origin.root),
            Arg::oid(member.shadow.root),
            Arg::oid(member.owner),
            Arg::Text(&member.phase.to_string()),
            Arg::Text(&json(&member.arguments)?),
            Arg::Text(&json(&member.plan)?),
            Arg::Text(&json(&member.progress)?),
            Arg::Text(&json(&member.fingerprint_origin)?),
            Arg::Text(&json(&member.fingerprint_shadow)?),
        ],
    )?;
    Ok(LockedMember(member))
}

/// Writes phase and progress, but not whose run it is: a run that fails writes that without the lock
/// ([`save_error`]).
pub(crate) fn save(member: &LockedMember) -> Result<()> {
    write(member, "$3::jsonb || pg_catalog.jsonb_build_object('runner', progress->'runner')")
}

/// The same with the session that drives the deployment.
pub(crate) fn save_claim(member: &LockedMember) -> Result<()> {
    write(member, "$3::jsonb")
}

fn write(member: &LockedMember, progress: &str) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        &format!(
            "UPDATE bluegreen.deployment SET phase = $2, progress = {progress}, last_error = NULL,
                    owner = $4, owner_name = pg_catalog.pg_get_userbyid($4),
                    updated_at = pg_catalog.clock_timestamp() WHERE id = $1"
        ),
        &[
            Arg::Int(member.id),
            Arg::Text(&member.phase.to_string()),
            Arg::Text(&json(&member.progress)?),
            Arg::oid(member.owner),
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

/// Who has paused a deployment, and when, in seconds since 1970.
pub(crate) fn paused_by(id: i64) -> Result<Option<(String, f64)>> {
    let _us = Identity::extension()?;
    let sql = "SELECT role::text, extract(epoch FROM started_at)::float8 FROM bluegreen.history
                WHERE deployment = $1 AND step = 'pause' ORDER BY id DESC LIMIT 1";
    spi::with_rows(sql, &[Arg::Int(id)], Options::default(), |rows, _| {
        Ok((!rows.is_empty()).then(|| (rows.get(0, 1), rows.get(0, 2))))
    })
    .map(|found| found.and_then(|(who, at)| Some((who?, at?))))
}

/// Writes the plan, after blue was brought up to date.
pub(crate) fn save_plan(member: &LockedMember) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.deployment SET plan = $2::jsonb WHERE id = $1",
        &[Arg::Int(member.id), Arg::Text(&json(&member.plan)?)],
    )?;
    Ok(())
}

/// Writes the fingerprints, after a swap.
pub(crate) fn save_fingerprints(member: &LockedMember) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "UPDATE bluegreen.deployment SET fingerprint_origin = $2::jsonb,
                fingerprint_shadow = $3::jsonb WHERE id = $1",
        &[
            Arg::Int(member.id),
            Arg::Text(&json(&member.fingerprint_origin)?),
            Arg::Text(&json(&member.fingerprint_shadow)?),
        ],
    )?;
    Ok(())
}

/// Writes the error that ended a run; if it was this session's, nobody drives the deployment any more.
pub(crate) fn save_error(id: i64, error: &Error) -> Result<()> {
    let _us = Identity::extension()?;
    let text = error.with_detail();
    let failed = Failed { code: xact::sqlstate(error.code), hint: error.hint.clone() };
    spi::run(
        "UPDATE bluegreen.deployment SET last_error = $2, updated_at = pg_catalog.clock_timestamp(),
                progress = CASE WHEN progress->'runner'->>0 = pg_catalog.pg_backend_pid()::text
                     THEN progress - 'runner' - 'waiting' ELSE progress END
                     || pg_catalog.jsonb_build_object('failed', $3::jsonb) WHERE id = $1",
        &[Arg::Int(id), Arg::Text(&text), Arg::Text(&json(&failed)?)],
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
pub(crate) fn record(member: &Member, step: &Step<'_>) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "INSERT INTO bluegreen.history (deployment, step, phase, started_at, duration, count, detail,
             error, role)
         VALUES ($1, $2, $3,
             pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $4),
             pg_catalog.make_interval(secs => $4), $5::bigint, $6, $7, session_user)",
        &[
            Arg::Int(member.id),
            Arg::Text(step.name),
            Arg::Text(&member.phase.to_string()),
            Arg::Float(step.seconds),
            Arg::OptText(step.count.map(|c| c.to_string()).as_deref()),
            Arg::OptText(step.detail.as_deref()),
            Arg::OptText(step.error.as_deref()),
        ],
    )?;
    Ok(())
}
