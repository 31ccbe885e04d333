//! Preflight: the reasons why a table cannot be deployed, or what its owner should know before.
//!
//! One file a subject; each is a function over [`Facts`]. bg_check shows all findings, bg_prepare
//! refuses on the first error.

mod capture;
mod changing_checks;
mod dependents;
pub(crate) mod elsewhere;
pub(crate) mod facts;
mod kind;
mod names;
pub(crate) mod needs;
pub(crate) mod oid_kept;
pub(crate) mod plain_alter;
mod revert;
pub(crate) mod row_type;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod snapshots;
mod space;
mod subscribers;

use crate::check::facts::Facts;
use crate::error::Error;
use crate::model::finding::{Finding, Severity};

/// A check.
type Check = fn(&Facts) -> Vec<Finding>;

/// All of them, in the order in which they are told.
const CHECKS: &[Check] = &[
    kind::check,
    names::check,
    dependents::check,
    elsewhere::check,
    capture::check,
    revert::check,
    changing_checks::check,
    row_type::check,
    subscribers::check,
    space::check,
];

/// Refusals of what is no table that could be copied: nothing is tried with it.
const NOT_TRIED: &[&str] = &[
    "kind",
    "partitioned",
    "partition",
    "typed",
    "system",
    "temporary",
    "access_method",
    "statistics_name",
    "rows_elsewhere",
    "known_by_oid",
];

/// Whether a trial can tell more.
pub(crate) fn can_be_tried(findings: &[Finding]) -> bool {
    !findings.iter().any(|f| f.severity == Severity::Error && NOT_TRIED.contains(&f.code))
}

/// All findings.
pub(crate) fn run(facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(facts)).collect()
}

/// What bg_prepare says although it does not refuse: the copy may not fit.
pub(crate) fn foretold(findings: &[Finding]) -> Vec<String> {
    let short = |f: &&Finding| f.code == "space" && f.severity == Severity::Warning;
    findings.iter().filter(short).map(|f| f.message.clone()).collect()
}

/// The first refusal, as the error that bg_prepare raises.
pub(crate) fn refusal(findings: &[Finding]) -> Option<Error> {
    let first = refusals(findings).next()?;
    let others: Vec<_> = refusals(findings).skip(1).map(|f| f.message.clone()).collect();
    let error = Error::new(first.sqlstate, first.message.clone()).hint(first.hint.clone());
    Some(if others.is_empty() { error } else { error.detail(others.join("\n")) })
}

/// The same, saying who shows all where there is more than one.
pub(crate) fn pointing_to_all(error: Error, findings: &[Finding]) -> Error {
    let Some(others) = error.detail.as_ref().filter(|_| refusals(findings).count() > 1) else {
        return error;
    };
    let detail = format!(
        "{others}\nSELECT * FROM bg_check(…) with the same arguments shows every reason with its hint."
    );
    error.detail(detail)
}

fn refusals(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|f| f.severity == Severity::Error)
}
