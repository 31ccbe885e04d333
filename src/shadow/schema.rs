//! The blue schema and the deployment's own.

use std::time::Duration;

use pgrx::PgSqlErrorCode;

use crate::catalog;
use crate::ddl;
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::hold::Hold;
use crate::oid::{RelationId, SchemaId};
use crate::pg::spi::{self, Arg};
use crate::state::lock as state_lock;

/// The mark by which we know a blue schema as ours.
const MARK: &str = "Offline (blue) tables of pg_bluegreen; goes with the last deployment";

/// The blue schema's name, which must not be cut (63 bytes).
pub(crate) fn blue_name(source: &Ident, suffix: &str) -> Result<Ident> {
    let name = format!("{}{suffix}", source.as_str());
    if name.len() > 63 || suffix.is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_NAME_TOO_LONG,
            format!("the blue schema's name {} has more than 63 bytes", plain(&name)),
        )
        .hint("Set bluegreen.schema_suffix to something shorter."));
    }
    Ok(Ident::new(name))
}

/// Refuses a schema of that name that we did not make. True if ours exists.
pub(crate) fn check_blue(blue: &Ident) -> Result<bool> {
    let Some(oid) = catalog::schema_oid(blue)? else { return Ok(false) };
    let sql = "SELECT n.nspowner = u.nspowner
                      AND pg_catalog.obj_description(n.oid, 'pg_namespace') = $2
                 FROM pg_catalog.pg_namespace n, pg_catalog.pg_namespace u
                WHERE n.oid = $1 AND u.nspname = 'bluegreen'";
    if spi::one::<bool>(sql, &[Arg::oid(oid), Arg::Text(MARK)])? == Some(true) {
        return Ok(true);
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_DUPLICATE_SCHEMA,
        format!("schema {} exists and was not made by pg_bluegreen", plain(blue.as_str())),
    )
    .hint(
        "Set bluegreen.schema_suffix to another ending, for example '_bg', or rename that schema.",
    ))
}

/// Refuses a name in the blue schema that something has already, other than the target itself: mostly the
/// offline table of a deployment that was forgotten with its extension.
pub(crate) fn require_free(blue: &Ident, name: &Ident, target: Option<RelationId>) -> Result<()> {
    let name = QualifiedName { schema: blue.clone(), name: name.clone() };
    let there = catalog::relation_oid(&name)?;
    if there.is_none() || there == target {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE,
        format!("{} is in the place of the new table, and of no deployment", name.plain()),
    )
    .detail("DROP EXTENSION pg_bluegreen CASCADE leaves the offline tables of the deployments that it ends.")
    .hint(format!("Look whether you need it; if not: DROP TABLE {}", name.plain())))
}

/// Makes the blue schema if it is not there, with USAGE for those who have it on the source schema.
pub(crate) fn ensure_blue(
    blue: &Ident,
    source: &Ident,
    lock_table: RelationId,
    wait: Duration,
) -> Result<SchemaId> {
    if !check_blue(blue)? {
        // One at a time: two would collide on the name.
        if !state_lock::deployment(lock_table, 0, Hold::Alone, wait)? {
            let who = state_lock::holders(lock_table, 0)?;
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                format!("another transaction is making schema {}{who}", plain(blue.as_str())),
            )
            .hint("Wait until it commits, or COMMIT PREPARED or ROLLBACK PREPARED it, then call again."));
        }
        if !check_blue(blue)? {
            spi::run(&ddl::schema::create(blue), &[])?;
            catalog::require_own_schema(blue)?;
            spi::run(&ddl::object::comment("SCHEMA", blue, Some(MARK)), &[])?;
            revoke_all(blue)?;
        }
    }
    copy_usage(blue, source)?;
    catalog::schema_oid(blue)?.ok_or_else(|| Error::internal("the blue schema was not made"))
}

