//! The failure of a call that rolls back its caller's transaction, and with it whatever it would write: a
//! background worker writes it down.

use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pg::letter::{self, Letter};
use crate::pg::lock;
use crate::pg::xact;
use crate::runner::worker::{self, Job};
use crate::state::store;

/// How long the worker waits for somebody who has written the state and not committed: the caller, too.
const WRITE_WAIT: Duration = Duration::from_secs(1);
/// How long the caller waits for the worker.
const WAIT: Duration = Duration::from_secs(2);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What is told of an error.
#[derive(Serialize, Deserialize)]
struct Failure {
    code: i32,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

/// Has the failure of a call written to the deployment and its history. The call's own work is rolled back already,
/// or the worker would wait for it. In vain where there is no free process, and where the caller's transaction has
/// written the deployment before.
pub(crate) fn tell(id: i64, error: &Error) {
    // The deployment is at work: that is no failure of it.
    if error.code == PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE {
        return;
    }
    let Error { code, message, detail, hint, .. } = error.clone();
    let failure = Failure { code: code as i32, message, detail, hint };
    let _told = xact::subtransaction(|| {
        let text = serde_json::to_string(&failure)
            .map_err(|e| Error::internal(format!("a failure as JSON: {e}")))?;
        let Some(letter) = Letter::write(&text) else { return Ok(()) };
        let Some(worker) = worker::start(Job::Note(id, letter.number()))? else { return Ok(()) };
        let until = Instant::now() + WAIT;
        while worker.is_alive() && Instant::now() < until {
            xact::sleep(LOOK_EVERY);
        }
        Ok(())
    });
}

/// What the worker does.
pub(crate) fn write(id: i64, number: i64) -> Result<()> {
    let Some(text) = letter::read(number) else { return Ok(()) };
    let failure: Failure = serde_json::from_str(&text)
        .map_err(|e| Error::internal(format!("a failure cannot be read: {e}")))?;
    let Some(member) = store::by_id(id)?.filter(|member| member.phase.is_open()) else {
        return Ok(());
    };
    let Failure { code, message, detail, hint } = failure;
    let error = Error { detail, hint, ..Error::new(PgSqlErrorCode::from(code), message) };
    let written = xact::subtransaction(|| {
        let _limited = lock::limited(WRITE_WAIT)?;
        store::save_error(id, &error)
    });
    match written {
        Ok(()) => {}
        Err(caught) if caught.is_lock_failure() => return Ok(()),
        Err(caught) => return caught.raise(),
    }
    let error = Some(error.message);
    store::record(
        &member,
        &store::Step { name: "backfill", seconds: 0.0, count: None, detail: None, error },
    )
}
