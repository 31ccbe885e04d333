//! The views and functions of an old table that stays for good.

use crate::catalog;
use crate::catalog::dependent as reader;
use crate::ddl::dependent as ddl;
use crate::dependent::swap::of_side;
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::model::dependent::{CopyKind, Twin};
use crate::model::deployment::Deployment;
use crate::pg::spi;
use crate::pg::xact;

/// Drops those of the side that is offline, the last made first. What others made over them, or the
/// table itself, needs them: then they stay too, under a name that `rename` gives them; the name in the
/// blue schema is the next deployment's. Where the table has moved its views moved with it: by OID.
pub(crate) fn leave(
    d: &Deployment,
    rename: impl Fn(&str, &QualifiedName) -> Result<QualifiedName>,
    free: impl Fn(&QualifiedName) -> Result<crate::ident::Ident>,
) -> Result<()> {
    for twin in d.progress.twins.iter().rev() {
        let Some(oid) = of_side(twin, d.blue_side()) else { continue };
        match twin.kind {
            CopyKind::Function => leave_function(twin, oid, &free)?,
            _ => leave_view(twin, oid, &rename)?,
        }
    }
    Ok(())
}

fn leave_function(
    twin: &Twin,
    oid: u32,
    free: impl Fn(&QualifiedName) -> Result<crate::ident::Ident>,
) -> Result<()> {
    let Some(signature) = reader::function_name(oid)? else { return Ok(()) };
    if xact::subtransaction(|| spi::run(&ddl::drop_routine(&signature), &[])).is_ok() {
        return Ok(());
    }
    let name = QualifiedName { schema: twin.blue_schema.clone(), name: twin.name.clone() };
    spi::run(&ddl::rename_routine(&signature, &free(&name)?), &[]).map(drop)
}

fn leave_view(
    twin: &Twin,
    oid: u32,
    rename: impl Fn(&str, &QualifiedName) -> Result<QualifiedName>,
) -> Result<()> {
    let Some(view) = catalog::table(oid)? else { return Ok(()) };
    let (word, name) = (twin.kind.word().to_uppercase(), view.qualified());
    if xact::subtransaction(|| spi::run(&ddl::drop_in_schema(&word, &name), &[])).is_ok() {
        return Ok(());
    }
    rename(&word, &name).map(drop)
}
