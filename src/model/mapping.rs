//! How the columns of one side become the columns of the other.

use serde::{Deserialize, Serialize};

use crate::ident::{Ident, plain};
use crate::model::key::{Key, KeyColumn};

/// A column of the written side and the expression over the read side that gives its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MappedColumn {
    /// The column that is written.
    pub column: Ident,
    /// The server's deparse of the expression, with bare column names.
    pub expression: String,
    /// The column of the read side that the expression is, when it is nothing else.
    #[serde(default)]
    pub from: Option<Ident>,
    /// Its tree, where its text names not all of its operators.
    #[serde(default)]
    pub tree: Option<String>,
    /// The value may differ from one evaluation to the next.
    pub volatile: bool,
    /// A generated column on both sides, whose stored value is taken over: `from` has it. Only
    /// `pg::generated` can write it.
    #[serde(default)]
    pub stored: bool,
}

/// One direction of a deployment: read from one side, written to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mapping {
    /// Every written column that has a value on the read side. Generated columns are left out where they
    /// are computed anew.
    pub columns: Vec<MappedColumn>,
    /// Columns of the written side that only it has; sync never overwrites them.
    pub side_only: Vec<Ident>,
    /// The key on the read side; the log holds its columns.
    pub from_key: Key,
    /// The key on the written side.
    pub to_key: Key,
    /// For each column of `to_key`, its expression over the columns of `from_key`.
    pub key_expressions: Vec<String>,
    /// Two keys cannot become one; else only the user says that they do not.
    #[serde(default)]
    pub exact: bool,
    /// The written side has a deferrable unique or exclusion constraint: ON CONFLICT DO NOTHING
    /// does not work.
    pub to_deferrable: bool,
    /// Those of them that are INITIALLY DEFERRED.
    pub to_deferred: Vec<Ident>,
    /// Written columns that no UPDATE may set: GENERATED ALWAYS AS IDENTITY.
    pub fixed: Vec<Ident>,
    /// ON CONFLICT DO UPDATE works; otherwise rows are deleted and inserted.
    pub upsert: bool,
}

impl Mapping {
    /// Whether it only takes columns as they are, by a key of the server's types: whatever other objects are called,
    /// it means the same.
    pub(crate) fn has_no_names(&self) -> bool {
        let is_bare = |c: &MappedColumn| {
            let from = c.from.as_ref().filter(|_| c.tree.is_none());
            from.is_some_and(|from| {
                c.expression == plain(from.as_str()) || c.expression == from.to_string()
            })
        };
        let keys = [&self.from_key, &self.to_key].into_iter().flat_map(|key| &key.columns);
        let is_servers = |c: &KeyColumn| {
            c.equals.starts_with("OPERATOR(pg_catalog.") && !c.type_sql.contains('.')
        };
        let is_column = |text: &String| {
            let mut columns = self.columns.iter().filter_map(|c| c.from.as_ref());
            columns.any(|from| *text == plain(from.as_str()) || *text == from.to_string())
        };
        self.columns.iter().all(is_bare)
            && keys.into_iter().all(is_servers)
            && self.key_expressions.iter().all(is_column)
    }

    /// The written columns whose stored generated values are taken over.
    pub(crate) fn stored(&self) -> Vec<&Ident> {
        self.columns.iter().filter(|c| c.stored).map(|c| &c.column).collect()
    }
}