/// Refuses when the deployment's own schema holds anything but the shadow and what belongs to it: the
/// owner, who may create in it while the changes are applied, may have put something there that would
/// be found before other objects of its name.
pub(crate) fn require_own(staging: &Ident, shadow: RelationId) -> Result<()> {
    let sql = "SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0)
                 FROM pg_catalog.pg_depend d
                 JOIN pg_catalog.pg_namespace n ON n.oid = d.refobjid AND n.nspname = $1
                WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass
                  AND NOT (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = $2)
                  AND NOT (d.classid = 'pg_catalog.pg_class'::regclass AND d.objid IN (
                      SELECT s.objid FROM pg_catalog.pg_depend s
                       WHERE s.classid = 'pg_catalog.pg_class'::regclass
                         AND s.refclassid = 'pg_catalog.pg_class'::regclass AND s.refobjid = $2))
                  AND NOT (d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND d.objid IN (
                      SELECT s.oid FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = $2))
                LIMIT 1";
    match spi::one::<String>(sql, &[Arg::Text(staging.as_str()), Arg::oid(shadow)])? {
        None => Ok(()),
        Some(what) => Err(Error::unsupported(format!(
            "the changes made {what} in the deployment's own schema"
        ))
        .hint("Make it by itself, with the name of a schema, before bg_prepare.")),
    }
}

/// Takes away what default privileges gave to others on a schema that we have made.
pub(crate) fn revoke_all(schema: &Ident) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Grantee {
        role: String,
    }
    let sql = "SELECT DISTINCT CASE WHEN e.grantee = 0 THEN 'PUBLIC'
                           ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END AS role
                 FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) e
                WHERE n.nspname = $1 AND e.grantee <> n.nspowner";
    for grantee in spi::rows::<Grantee>(sql, &[Arg::Text(schema.as_str())])? {
        spi::run(&ddl::schema::revoke(schema, &grantee.role), &[])?;
    }
    Ok(())
}

fn copy_usage(blue: &Ident, source: &Ident) -> Result<()> {
    let sql = "SELECT DISTINCT CASE WHEN e.grantee = 0 THEN 'PUBLIC'
                           ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END AS role
                 FROM pg_catalog.pg_namespace n,
                      pg_catalog.aclexplode(coalesce(n.nspacl,
                          pg_catalog.acldefault('n', n.nspowner))) e
                WHERE n.nspname = $1 AND e.privilege_type = 'USAGE'";
    #[derive(serde::Deserialize)]
    struct Grantee {
        role: String,
    }
    let missing = "SELECT 1 FROM pg_catalog.pg_namespace n,
                          pg_catalog.aclexplode(coalesce(n.nspacl,
                              pg_catalog.acldefault('n', n.nspowner))) e
                    WHERE n.nspname = $1 AND e.privilege_type = 'USAGE'
                      AND CASE WHEN e.grantee = 0 THEN 'PUBLIC'
                          ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END = $2";
    for grantee in spi::rows::<Grantee>(sql, &[Arg::Text(source.as_str())])? {
        let known =
            spi::one::<i32>(missing, &[Arg::Text(blue.as_str()), Arg::Text(&grantee.role)])?;
        if known.is_none() {
            spi::run(&ddl::schema::grant_usage(blue, &grantee.role), &[])?;
        }
    }
    Ok(())
}

/// Drops the blue schema when nothing is left in it.
pub(crate) fn drop_blue_if_empty(blue: &Ident, lock_table: RelationId) -> Result<()> {
    let Some(oid) = catalog::schema_oid(blue)? else { return Ok(()) };
    if !state_lock::deployment(lock_table, 0, Hold::Alone, Duration::from_secs(1))? {
        return Ok(());
    }
    let used = "SELECT EXISTS (SELECT FROM pg_catalog.pg_depend d
                        WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass AND d.refobjid = $1)";
    if spi::one::<bool>(used, &[Arg::oid(oid)])? == Some(false) {
        spi::run(&ddl::schema::drop(blue), &[])?;
    }
    Ok(())
}
