//! Building what was taken off blue for the copy.

use std::time::Instant;

use crate::backfill::purge;
use crate::ddl::shadow;
use crate::error::Result;
use crate::failpoint;
use crate::model::deployment::Deployment;
use crate::model::settings::Settings;
use crate::pg::lock::{self, Mode};
use crate::pg::security::{self, Identity, SettingsLevel};
use crate::pg::spi;
use crate::pg::xact;

/// Builds the next index, adds the constraints that were NOT VALID, or runs ANALYZE. Returns what it
/// did; None when nothing is left to do.
///
/// The server itself evaluates index expressions as the table's owner, in a restricted operation.
pub fn step(deployment: &mut Deployment, settings: &Settings) -> Result<Option<String>> {
    let _us = Identity::extension()?;
    let blue_name = deployment.blue_name();
    let built = deployment.progress.indexes_built;
    if let Some(index) = deployment.plan.indexes.get(built).cloned() {
        let _level = SettingsLevel::open();
        let tablespace = index.tablespace.as_ref().map_or("", |t| t.as_str());
        security::set("default_tablespace", tablespace)?;
        let statements = shadow::build_index(&blue_name, &index);
        let build = || statements.build.iter().try_for_each(|s| spi::run(s, &[]).map(drop));
        match xact::subtransaction(build) {
            Ok(()) => {}
            // Rows that break it may have been corrected since the purge: their keys are in the log.
            Err(caught) if caught.is_collision() => {
                purge::whole(deployment, settings)?;
                build()?;
            }
            Err(caught) => return caught.raise(),
        }
        if !statements.exclusive.is_empty() {
            exclusively(deployment, settings, &statements.exclusive)?;
        }
        let what = format!("index {}", index.name.as_str());
        deployment.progress.indexes_built += 1;
        failpoint::reach("index_built");
        return Ok(Some(what));
    }
    if !deployment.progress.constraints_added {
        let statements: Vec<_> = deployment
            .plan
            .not_valid
            .iter()
            .flat_map(|c| shadow::add_constraint(&blue_name, c))
            .collect();
        if !statements.is_empty() {
            exclusively(deployment, settings, &statements)?;
        }
        deployment.progress.constraints_added = true;
    }
    if !deployment.progress.analyzed {
        spi::run(&shadow::analyze(&blue_name), &[])?;
        deployment.progress.analyzed = true;
        deployment.progress.drain_xid = xact::current_xid();
        return Ok(Some("analyze".to_owned()));
    }
    Ok(None)
}

/// Statements that keep blue's readers out, in short tries.
fn exclusively(deployment: &Deployment, settings: &Settings, statements: &[String]) -> Result<()> {
    let blue = deployment.blue();
    let until = Instant::now() + settings.retry_for;
    let done = lock::retry(settings.lock_timeout, until, |limit| {
        lock::all_within(&[(blue, Mode::AccessExclusive)], limit)?;
        for statement in statements {
            spi::run(statement, &[])?;
        }
        Ok(())
    });
    match done {
        Ok(()) => Ok(()),
        Err(caught) => caught.raise(),
    }
}
