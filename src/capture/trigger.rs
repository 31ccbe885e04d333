//! The triggers: capture on green, the guard on blue. This is the hot path of every write.
//!
//! Capture appends (order, operation, key, old key where it differs) straight to the log with the
//! heap access method: no SPI, no plan, no privilege of the writer. It finds its log by the
//! table's OID in `bluegreen.capture`, never from an argument that others could forge; a table
//! that is not there (a restored dump) is left alone.

use std::cell::RefCell;
use std::collections::HashSet;

use pgrx::PgSqlErrorCode;

use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::oid::RelationId;
use crate::pg::datum;
use crate::pg::trigger::{Event, Firing};
use crate::pg::{callback, lookup, security, syscache, trigger, xact};
use crate::state::captured::{self, Found, Target};
use crate::state::change_log::{self, Entry};

thread_local! {
    /// Tables of which the session was warned that nobody logs their changes.
    static WARNED: RefCell<HashSet<RelationId>> = RefCell::new(HashSet::new());
}

/// Registers the triggers, and what keeps the caches true. Called once per backend, when the library is
/// loaded.
pub(crate) fn init() {
    trigger::init(capture, guard);
    callback::init(captured::forget, end_of_transaction);
}

fn end_of_transaction() {
    security::reset();
    lookup::reset();
}

fn capture(firing: &Firing<'_>) -> Result<()> {
    let relation = firing.relation();
    let target = match captured::find(relation) {
        Found::Logged(target) => target,
        Found::Unknown { others } => {
            if others {
                warn_once(relation);
            }
            return Ok(());
        }
    };
    let operation = match firing.event() {
        Event::Truncate => {
            change_log::append_truncation(target.deployment, relation);
            return Ok(());
        }
        Event::Insert => b'I',
        Event::Update => b'U',
        Event::Delete => b'D',
    };
    let key: Vec<_> = target.key.iter().map(|(number, _)| firing.value(*number)).collect();
    let old = (operation == b'U').then(|| old_key(firing, &target, &key)).flatten();
    let order = change_log::order_now();
    // A log that is gone, or not ours any more, must not stop a writer: each step of the deployment looks at
    // its form, and says so.
    change_log::try_append(target.log, &Entry { operation, order, key: &key, old: old.as_deref() });
    Ok(())
}

/// The key of an updated row as it was, where it differs.
fn old_key(
    firing: &Firing<'_>,
    target: &Target,
    key: &[Option<pgrx::pg_sys::Datum>],
) -> Option<Vec<Option<pgrx::pg_sys::Datum>>> {
    let old: Vec<_> = target.key.iter().map(|(number, _)| firing.old_value(*number)).collect();
    let is_same =
        old.iter().zip(key).zip(&target.key).all(|((old, new), (_, layout))| match (old, new) {
            (Some(old), Some(new)) => datum::is_same(*old, *new, *layout),
            (old, new) => old.is_some() == new.is_some(),
        });
    (!is_same).then_some(old)
}

fn guard(firing: &Firing<'_>) -> Result<()> {
    if security::is_writing() {
        return Ok(());
    }
    let (schema, name) = syscache::qualified(firing.relation()).unwrap_or_default();
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        format!("{schema}.{name} is the offline (blue) table of a deployment and is read-only"),
    )
    .hint("Write to the live table; its changes are brought here. Where a statement has found this table by an OID that something keeps (a trigger's argument, a regclass or oid column, a constant), let it look the live table's name up instead: a swap gives the name to another OID."))
}

/// Warns the session once that a table's capture trigger belongs to no deployment: its changes are logged
/// nowhere. An extension that keeps a table's rows in others may have given it to those. Silent in a
/// restored database: it has no deployment of its own, or one of that name with other OIDs, which bg_status
/// reports.
fn warn_once(relation: RelationId) {
    let is_new = WARNED.with(|warned| warned.borrow_mut().insert(relation));
    if !is_new || captured::is_restored(relation) {
        return;
    }
    let (schema, name) = syscache::qualified(relation).unwrap_or_default();
    let table = QualifiedName::new(schema, name).plain();
    xact::warn_with_hint(
        &format!(
            "the capture trigger of {table} belongs to no deployment: its changes are not logged"
        ),
        &format!(
            "Drop the triggers bluegreen_capture, bluegreen_truncate and bluegreen_guard of {table}, if no deployment is to know of it."
        ),
    );
}
