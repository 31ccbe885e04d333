//! Foreign keys from the table and to it: taken off one table and put on the other in the swap, NOT
//! VALID, and validated right after it in a transaction of their own.

use crate::catalog::Table;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::catalog::dependent::{self as reader, ForeignKey, UnsupportedDependent};
use crate::ddl::dependent::{self as ddl, Ends};
use crate::ddl::{constraint, table};
use crate::dependent::failure::{broken, cause};
use crate::dependent::unsupported::require_supported;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::changes::{Action, Change, ConstraintKind};
use crate::model::dependent::{DetachAttach, ReattachedObject};
use crate::oid::RelationId;
use crate::pg::lock;
use crate::pg::parse::{self, A_KEY};
use crate::pg::reasons::Reasons;
use crate::pg::security::Identity;
use crate::pg::spi;
use crate::pg::xact;

/// Foreign keys from the table and to it, without those that the server itself makes for partitions.
fn own(table: RelationId) -> Result<Vec<ForeignKey>> {
    Ok(reader::foreign_keys(table)?.into_iter().filter(|k| !k.inherited).collect())
}

/// Foreign keys that cannot be carried over.
pub(super) fn strangers(table: RelationId) -> Result<Vec<UnsupportedDependent>> {
    let mut found = Vec::new();
    for key in own(table)? {
        let name = title(&key);
        if key.child_kind != "r" {
            found.push(UnsupportedDependent {
                kind: "foreign key of a partitioned table".to_owned(),
                name,
            });
        } else if key.switched_off {
            found.push(UnsupportedDependent {
                kind: "foreign key that is switched off".to_owned(),
                name,
            });
        }
    }
    Ok(found)
}

fn title(key: &ForeignKey) -> String {
    let child = QualifiedName { schema: key.child_schema.clone(), name: key.child_name.clone() };
    format!("foreign key {} of {}", crate::ident::plain(key.name.as_str()), child.plain())
}

/// What the changes do to the table's own foreign keys, which are not on the shadow.
pub(super) struct Followed {
    /// The positions of those changes.
    pub skip: Vec<usize>,
    /// Keys that get another name, or none.
    names: Vec<(Ident, Option<Ident>)>,
    /// Keys that are added, as they are written.
    added: Vec<String>,
}

/// Follows the table's own foreign keys through the changes.
pub(super) fn follow(table: RelationId, changes: &[Change]) -> Result<Followed> {
    let keys = own(table)?;
    let mut names: Vec<(Ident, Option<Ident>)> = keys
        .into_iter()
        .filter(|k| k.child == table)
        .map(|k| (k.name.clone(), Some(k.name)))
        .collect();
    let (mut skip, mut added) = (Vec::new(), Vec::new());
    for (at, change) in changes.iter().enumerate() {
        let (from, to) = match change {
            Change::RenameConstraint { from, to } => (from, Some(Ident::new(to))),
            Change::Alter { action: Action::DropConstraint { name, .. }, .. } => (name, None),
            Change::Alter {
                action: Action::AddConstraint { kind: ConstraintKind::ForeignKey, .. },
                text,
            } => {
                added.push(text.clone());
                skip.push(at);
                continue;
            }
            _ => continue,
        };
        let now =
            |n: &&mut (Ident, Option<Ident>)| n.1.as_ref().is_some_and(|n| n.as_str() == from);
        if let Some(key) = names.iter_mut().find(now) {
            key.1 = to;
            skip.push(at);
        }
    }
    Ok(Followed { skip, names, added })
}

impl Followed {
    fn name(&self, key: &ForeignKey, is_child: bool) -> Option<Ident> {
        match self.names.iter().find(|(name, _)| is_child && *name == key.name) {
            Some((_, now)) => now.clone(),
            None => Some(key.name.clone()),
        }
    }
}

