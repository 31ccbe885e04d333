//! Whether ALTER TABLE alone would do, without a copy: found by making the changes on an empty copy and
//! looking which files the server replaced. It rewrites an empty table in the same cases as a full one.
//!
//! What it only reads (for SET NOT NULL, CHECK, foreign keys, unique keys) it can be told to read beside the
//! writers. Source: `tablecmds.c` (`ATExecAddColumn`, `ATColumnChangeRequiresRewrite`, `TryReuseIndex`,
//! `ATExecSetNotNull`, `ATRewriteTables`).

use crate::blueprint::build::Order;
use crate::catalog::storage::{self, Kind, Stored};
use crate::catalog::{self, Column};
use crate::check;
use crate::ddl::{self, plain_alter as ddl_plain};
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::model::changes::{Action, Change, ConstraintKind};
use crate::model::dependent::Dependents;
use crate::model::finding::Finding;
use crate::model::member::Member;
use crate::model::plan::{RecordedConstraint, RecordedIndex};
use crate::model::settings::Settings;
use crate::oid::RelationId;
use crate::pg::security::Identity;
use crate::pg::xact;
use crate::shadow::create;

/// Storage parameters that say how rows are written: they mean the rows that are there, too, if the table
/// is written anew.
const OF_ROWS: &[&str] = &["fillfactor", "toast_tuple_target"];

/// Says so, where it would. `member` is what a deployment would make. Changes nothing.
pub(crate) fn finding(
    order: &Order<'_>,
    settings: &Settings,
    member: &Member,
) -> Result<Option<Finding>> {
    let name = order.table.qualified().plain();
    let statements = statements(order, settings, &member.plan.dependents)?;
    Ok(statements.map(|statements| check::plain_alter::finding(&name, &statements)))
}

/// The statements that would do, in their order; None where a copy is needed, or meant.
fn statements(
    order: &Order<'_>,
    settings: &Settings,
    dependents: &Dependents,
) -> Result<Option<Vec<String>>> {
    let arguments = &order.request.arguments;
    let is_asked = order.request.target.is_none()
        && !order.changes.is_empty()
        && arguments.forward.is_empty()
        && arguments.reverse.is_empty();
    if !is_asked || !order.changes.iter().all(may_be_plain) || need_each_other(order.changes) {
        return Ok(None);
    }
    for change in order.changes {
        if let Change::Alter { action: Action::AlterType { column, .. }, .. } = change {
            let _us = Identity::extension()?;
            if storage::holds_type(order.table.oid, column)? {
                return Ok(None);
            }
        }
    }
    let tried = xact::trial(|| {
        let copy = order.changed_copy(settings)?;
        let _us = Identity::extension()?;
        let Some(checks) = new_checks(order.changes, &copy.before, &storage::stored(copy.shadow)?)
        else {
            return Ok(None);
        };
        let live = catalog::columns(order.table.oid)?;
        let names = catalog::checks(copy.shadow)?.into_iter().map(|check| check.recorded.name);
        Writer {
            table: order.table.qualified(),
            not_null: live.into_iter().filter(|column| column.not_null).collect(),
            taken: names.collect(),
            checks,
            foreign_keys: dependents.added_foreign_keys().cloned().collect(),
            owned: owned(copy.shadow)?,
            key: key(copy.shadow)?,
            copy: copy.name,
            written: vec![ddl_plain::bound_wait()],
        }
        .write(order.changes)
    });
    match tried {
        Ok(statements) => Ok(statements),
        Err(caught) if caught.class() == "57" => caught.raise(),
        // It is an advice: what was found besides is told all the same.
        Err(_) => Ok(None),
    }
}

