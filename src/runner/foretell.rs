//! The step that measures what the end of a deployment is foretold by.

use std::time::Instant;

use crate::backfill::sample;
use crate::error::Result;
use crate::model::member::Member;
use crate::model::settings::Settings;
use crate::state::store::{self, LockedDeployment};

/// Whether a member's indexes are to be measured now.
pub(crate) fn is_due(member: &Member) -> bool {
    sample::is_due(member)
}

/// Measures them. The pace of the copy does not change by it.
pub(crate) fn measure(d: &mut LockedDeployment, settings: &Settings) -> Result<()> {
    for member in d.members_mut() {
        // It may have gone on meanwhile.
        if !is_due(member) {
            continue;
        }
        let began = Instant::now();
        let sample = sample::take(member, settings)?;
        let seconds = began.elapsed().as_secs_f64();
        let (some, all) = (sample.indexes.len(), member.plan.indexes.len());
        let measured = match sample.rows {
            0 => "only sizes".to_owned(),
            _ => format!("{some} of {all} indexes"),
        };
        let count = Some(sample.rows);
        member.progress.sample = Some(sample);
        if let Some(mark) = &mut member.progress.copy_mark {
            *mark += seconds;
        }
        store::save(member)?;
        let detail = Some(measured);
        let step = store::Step { name: "sample", seconds, count, detail, error: None };
        store::record(member, &step)?;
    }
    Ok(())
}
