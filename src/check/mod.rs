//! Preflight: the reasons why a table cannot be deployed, or what its owner should know before.
//!
//! One file a subject; each is a function over [`Facts`]. bg_check shows all findings, bg_prepare
//! refuses on the first error.

mod capture;
mod dependents;
pub mod elsewhere;
mod kind;
mod names;
pub mod oid_kept;
mod revert;
pub mod row_type;
mod subscribers;

use crate::catalog::dependent::{Published, Stranger};
use crate::catalog::event_trigger::EventTrigger;
use crate::catalog::row_type::RowTypeUser;
use crate::catalog::{Column, Table};
use crate::error::Error;
use crate::ident::Ident;
use crate::model::changes::Change;
use crate::model::finding::{Finding, Severity};

/// What is known of the table before anything is made.
pub struct Facts {
    /// The table.
    pub table: Table,
    /// Its columns.
    pub columns: Vec<Column>,
    /// What hangs on it and cannot be carried over.
    pub strangers: Vec<Stranger>,
    /// The changes asked for.
    pub changes: Vec<Change>,
    /// The blue schema's name.
    pub blue_schema: Ident,
    /// Event triggers that our DDL would fire.
    pub event_triggers: Vec<EventTrigger>,
    /// Functions that use its row type.
    pub row_type_users: Vec<RowTypeUser>,
    /// Standbys are connected, or may be.
    pub has_standby: bool,
    /// Publications that send the table, by its own name or by its schema's.
    pub publications: Vec<Published>,
    /// Where its rows are, and who else knows it.
    pub seen: elsewhere::Seen,
}

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
    row_type::check,
    subscribers::check,
];

/// All findings.
pub fn run(facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(facts)).collect()
}

/// The first refusal, as the error that bg_prepare raises.
pub fn refusal(findings: &[Finding]) -> Option<Error> {
    let first = findings.iter().find(|f| f.severity == Severity::Error)?;
    let others: Vec<_> = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .skip(1)
        .map(|f| f.message.clone())
        .collect();
    let error = Error::new(first.sqlstate, first.message.clone()).hint(first.hint.clone());
    Some(if others.is_empty() { error } else { error.detail(others.join("\n")) })
}
