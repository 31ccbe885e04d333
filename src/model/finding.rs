//! What a check has to say.

use pgrx::PgSqlErrorCode;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// bg_prepare refuses.
    Error,
    /// Something may be lost, slow or surprising.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The word in bg_check's result.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One row of bg_check.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A word to look it up by.
    pub code: &'static str,
    /// SQLSTATE that bg_prepare raises for it.
    pub sqlstate: PgSqlErrorCode,
    /// What it is about.
    pub object: String,
    /// The fact.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Finding {
    /// A refusal.
    pub(crate) fn error(
        code: &'static str,
        sqlstate: PgSqlErrorCode,
        object: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            sqlstate,
            object: object.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A warning.
    pub(crate) fn warning(
        code: &'static str,
        object: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, PgSqlErrorCode::ERRCODE_WARNING, object, message, hint)
        }
    }

    /// A note.
    pub(crate) fn note(
        code: &'static str,
        object: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Note, ..Self::warning(code, object, message, hint) }
    }
}
