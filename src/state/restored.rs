//! A deployment that came with a dump: its record, both tables and the logs are here, but under other
//! OIDs, and nothing was logged since. It can only be ended. Two databases are told apart by the logs:
//! they have names that nobody else gives, and OIDs that the record has too.

use crate::catalog::{self, dependent as reader};
use crate::error::{Error, Result};
use crate::ident::{QualifiedName, literal};
use crate::model::dependent::DependentKind;
use crate::model::member::{Member, Side, TableTree};
use crate::model::phase::Phase;
use crate::oid::{ObjectId, RelationId, RoleId};

/// Gives it the OIDs of what has its names here. Runs as the extension.
pub(crate) fn find_by_name(member: &mut Member) -> Result<()> {
    let before = member.origin.root;
    let green = catalog::relation_oid(&member.source)?;
    let blue = catalog::relation_oid(&member.blue_name())?.unwrap_or_default();
    member.owner = match green {
        Some(oid) => catalog::existing_table(oid)?.owner,
        None => RoleId::INVALID,
    };
    let green = green.unwrap_or_default();
    let (green, blue) = (TableTree::plain(green), TableTree::plain(blue));
    (member.origin, member.shadow) = match member.green_side() {
        Side::Origin => (green, blue),
        Side::Shadow => (blue, green),
    };
    for copy in member.plan.dependents.copies.iter_mut().filter(|c| c.parent == before) {
        copy.parent = member.origin.root;
    }
    for pair in &mut member.plan.sequences {
        pair.spare = None;
    }
    let live_is_origin = member.green_side() == Side::Origin;
    for twin in &mut member.progress.twins {
        let find = |schema| -> Result<ObjectId> {
            let name = QualifiedName { schema, name: twin.name.clone() };
            Ok(match twin.kind {
                DependentKind::Function => {
                    reader::functions(&name.schema, &name.name)?.pop().map(ObjectId::from)
                }
                _ => catalog::relation_oid(&name)?.map(ObjectId::from),
            }
            .unwrap_or_default())
        };
        let (live, offline) = (find(twin.schema.clone())?, find(twin.blue_schema.clone())?);
        let (origin, shadow) = if live_is_origin { (live, offline) } else { (offline, live) };
        twin.origin = origin;
        twin.shadow = twin.shadow.map(|_| shadow);
    }
    Ok(())
}

/// Why it cannot go on.
pub(crate) fn refusal(member: &Member) -> Error {
    Error::state(format!(
        "the deployment of {} came here with a dump and cannot go on: changes were not logged since",
        member.source.plain()
    ))
    .hint(next_step(member))
}

/// How it is ended.
pub(crate) fn next_step(member: &Member) -> String {
    format!("Remove what is left of it with {}.", statement(member))
}

/// The statement that ends it.
pub(crate) fn statement(member: &Member) -> String {
    let table = literal(&member.source.plain());
    match member.phase {
        // The dump was made without it.
        _ if member.green() == RelationId::INVALID => format!("SELECT bg_abort({})", member.id),
        Phase::Swapped => format!("SELECT bg_finish({table})"),
        _ => format!("SELECT bg_abort({table})"),
    }
}
