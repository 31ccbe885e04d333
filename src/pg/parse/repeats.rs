//! Refuses a second rename or type change of one column: PostgreSQL takes no two types for one
//! column, and a name that lasts for one action says nothing about where its values come from.

use crate::error::{Error, Result};
use crate::ident::plain;
use crate::model::changes::{Action, Change};
use crate::pg::reasons::Reasons;

use super::names;

/// A column that the changes seen so far have named.
struct Column {
    name: String,
    renamed: bool,
    retyped: bool,
}

/// Refuses what changes the name, or the type, of one column twice, and gives the other changes.
pub(super) fn refuse(changes: Vec<Change>, reasons: &Reasons<'_>) -> Result<Vec<Change>> {
    kept(changes, |change, twice| {
        reasons.refuse(twice)?;
        reasons.unsettle(names::unsettled_by(change));
        Ok(())
    })
}

/// The changes but for those that say something twice, of which `twice` is told.
fn kept(
    changes: Vec<Change>,
    mut twice: impl FnMut(&Change, Error) -> Result<()>,
) -> Result<Vec<Change>> {
    let mut columns: Vec<Column> = Vec::new();
    let mut kept = Vec::new();
    for change in changes {
        match follow(&mut columns, &change) {
            Ok(()) => kept.push(change),
            Err(error) => twice(&change, error)?,
        }
    }
    Ok(kept)
}

fn follow(columns: &mut Vec<Column>, change: &Change) -> Result<()> {
    match change {
        Change::RenameColumn { from, to } => {
            let column = find(columns, from);
            if column.renamed {
                return Err(twice("rename column", from, "Rename it once, to its last name."));
            }
            column.renamed = true;
            column.name.clone_from(to);
        }
        Change::Alter { action: Action::AlterType { column: name, .. }, .. } => {
            let column = find(columns, name);
            if column.retyped {
                return Err(twice(
                    "change the type of column",
                    name,
                    "Change it once, to its last type.",
                ));
            }
            column.retyped = true;
        }
        Change::Alter { action: Action::DropColumn { column, .. }, .. } => {
            columns.retain(|known| known.name != *column);
        }
        Change::Alter { .. } | Change::RenameConstraint { .. } => {}
    }
    Ok(())
}

fn find<'a>(columns: &'a mut Vec<Column>, name: &str) -> &'a mut Column {
    let at = columns.iter().position(|known| known.name == name).unwrap_or_else(|| {
        columns.push(Column { name: name.to_owned(), renamed: false, retyped: false });
        columns.len() - 1
    });
    &mut columns[at]
}

fn twice(what: &str, name: &str, hint: &str) -> Error {
    Error::unsupported(format!("changes {what} {} twice", plain(name))).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(changes: &[Change]) -> Result<()> {
        kept(changes.to_vec(), |_, twice| Err(twice)).map(drop)
    }

    fn rename(from: &str, to: &str) -> Change {
        Change::RenameColumn { from: from.into(), to: to.into() }
    }

    fn alter(action: Action) -> Change {
        Change::Alter { text: String::new(), action }
    }

    fn retype(column: &str) -> Change {
        alter(Action::AlterType { column: column.into(), using: None })
    }

    #[test]
    fn a_column_may_have_one_new_name_and_one_new_type() {
        assert_eq!(refuse(&[rename("a", "b"), retype("b"), retype("a")]), Ok(()));
    }

    #[test]
    fn a_second_type_is_refused_through_a_rename() {
        let error = refuse(&[retype("a"), rename("a", "b"), retype("b")]);
        assert_eq!(
            error.map_err(|e| e.message),
            Err("changes change the type of column b twice".into())
        );
    }

    #[test]
    fn a_second_name_is_refused() {
        let error = refuse(&[rename("a", "b"), rename("b", "c")]);
        assert_eq!(error.map_err(|e| e.message), Err("changes rename column b twice".into()));
    }

    #[test]
    fn a_dropped_column_gives_its_name_free() {
        let drop =
            alter(Action::DropColumn { column: "a".into(), if_exists: false, cascade: false });
        assert_eq!(refuse(&[retype("a"), drop, rename("b", "a"), retype("a")]), Ok(()));
    }
}
