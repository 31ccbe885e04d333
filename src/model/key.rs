//! The key of a table: by it rows are followed from one side to the other.

use serde::{Deserialize, Serialize};

use crate::ident::Ident;
use crate::oid::{CollationId, OperatorId, TypeId};

/// A column of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyColumn {
    /// The column's name.
    pub name: Ident,
    /// Its attribute number in the table.
    pub attnum: i16,
    /// Its type, as SQL, qualified; domains are resolved to their base type.
    pub type_sql: String,
    /// That base type.
    pub type_oid: TypeId,
    /// The column's collation, 0 if it has none.
    pub collation: CollationId,
    /// The collation as SQL, qualified.
    pub collation_sql: Option<String>,
    /// The equality operator of the key's index, as `OPERATOR(schema.=)`.
    pub equals: String,
    /// What the index takes for equal.
    #[serde(default)]
    pub equality: Equality,
}

/// What an index takes for equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Equality {
    /// The operator.
    pub operator: OperatorId,
    /// The index's collation, 0 for none.
    pub collation: CollationId,
    /// Equal values are the same bits.
    pub bitwise: bool,
    /// Comparisons by the column's own collation mean the same.
    pub is_columns: bool,
}

impl Equality {
    /// Two values that another takes for different are different here too.
    pub(crate) fn is_as_fine_as(&self, other: &Self) -> bool {
        self.bitwise || (self.operator, self.collation) == (other.operator, other.collation)
    }
}

/// A unique key of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// The index that enforces it.
    pub index: String,
    /// Its columns, in the index's order.
    pub columns: Vec<KeyColumn>,
    /// Deferrable: cannot be the arbiter of ON CONFLICT.
    pub deferrable: bool,
    /// It is the primary key.
    pub primary: bool,
}

impl Key {
    /// Comparisons by the columns' own collations mean what the index means.
    pub(crate) fn is_compared_alike(&self) -> bool {
        self.columns.iter().all(|k| k.equality.is_columns)
    }

    /// The names of its columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Ident> {
        self.columns.iter().map(|c| &c.name)
    }
}
