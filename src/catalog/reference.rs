//! Foreign keys as they join rows: which columns, compared by what, and what a deletion does.

use serde::Deserialize;

use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::oid::{RelationId, RoleId};
use crate::pg::spi::{self, Arg};

/// A foreign key of a table with rows of its own.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Reference {
    /// Name.
    pub name: Ident,
    /// The table that has it.
    pub child: RelationId,
    /// The table that it references.
    pub parent: RelationId,
    /// Schema of the child.
    child_schema: Ident,
    /// Name of the child.
    child_name: Ident,
    /// The child's owner.
    pub child_owner: RoleId,
    /// Schema of the parent.
    parent_schema: Ident,
    /// Name of the parent.
    parent_name: Ident,
    /// The parent's owner.
    pub parent_owner: RoleId,
    /// The parent's rows are in its partitions.
    pub parent_is_partitioned: bool,
    /// `confdeltype`.
    pub on_delete: char,
    /// Columns of the child.
    pub columns: Vec<Ident>,
    /// Columns of the parent.
    pub referenced: Vec<Ident>,
    /// For each, the operator with the parent's column on its left, as `OPERATOR(schema.=)`.
    pub equals: Vec<String>,
    /// Columns of ON DELETE SET, none for all.
    set_columns: Vec<Ident>,
}

impl Reference {
    /// The table that has it.
    pub(crate) fn child_name(&self) -> QualifiedName {
        QualifiedName { schema: self.child_schema.clone(), name: self.child_name.clone() }
    }

    /// The table that it references.
    pub(crate) fn parent_name(&self) -> QualifiedName {
        QualifiedName { schema: self.parent_schema.clone(), name: self.parent_name.clone() }
    }

    /// ON DELETE SET NULL and SET DEFAULT: the columns, and whether to the default.
    pub(crate) fn sets(&self) -> Option<(&[Ident], bool)> {
        let all = if self.set_columns.is_empty() { &self.columns } else { &self.set_columns };
        match self.on_delete {
            'n' => Some((all, false)),
            'd' => Some((all, true)),
            _ => None,
        }
    }
}

/// Foreign keys from the table and to it.
pub(crate) fn of(table: RelationId) -> Result<Vec<Reference>> {
    spi::rows(include_str!("queries/references.sql"), &[Arg::oid(table)])
}
