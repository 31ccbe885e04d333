//! A deployment that came with a dump: its record, both tables and the logs are here, but under other
//! OIDs, and nothing was logged since. It can only be ended. Two databases are told apart by the logs:
//! they have names that nobody else gives, and OIDs that the record has too.

use crate::catalog::{self, dependent as reader};
use crate::error::{Error, Result};
use crate::ident::{QualifiedName, literal};
use crate::model::dependent::CopyKind;
use crate::model::deployment::{Deployment, Side};
use crate::model::phase::Phase;

/// Gives it the OIDs of what has its names here. Runs as the extension.
pub(crate) fn find_by_name(d: &mut Deployment) -> Result<()> {
    let before = d.origin;
    let green = catalog::relation_oid(&d.source)?;
    let blue = catalog::relation_oid(&d.blue_name())?.unwrap_or(0);
    d.owner = match green {
        Some(oid) => catalog::existing_table(oid)?.owner,
        None => 0,
    };
    let green = green.unwrap_or(0);
    (d.origin, d.shadow) = match d.green_side() {
        Side::Origin => (green, blue),
        Side::Shadow => (blue, green),
    };
    for copy in d.plan.dependents.copies.iter_mut().filter(|c| c.parent == before) {
        copy.parent = d.origin;
    }
    for pair in &mut d.plan.sequences {
        pair.spare = None;
    }
    let live_is_origin = d.green_side() == Side::Origin;
    for twin in &mut d.progress.twins {
        let find = |schema| -> Result<u32> {
            let name = QualifiedName { schema, name: twin.name.clone() };
            Ok(match twin.kind {
                CopyKind::Function => reader::functions(&name.schema, &name.name)?.pop(),
                _ => catalog::relation_oid(&name)?,
            }
            .unwrap_or(0))
        };
        let (live, offline) = (find(twin.schema.clone())?, find(twin.blue_schema.clone())?);
        let (origin, shadow) = if live_is_origin { (live, offline) } else { (offline, live) };
        twin.origin = origin;
        twin.shadow = twin.shadow.map(|_| shadow);
    }
    Ok(())
}

/// Why it cannot go on.
pub(crate) fn refusal(d: &Deployment) -> Error {
    Error::state(format!(
        "deployment {} of {} came here with a dump and cannot go on: changes were not logged since",
        d.id,
        d.source.plain()
    ))
    .hint(next_step(d))
}

/// How it is ended.
pub(crate) fn next_step(d: &Deployment) -> String {
    let table = literal(&d.source.plain());
    match d.phase {
        Phase::Swapped => format!("SELECT bg_finish({table}) takes its remains away."),
        _ => format!("SELECT bg_abort({table}) takes its remains away."),
    }
}
