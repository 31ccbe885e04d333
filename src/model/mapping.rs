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
    /// The columns of the read side that the expression reads; None: nobody has written them down.
    #[serde(default)]
    pub reads: Option<Vec<Ident>>,
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

impl MappedColumn {
    /// Whether its value needs one of these columns of the read side, as far as is known.
    fn may_read(&self, columns: &[Ident]) -> bool {
        match (&self.from, &self.reads) {
            (Some(from), _) => columns.contains(from),
            (None, Some(reads)) => reads.iter().any(|read| columns.contains(read)),
            (None, None) => !columns.is_empty(),
        }
    }
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

    /// Whether a written column, those of the key too, needs one of these columns of the read side, or may need
    /// one because what it reads was not written down.
    pub(crate) fn may_read(&self, columns: &[Ident]) -> bool {
        self.columns.iter().any(|column| column.may_read(columns))
    }

    /// The written columns whose stored generated values are taken over.
    pub(crate) fn stored(&self) -> Vec<&Ident> {
        self.columns.iter().filter(|c| c.stored).map(|c| &c.column).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(from: Option<&str>, reads: Option<&[&str]>) -> Mapping {
        let column = MappedColumn {
            column: Ident::new("written"),
            expression: "an expression".to_owned(),
            from: from.map(Ident::new),
            reads: reads.map(|names| names.iter().map(|name| Ident::new(*name)).collect()),
            tree: None,
            volatile: false,
            stored: false,
        };
        Mapping { columns: vec![column], ..Mapping::default() }
    }

    #[test]
    fn what_an_expression_reads_is_known_where_it_is_a_column_or_was_written_down() {
        /// From a column, by an expression that reads columns, and whether it may read the one in question.
        type Case = (Option<&'static str>, Option<&'static [&'static str]>, bool);
        const CASES: &[Case] = &[
            (Some("id"), None, false),
            (Some("total"), None, true),
            (Some("id"), Some(&["id"]), false),
            (None, Some(&["id", "name"]), false),
            (None, Some(&["id", "initial"]), true),
            (None, Some(&[]), false),
            (None, None, true),
        ];
        let asked = [Ident::new("total"), Ident::new("initial")];
        for (from, reads, expected) in CASES.iter().copied() {
            assert_eq!(mapped(from, reads).may_read(&asked), expected, "{from:?} {reads:?}");
            assert!(!mapped(from, reads).may_read(&[]), "{from:?} {reads:?}");
        }
    }

    #[test]
    fn what_was_stored_before_columns_were_written_down_is_still_read() {
        let stored = "{\"column\": \"n\", \"expression\": \"(n)::bigint\", \"volatile\": false}";
        let column: Option<MappedColumn> = serde_json::from_str(stored).ok();
        assert_eq!(column.map(|column| (column.from, column.reads)), Some((None, None)));
    }
}
