//! The views and functions of an old table that stays for good.

use crate::catalog;
use crate::catalog::dependent as reader;
use crate::ddl::dependent as ddl;
use crate::dependent::replica::of_side;
use crate::error::Result;
use crate::ident::QualifiedName;
use crate::model::dependent::{DependentKind, ReplicaPair};
use crate::model::member::Member;
use crate::oid::{FunctionId, RelationId};
use crate::pg::spi;
use crate::pg::xact;

/// Drops those of the side that is offline, the last made first. What others made over them, or the
/// table itself, needs them: then they stay too, under a name that `rename` gives them; the name in the
/// blue schema is the next deployment's. Where the table has moved its views moved with it: by OID.
pub(crate) fn leave(
    member: &Member,
    rename: impl Fn(&str, &QualifiedName) -> Result<QualifiedName>,
    free: impl Fn(&QualifiedName) -> Result<crate::ident::Ident>,
) -> Result<()> {
    for twin in member.progress.twins.iter().rev() {
        let Some(oid) = of_side(twin, member.blue_side()) else { continue };
        match twin.kind {
            DependentKind::Function => leave_function(twin, oid.into(), &free)?,
            _ => leave_view(twin, oid.into(), &rename)?,
        }
    }
    Ok(())
}

fn leave_function(
    twin: &ReplicaPair,
    oid: FunctionId,
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
    twin: &ReplicaPair,
    oid: RelationId,
    rename: impl Fn(&str, &QualifiedName) -> Result<QualifiedName>,
) -> Result<()> {
    let Some(view) = catalog::table(oid)? else { return Ok(()) };
    let (word, name) = (twin.kind.word().to_uppercase(), view.qualified());
    if xact::subtransaction(|| spi::run(&ddl::drop_in_schema(&word, &name), &[])).is_ok() {
        return Ok(());
    }
    rename(&word, &name).map(drop)
}
