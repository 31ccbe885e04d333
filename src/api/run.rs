//! The procedure.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::api::required;
use crate::error::Error;
use crate::guard::access;
use crate::ident::literal;
use crate::pg::procedure::PhaseRow;
use crate::pg::statement;
use crate::pg::xact::Procedure;
use crate::settings;
use crate::verbs::run;
use crate::verbs::run::Until;

#[pg_extern(sql = false)]
fn bg_run(
    source: Option<pg_sys::Oid>,
    until: Option<String>,
    phase: Option<String>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<PhaseRow, ErrorReport> {
    // A variable may have any value: it gets another one.
    if let Some(phase) = phase.filter(|_| statement::is_constant(fcinfo, 2)) {
        return Err(Error::argument("phase is what CALL bg_run returns, and takes no value")
            .hint(format!("Use until => {} instead.", literal(&phase)))
            .into());
    }
    access::require_lasting_writable("CALL bg_run")?;
    access::require_read_committed("CALL bg_run")?;
    let until = Until::parse(until.as_deref().unwrap_or("ready"))?;
    let procedure = Procedure::enter(fcinfo, "CALL bg_run")?;
    let found = access::find(required(source, "source")?.into(), access::caller())?;
    let settings = settings::read(None, None);
    let phase = run::run(&procedure, found.id, until, &settings, |line| notice!("{line}"))?;
    Ok(PhaseRow(phase.to_string()))
}
