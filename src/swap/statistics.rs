//! Extended statistics do not move with their table.

use crate::catalog::{self, Statistics};
use crate::ddl;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::model::member::Member;
use crate::pg::spi;

/// Moves the statistics of both tables to each other's schemas around `tables`, which moves the
/// tables. Those that go live take the schema of their namesake.
pub(super) fn swap(member: &Member, tables: impl FnOnce()) -> Result<()> {
    let green = catalog::statistics(member.green())?;
    let blue = catalog::statistics(member.blue())?;
    let staging = member.staging_schema();
    for statistics in &green {
        set_schema(&statistics.schema, statistics, &staging)?;
    }
    tables();
    for statistics in &blue {
        let namesake = green.iter().find(|g| g.name == statistics.name);
        let live = namesake.map_or(&member.source.schema, |g| &g.schema);
        set_schema(&statistics.schema, statistics, live)?;
    }
    for statistics in &green {
        set_schema(&staging, statistics, &member.blue_schema)?;
    }
    Ok(())
}

fn set_schema(from: &Ident, statistics: &Statistics, to: &Ident) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let name = QualifiedName { schema: from.clone(), name: statistics.name.clone() };
    spi::run(&ddl::statistics::set_schema(&name, to), &[])?;
    Ok(())
}
