//! The server's limits of time that are meant for clients, and that a role or a database sets for everybody.

use crate::error::Result;
use crate::pg::security;

/// Those of a session. PostgreSQL's own autovacuum workers switch off the same ones.
const OF_SESSION: &[&str] = &[
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    TRANSACTION_TIMEOUT,
];

/// PostgreSQL 17: ends the session, with FATAL.
#[cfg(any(feature = "pg17", feature = "pg18"))]
const TRANSACTION_TIMEOUT: &str = "transaction_timeout";

/// Switches them off in a background worker: its batches are short by themselves, and what is not, a VACUUM, has to
/// end.
pub(crate) fn none_for_session() -> Result<()> {
    OF_SESSION.iter().try_for_each(|name| security::set_for_session(name, "0"))
}

/// Switches off what would end the session in the middle of the transaction that has just begun: an index is built
/// in one. (`statement_timeout` counts for the whole CALL and cannot be changed in it.)
#[cfg(any(feature = "pg17", feature = "pg18"))]
pub(crate) fn none_for_transaction() -> Result<()> {
    security::set_local(TRANSACTION_TIMEOUT, "0")
}

/// The server has none.
#[cfg(not(any(feature = "pg17", feature = "pg18")))]
pub(crate) fn none_for_transaction() -> Result<()> {
    Ok(())
}