/// Changes that one ALTER TABLE makes together, and that cannot be told one after the other: a key that replaces
/// another one would be missing while it is built, and some need what is written behind them.
fn need_each_other(changes: &[Change]) -> bool {
    let is = |wanted: fn(&Action) -> bool| {
        changes.iter().any(|change| match change {
            Change::Alter { action, .. } => wanted(action),
            Change::RenameColumn { .. } | Change::RenameConstraint { .. } => false,
        })
    };
    let adds_key = is(|action| {
        matches!(
            action,
            Action::AddConstraint { kind: ConstraintKind::Unique | ConstraintKind::PrimaryKey, .. }
        )
    });
    let adds_foreign_key = is(|action| {
        matches!(action, Action::AddConstraint { kind: ConstraintKind::ForeignKey, .. })
    });
    let drops =
        is(|action| matches!(action, Action::DropConstraint { .. } | Action::DropColumn { .. }));
    let sets_not_null = is(|action| matches!(action, Action::SetNotNull { .. }));
    let adds_identity = is(|action| matches!(action, Action::AddIdentity { .. }));
    adds_key && (drops || adds_foreign_key) || adds_identity && (adds_key || sets_not_null)
}

/// Actions that PostgreSQL may do without writing rows, or that can be written so.
fn may_be_plain(change: &Change) -> bool {
    let Change::Alter { action, .. } = change else { return true };
    match action {
        // These mean the rows that are there, if the table is written anew.
        Action::SetStorage { .. } | Action::SetCompression { .. } => false,
        Action::SetStorageParameters { names } | Action::ResetStorageParameters { names } => {
            !names.iter().any(|name| OF_ROWS.contains(&name.trim_start_matches("toast.")))
        }
        Action::AddConstraint { kind, .. } => {
            !matches!(kind, ConstraintKind::Exclude | ConstraintKind::NotNull)
        }
        _ => true,
    }
}

/// The names of CHECK constraints that the changes add, in their order; None where the server wrote a file
/// anew, or would have to read the rows for more than these changes.
fn new_checks(changes: &[Change], before: &[Stored], after: &[Stored]) -> Option<Vec<Ident>> {
    let new = |kind: Kind| {
        let is_new = move |s: &&Stored| {
            s.kind == kind && !before.iter().any(|b| b.kind == kind && b.number == s.number)
        };
        after.iter().filter(is_new).map(|s| s.name.clone()).collect::<Vec<_>>()
    };
    let added = |wanted: fn(ConstraintKind) -> bool| {
        let is_added = |change: &&Change| match change {
            Change::Alter { action: Action::AddConstraint { kind, .. }, .. } => wanted(*kind),
            _ => false,
        };
        changes.iter().filter(is_added).count()
    };
    let is_column_of = |name: &Ident| {
        changes.iter().any(|change| match change {
            Change::Alter { action: Action::AddColumn { column, .. }, .. } => {
                column == name.as_str()
            }
            _ => false,
        })
    };
    let keys = added(|kind| matches!(kind, ConstraintKind::Unique | ConstraintKind::PrimaryKey));
    let checks = new(Kind::Check);
    let is_plain = new(Kind::Table).is_empty()
        && new(Kind::Index).len() == keys
        && checks.len() == added(|kind| kind == ConstraintKind::Check)
        // A column that has no value in the rows that are there.
        && !new(Kind::NotNull).iter().any(is_column_of);
    is_plain.then_some(checks)
}

/// Unique indexes of the copy that constraints own.
fn owned(shadow: RelationId) -> Result<Vec<(RecordedIndex, RecordedConstraint)>> {
    let indexes = catalog::indexes(shadow)?.into_iter().map(|index| index.recorded);
    Ok(indexes.filter_map(|index| index.constraint.clone().map(|c| (index, c))).collect())
}

/// The columns of the copy's primary key.
fn key(shadow: RelationId) -> Result<Vec<Ident>> {
    let keys = catalog::keys(shadow)?;
    let primary = keys.iter().find(|key| key.primary);
    Ok(primary.map(|key| key.names().cloned().collect()).unwrap_or_default())
}

/// Writes the statements down.
struct Writer {
    table: QualifiedName,
    copy: QualifiedName,
    /// Columns that are NOT NULL by now.
    not_null: Vec<Column>,
    /// Names that a constraint has.
    taken: Vec<Ident>,
    /// Names of what the changes add, in their order.
    checks: Vec<Ident>,
    foreign_keys: Vec<Ident>,
    owned: Vec<(RecordedIndex, RecordedConstraint)>,
    /// The primary key as it will be.
    key: Vec<Ident>,
    written: Vec<String>,
}

