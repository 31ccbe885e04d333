//! Named points at which a test makes a step fail, end or wait. Compiled out of a release build.
//!
//! The setting `bluegreen_test.failpoint` names the point, and how:
//!
//! | value | at the point the step |
//! | --- | --- |
//! | `name` | fails with the error `failpoint name` |
//! | `name:crash` | ends its backend as kill -9 does; the server recovers |
//! | `name:wait` | waits for the advisory lock 42, so that a test can hold it there |
//!
//! A name is the step's and the place's: `swap_drained`. Every point has a row in the table of the
//! crash test.

/// Does what the setting `bluegreen_test.failpoint` says of this point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reach(_name: &str) {}

/// Does what the setting `bluegreen_test.failpoint` says of this point.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &str) {
    use crate::pg::{spi, xact};

    let sql = "SELECT pg_catalog.current_setting('bluegreen_test.failpoint', true)";
    let set = match spi::one::<String>(sql, &[]) {
        Ok(set) => set.unwrap_or_default(),
        Err(error) => pgrx::error!("failpoint {name}: {}", error.message),
    };
    match set.strip_prefix(name) {
        Some("") => pgrx::error!("failpoint {name}"),
        Some(":crash") => xact::crash(),
        Some(":wait") => {
            if let Err(error) = pass_gate() {
                pgrx::error!("failpoint {name}: {}", error.message);
            }
        }
        _ => {}
    }
}

/// Waits while somebody holds the advisory lock by which tests stop a step, however short the locks'
/// time is.
#[cfg(feature = "failpoints")]
fn pass_gate() -> crate::error::Result<()> {
    use crate::pg::security::{self, SettingsLevel};
    use crate::pg::spi::{self, Arg};

    const GATE: i64 = 42;
    let _level = SettingsLevel::open();
    security::set("lock_timeout", "0")?;
    spi::run("SELECT pg_catalog.pg_advisory_lock_shared($1)", &[Arg::Int(GATE)])?;
    spi::run("SELECT pg_catalog.pg_advisory_unlock_shared($1)", &[Arg::Int(GATE)])?;
    Ok(())
}
