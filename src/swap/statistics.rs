//! Extended statistics do not move with their table.

use crate::catalog::{self, Statistics};
use crate::ddl;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::model::deployment::Deployment;
use crate::pg::spi;

/// Moves the statistics of both tables to each other's schemas around `tables`, which moves the
/// tables. Those that go live take the schema of their namesake.
pub(super) fn swap(deployment: &Deployment, tables: impl FnOnce()) -> Result<()> {
    let green = catalog::statistics(deployment.green())?;
    let blue = catalog::statistics(deployment.blue())?;
    let crossing = deployment.crossing_schema();
    for statistics in &green {
        set_schema(&statistics.schema, statistics, &crossing)?;
    }
    tables();
    for statistics in &blue {
        let namesake = green.iter().find(|g| g.name == statistics.name);
        let live = namesake.map_or(&deployment.source.schema, |g| &g.schema);
        set_schema(&statistics.schema, statistics, live)?;
    }
    for statistics in &green {
        set_schema(&crossing, statistics, &deployment.blue_schema)?;
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
