//! The background workers' main loop.

use crate::error::Result;
use crate::pg::{security, time_limits, worker as process, xact};
use crate::runner::failure;
use crate::runner::worker::{self, CopyWorker, Job, Next, OwnTable};

/// What a worker does, from its beginning to its end.
pub(crate) fn main(job: &str) -> Result<()> {
    let job = Job::parse(job)?;
    security::set_for_session("application_name", job.application())?;
    // The database's setting is for its clients.
    security::set_for_session("default_transaction_read_only", "off")?;
    time_limits::none_for_session()?;
    match job {
        Job::Help(id) => help(id),
        Job::Vacuum(id, table) => vacuum(id, table),
        Job::Note(id, letter) => process::transaction(|| failure::write(id, letter)),
    }
}

fn help(id: i64) -> Result<()> {
    // A batch that a crash loses is copied again.
    security::set_for_session("synchronous_commit", "off")?;
    let mut helper = CopyWorker::new(id);
    while let Next::Rest(time) = process::transaction(|| helper.batch())? {
        xact::sleep(time);
    }
    Ok(())
}

fn vacuum(id: i64, table: OwnTable) -> Result<()> {
    let Some((sql, nice)) = process::transaction(|| worker::vacuum(id, table))? else {
        return Ok(());
    };
    if nice > 0.0 {
        // The server's own way to rest in proportion: 2 ms for each 200 units of work take about as
        // long as the work itself.
        let delay = (2.0 * nice).min(100.0);
        security::set_for_session("vacuum_cost_delay", &format!("{delay}ms"))?;
    }
    process::utility(&sql)
}