impl Writer {
    /// All statements; None where one cannot be told.
    fn write(mut self, changes: &[Change]) -> Result<Option<Vec<String>>> {
        for step in create::steps(changes, &[]) {
            let (mut at_once, mut later) = (Vec::new(), Vec::new());
            for change in step.changes {
                match change {
                    Change::RenameColumn { from, to } => {
                        let (from, to) = (Ident::new(from), Ident::new(to));
                        self.written.push(ddl::table::rename_column(&self.table, &from, &to));
                    }
                    Change::RenameConstraint { from, to } => {
                        let (from, to) = (Ident::new(from), Ident::new(to));
                        self.written.push(ddl::table::rename_constraint(&self.table, &from, &to));
                    }
                    Change::Alter { text, action } => match self.beside_writers(text, action) {
                        Some(Some(statements)) => later.extend(statements),
                        Some(None) => at_once.push(text.as_str()),
                        None => return Ok(None),
                    },
                }
                if let Change::Alter { action: Action::AlterType { column, .. }, .. } = change {
                    later.push(ddl_plain::analyze_column(&self.table, &Ident::new(column)));
                }
            }
            if !at_once.is_empty() {
                self.written.push(ddl::table::alter(&self.table, &at_once));
            }
            self.written.extend(later);
        }
        Ok(Some(self.written))
    }

    /// How an action is done that would read rows under its lock: Some(None) where it reads none, None where
    /// that cannot be told.
    fn beside_writers(&mut self, text: &str, action: &Action) -> Option<Option<Vec<String>>> {
        use ConstraintKind as Kind;
        let Action::AddConstraint { name, kind, not_valid } = action else {
            return Some(match action {
                Action::SetNotNull { column } => self.set_not_null(&Ident::new(column)),
                _ => None,
            });
        };
        let given = name.as_ref().map(Ident::new);
        match kind {
            Kind::Check | Kind::ForeignKey => {
                let made = if *kind == Kind::Check {
                    take(&mut self.checks, given.as_ref())
                } else {
                    take(&mut self.foreign_keys, given.as_ref())
                };
                if *not_valid {
                    return Some(None);
                }
                let name = given.clone().or(made)?;
                let is_named = given.is_some();
                Some(Some(ddl_plain::add_checked_later(&self.table, text, &name, is_named).into()))
            }
            Kind::Unique | Kind::PrimaryKey => {
                let letter = if *kind == Kind::Unique { "u" } else { "p" };
                let fits = |(_, c): &(RecordedIndex, RecordedConstraint)| {
                    c.kind == letter && given.as_ref().is_none_or(|given| *given == c.name)
                };
                let mut fitting = self.owned.iter().filter(|owned| fits(owned));
                // Of two that have no name it is not known which is which.
                let ((index, owned), None) = (fitting.next()?, fitting.next()) else { return None };
                let attach = ddl_plain::add_by_index(&self.table, &self.copy, index, owned)?;
                let mut all = Vec::new();
                if *kind == Kind::PrimaryKey {
                    for column in self.key.clone() {
                        all.extend(self.set_not_null(&column).into_iter().flatten());
                    }
                }
                all.extend(attach);
                Some(Some(all))
            }
            Kind::Exclude | Kind::NotNull => None,
        }
    }

    /// None where it is NOT NULL already.
    fn set_not_null(&self, column: &Ident) -> Option<Vec<String>> {
        if self.not_null.iter().any(|c| c.name == *column) {
            return None;
        }
        let base: String = column.as_str().chars().take(12).collect();
        let free = |name: &Ident| !self.taken.contains(name);
        let names = (1..).map(|n| match n {
            1 => Ident::new(format!("{base}_is_not_null")),
            n => Ident::new(format!("{base}_is_not_null{n}")),
        });
        let check = names.into_iter().find(free)?;
        Some(ddl_plain::set_not_null(&self.table, column, &check).into())
    }
}

/// The next name, or the one that was given.
fn take(names: &mut Vec<Ident>, given: Option<&Ident>) -> Option<Ident> {
    let at = match given {
        Some(given) => names.iter().position(|name| name == given)?,
        None => 0,
    };
    (at < names.len()).then(|| names.remove(at))
}