/// What the keys are carried to.
pub(super) struct Carried<'a> {
    /// The live table.
    pub(super) table: &'a Table,
    /// The new one.
    pub(super) shadow: RelationId,
    /// Its name by now.
    pub(super) name: &'a QualifiedName,
    /// The columns that correspond.
    pub(super) pairs: &'a [(Ident, Ident)],
    /// What the changes do to the keys.
    pub(super) followed: &'a Followed,
    /// Why one cannot be.
    pub(super) reasons: &'a Reasons<'a>,
}

/// The moves of all foreign keys. The new table is tried as it is now, with its keys. `cascade`: what cannot
/// be carried is left behind.
pub(super) fn discover(carried: &Carried<'_>, cascade: bool) -> Result<Vec<ReattachedObject>> {
    let &Carried { table, name: shadow, pairs, followed, reasons, .. } = carried;
    let source = table.qualified();
    let mut moves = Vec::new();
    for key in own(table.oid)? {
        let child =
            QualifiedName { schema: key.child_schema.clone(), name: key.child_name.clone() };
        let parent =
            QualifiedName { schema: key.parent_schema.clone(), name: key.parent_name.clone() };
        let is_child = key.child == table.oid;
        let off = vec![constraint::drop(&child, &key.name)];
        let origin_ends = Ends {
            child: &child,
            columns: &key.columns,
            set_columns: &key.set_columns,
            parent: &parent,
            referenced: &key.referenced,
        };
        let on = ddl::add_foreign_key(&key, &origin_ends);
        let origin = DetachAttach { off, on, ..DetachAttach::default() };
        let renamed = followed.name(&key, is_child).map(|name| ForeignKey { name, ..key.clone() });
        let shadow_said = match &renamed {
            None => None,
            Some(renamed) => match on_shadow(renamed, table.oid, &origin_ends, pairs, shadow)? {
                Err(cause) if !cascade => {
                    // What it refers to may be a key that a refused change would have made.
                    let names = if is_child { [].as_slice() } else { &[A_KEY.to_owned()] };
                    reasons.refuse_about(names, broken(&title(&key), &cause))?;
                    None
                }
                said => said.ok(),
            },
        };
        let other = if is_child { &parent } else { &child };
        moves.push(ReattachedObject {
            title: title(&key),
            table: (*other != source).then(|| other.clone()),
            origin,
            shadow: shadow_said,
            validate: key.validated.then(|| child.clone()),
            part: None,
            names: (key.name.clone(), renamed.map(|k| k.name)),
            path: Vec::new(),
        });
    }
    Ok(moves)
}

/// What makes a key of the table on the shadow, which is tried; or why it cannot be made.
fn on_shadow(
    key: &ForeignKey,
    table: RelationId,
    origin: &Ends<'_>,
    pairs: &[(Ident, Ident)],
    shadow: &QualifiedName,
) -> Result<std::result::Result<DetachAttach, String>> {
    let (is_child, is_parent) = (key.child == table, key.parent == table);
    let (columns, set_columns, referenced) = match translate(key, pairs, is_child, is_parent) {
        Ok(translated) => translated,
        Err(cause) => return Ok(Err(cause)),
    };
    let ends =
        Ends { columns: &columns, set_columns: &set_columns, referenced: &referenced, ..*origin };
    let off = vec![constraint::drop(ends.child, &key.name)];
    let on = ddl::add_foreign_key(key, &ends);
    Ok(match try_out(key, &ends, shadow, is_child, is_parent)? {
        None => Ok(DetachAttach { off, on, ..DetachAttach::default() }),
        Some(cause) => Err(cause),
    })
}

