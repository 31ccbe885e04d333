//! The one error type of the extension, and how it becomes a PostgreSQL error.
//!
//! The message is a fact and enough by itself, because many clients show nothing else; the detail
//! is the cause; the hint is an action. Errors that PostgreSQL raises itself are never wrapped:
//! they unwind through us with their own SQLSTATE.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

/// What code asks of an error besides its SQLSTATE. Nothing is found out from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ErrorKind {
    /// Nothing more is asked of it.
    #[default]
    Other,
    /// PostgreSQL: somebody else has changed the same row of a catalog.
    ConcurrentCatalogChange,
    /// Too much is left to sync for the swap's own transaction.
    Backlog,
    /// The change log has too many dead rows to be read while everybody waits.
    LongLog,
    /// Somebody has a snapshot older than the last sync that kept no history.
    OldSnapshot,
    /// A swap would be wrong beside what somebody else does or may read; it is no lock.
    InTheWay,
    /// A batch of sync parts rows that exchange values.
    Cut,
    /// Rows collide that may fit together with the misfits.
    Together,
    /// The end of a trial, by which it is rolled back.
    Trial,
    /// The reasons are gathered already; this is none.
    Refused,
}

/// A refusal or failure of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// SQLSTATE.
    pub code: PgSqlErrorCode,
    /// What it is for our own code.
    pub(crate) kind: ErrorKind,
    /// The fact.
    pub message: String,
    /// The cause.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// A number of rows, as a message says it.
pub(crate) fn rows(count: impl TryInto<u64>) -> String {
    match count.try_into() {
        Ok(1) => "1 row".to_owned(),
        Ok(count) => format!("{count} rows"),
        Err(_) => "many rows".to_owned(),
    }
}

/// Result of everything that can be refused.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a SQLSTATE and its message.
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self { code, kind: ErrorKind::Other, message: message.into(), detail: None, hint: None }
    }

    /// The message and, in parentheses, the detail: for a place that has one text.
    pub(crate) fn with_detail(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} ({detail})", self.message),
            None => self.message.clone(),
        }
    }

    /// 55000: the object is not in the state that the call needs.
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
    }

    /// 0A000: PostgreSQL or we cannot do this.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED, message)
    }

    /// 22023: an argument is wrong.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
    }

    /// XX000: a promise of our own was broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, message)
    }

    /// An error that is caught by our own code, and tells it what to do.
    pub(crate) fn signal(kind: ErrorKind) -> Self {
        Self::internal(format!("{kind:?} was not caught")).kind(kind)
    }

    /// Says what it is for our own code.
    #[must_use]
    pub(crate) fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the cause, where there is more to say of it.
    #[must_use]
    pub(crate) fn and_detail(mut self, detail: Option<String>) -> Self {
        self.detail = detail;
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        let mut report = ErrorReport::new(error.code, error.message, "pg_bluegreen");
        if let Some(detail) = error.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = error.hint {
            report = report.set_hint(hint);
        }
        report
    }
}
