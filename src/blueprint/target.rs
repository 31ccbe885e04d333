//! A table that somebody has made by hand becomes the new table.

use std::time::Instant;

use crate::blueprint::elsewhere;
use crate::catalog::{self, Table};
use crate::ddl;
use crate::dependent;
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName};
use crate::model::settings::Settings;
use crate::oid::RelationId;
use crate::pg::lock::{self, Mode};
use crate::pg::reasons::Reasons;
use crate::pg::spi::{self, Arg};
use crate::pg::{relation, xact};
use crate::shadow::{create, remove};

/// Rights by attribute number, 0 for the table.
pub(super) type GivenRights = Vec<(i16, Option<String>)>;

/// Takes a hand-made table over: its rights are noted, it gets green's name in our schema. Whether nothing
/// hangs on it.
pub(super) fn take_target(
    green: &Table,
    target: RelationId,
    staging: &Ident,
    settings: &Settings,
    reasons: &Reasons<'_>,
) -> Result<(RelationId, GivenRights, bool)> {
    create::check_target(green, &catalog::existing_table(target)?, reasons)?;
    let until = Instant::now() + settings.retry_for;
    lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(target, Mode::AccessExclusive)], limit).map(drop)
    })
    .or_else(xact::SubtransactionError::raise)?;
    relation::check_not_in_use(target, "bg_prepare")?;
    let table = catalog::existing_table(target)?;
    create::check_target(green, &table, reasons)?;
    elsewhere::require_here(&table)?;
    refuse_other_row_type(green, &table, reasons)?;
    let mut hanging = dependent::all(target)?;
    if hanging.is_empty() && reasons.count() == 0 {
        // Most are spoken of by now, by other names.
        hanging = dependent::marks(target)?;
    }
    for dependent in &hanging {
        let error = Error::unsupported(format!(
            "target {} has {dependent}, which has no place in the deployment",
            table.qualified().plain()
        ))
        .hint("Give a target that nothing hangs on: what hangs on the live table is carried over to it.");
        reasons.refuse(error)?;
    }
    #[derive(serde::Deserialize)]
    struct Rights {
        attnum: i16,
        acl: Option<String>,
    }
    let rights: Vec<Rights> = spi::rows(
        "SELECT 0 AS attnum, relacl::text AS acl FROM pg_catalog.pg_class WHERE oid = $1
         UNION ALL
         SELECT attnum, attacl::text FROM pg_catalog.pg_attribute
          WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped",
        &[Arg::oid(target)],
    )?;
    remove::move_to(target, staging)?;
    if table.name != green.name {
        let here = QualifiedName { schema: staging.clone(), name: table.name };
        spi::run(&ddl::object::rename("TABLE", &here, &green.name), &[])?;
    }
    for statistics in catalog::statistics(target)? {
        spi::run(&ddl::statistics::set_schema(&statistics.qualified(), staging), &[])?;
    }
    let rights = rights.into_iter().map(|r| (r.attnum, r.acl)).collect();
    Ok((target, rights, hanging.is_empty()))
}

/// Refuses a target whose row type has other rights or labels than that of the live table: they stay with the
/// type in a swap. Its comment is its own, as that of the target.
fn refuse_other_row_type(green: &Table, target: &Table, reasons: &Reasons<'_>) -> Result<()> {
    let of = |table: &Table| -> Result<_> {
        let properties = create::properties_of(table.oid)?;
        Ok(["rights", "security label"].map(|name| properties["row type"][name].clone()))
    };
    if of(green)? == of(target)? {
        return Ok(());
    }
    reasons.refuse(
        Error::unsupported(format!(
            "the row type of target {} has other privileges or security labels than that of {}",
            target.qualified().plain(),
            green.qualified().plain()
        ))
        .hint("GRANT or REVOKE USAGE ON TYPE, and label it, so that the target's row type has the same, then call again."),
    )
}
