//! Copies by their originals: by it trees over the ones and over the others can be compared.

use crate::oid::{FunctionId, RelationId, TypeId};
use std::collections::HashMap;

/// Numbers of a copy's columns, with those of the original's.
pub(crate) type Columns = Vec<(i16, i16)>;

/// OIDs and column numbers of copies with those of their originals; what is not named is itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counterparts {
    /// Relations.
    pub relations: HashMap<RelationId, RelationId>,
    /// Row types and their arrays.
    pub types: HashMap<TypeId, TypeId>,
    /// Functions.
    pub functions: HashMap<FunctionId, FunctionId>,
    /// Relations by their row types.
    pub rows: HashMap<TypeId, RelationId>,
    /// Columns, by the copy's OID; they have the same numbers where it is not named.
    pub columns: HashMap<RelationId, Columns>,
}

impl Counterparts {
    /// The original of a relation.
    pub(super) fn relation(&self, oid: RelationId) -> RelationId {
        *self.relations.get(&oid).unwrap_or(&oid)
    }

    /// The original of a type.
    pub(super) fn type_of(&self, oid: TypeId) -> TypeId {
        *self.types.get(&oid).unwrap_or(&oid)
    }

    /// The original of a function.
    pub(super) fn function(&self, oid: FunctionId) -> FunctionId {
        *self.functions.get(&oid).unwrap_or(&oid)
    }

    /// The original of a column of a relation; None where only the copy has it.
    pub(super) fn column(&self, relation: RelationId, number: i16) -> Option<i16> {
        find(self.columns.get(&relation), number)
    }

    /// The same of a column of a row type.
    pub(super) fn field(&self, type_oid: TypeId, number: i16) -> Option<i16> {
        find(self.rows.get(&type_oid).and_then(|relation| self.columns.get(relation)), number)
    }

    /// The same, with a copy's own numbers for its columns.
    #[must_use]
    pub(crate) fn with_own_numbers(mut self, copy: RelationId) -> Self {
        self.columns.remove(&copy);
        self
    }
}

fn find(columns: Option<&Columns>, number: i16) -> Option<i16> {
    match columns {
        // The whole row and system columns have the same numbers everywhere.
        Some(columns) if number > 0 => {
            columns.iter().find(|(copy, _)| *copy == number).map(|(_, original)| *original)
        }
        _ => Some(number),
    }
}