/// The moves of foreign keys that the changes add: not there while the origin is live. Each is added to
/// the empty shadow as its owner wrote it, read from the catalogs, and taken back: it would keep
/// writers of the other table out until prepare commits.
///
/// Locks: SHARE ROW EXCLUSIVE on the other table for the moment, in short tries.
pub(super) fn added(
    carried: &Carried<'_>,
    session: &BTreeMap<String, String>,
) -> Result<Vec<ReattachedObject>> {
    const LONGEST: Duration = Duration::from_millis(200);
    const UNTIL: Duration = Duration::from_secs(10);
    let &Carried { table, name: shadow, shadow: shadow_oid, followed, reasons, .. } = carried;
    let mut moves = Vec::new();
    for text in &followed.added {
        let tried = reasons.part_about(&parse::names(text), || {
            let tried = lock::retry(LONGEST, Instant::now() + UNTIL, |limit| {
                let _limited = lock::limited(limit)?;
                xact::rolled_back(|| {
                    {
                        let _owner = Identity::table_owner(table.owner, session)?;
                        spi::run(&table::alter(shadow, &[text]), &[])?;
                    }
                    require_supported(shadow_oid, &Reasons::first())?;
                    own(shadow_oid)
                })
            });
            tried.or_else(xact::SubtransactionError::raise)
        })?;
        let Some(key) = tried.and_then(|mut keys| keys.pop()) else { continue };
        let source = table.qualified();
        let other =
            QualifiedName { schema: key.parent_schema.clone(), name: key.parent_name.clone() };
        let is_self = key.parent == table.oid || key.parent == shadow_oid;
        let parent = if is_self { source.clone() } else { other };
        let ends = Ends {
            child: &source,
            columns: &key.columns,
            set_columns: &key.set_columns,
            parent: &parent,
            referenced: &key.referenced,
        };
        let said = DetachAttach {
            off: vec![constraint::drop(&source, &key.name)],
            on: ddl::add_foreign_key(&key, &ends),
            ..DetachAttach::default()
        };
        moves.push(ReattachedObject {
            title: format!("foreign key {} of {}", plain(key.name.as_str()), source.plain()),
            table: (!is_self).then_some(parent),
            origin: DetachAttach::default(),
            shadow: Some(said),
            part: None,
            validate: key.validated.then(|| source.clone()),
            names: (key.name.clone(), Some(key.name)),
            path: Vec::new(),
        });
    }
    Ok(moves)
}

type Columns = (Vec<Ident>, Vec<Ident>, Vec<Ident>);

/// The key's columns on the shadow's side.
fn translate(
    key: &ForeignKey,
    pairs: &[(Ident, Ident)],
    is_child: bool,
    is_parent: bool,
) -> std::result::Result<Columns, String> {
    let all = |columns: &[Ident], ours: bool| -> std::result::Result<Vec<Ident>, String> {
        let one = |column: &Ident| match pairs.iter().find(|(o, _)| o == column) {
            _ if !ours => Ok(column.clone()),
            Some((_, shadow)) => Ok(shadow.clone()),
            None => Err(format!("column {} is dropped", crate::ident::plain(column.as_str()))),
        };
        columns.iter().map(one).collect()
    };
    Ok((
        all(&key.columns, is_child)?,
        all(&key.set_columns, is_child)?,
        all(&key.referenced, is_parent)?,
    ))
}

/// Adds the key between the empty shadow and an empty table like the other one, and takes it all away
/// again. Returns why it cannot be.
fn try_out(
    key: &ForeignKey,
    ends: &Ends<'_>,
    shadow: &QualifiedName,
    is_child: bool,
    is_parent: bool,
) -> Result<Option<String>> {
    let trial =
        QualifiedName { schema: shadow.schema.clone(), name: Ident::new("bluegreen_trial") };
    let tried = xact::trial(|| {
        let other = if is_child { ends.parent } else { ends.child };
        if !(is_child && is_parent) {
            spi::run(&ddl::create_trial(&trial, other), &[])?;
        }
        if is_child && !is_parent {
            spi::run(&ddl::add_unique(&trial, ends.referenced), &[])?;
        }
        let on_trial = Ends {
            child: if is_child { shadow } else { &trial },
            parent: if is_parent { shadow } else { &trial },
            columns: ends.columns,
            set_columns: ends.set_columns,
            referenced: ends.referenced,
        };
        for statement in ddl::add_foreign_key(key, &on_trial) {
            spi::run(&statement, &[])?;
        }
        Ok(())
    });
    match tried {
        Ok(()) => Ok(None),
        Err(caught) => cause(caught).map(Some),
    }
}
