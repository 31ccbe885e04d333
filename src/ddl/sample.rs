//! Statements that build a deployment's indexes on a few of its rows.

use crate::ident::{Ident, QualifiedName, list};
use crate::oid::BlockNumber;

/// A temporary table: what is written to it is not logged, and nobody else can see or lock it.
pub(crate) fn table() -> QualifiedName {
    QualifiedName::new("pg_temp", "bluegreen_sample")
}

/// Makes it, empty, with these columns of a table and nothing else of that.
pub(crate) fn create(like: &QualifiedName, columns: &[Ident]) -> String {
    let columns = list(columns);
    format!("CREATE TEMPORARY TABLE {} AS SELECT {columns} FROM ONLY {like} LIMIT 0", table())
}

/// Gives it to the role as which the server is to evaluate what indexes are made of.
pub(crate) fn give(role: &Ident) -> String {
    format!("ALTER TABLE {} OWNER TO {role}", table())
}

/// Fills it with the rows of a table's first blocks, so many at most.
pub(crate) fn fill(
    from: &QualifiedName,
    columns: &[Ident],
    blocks: BlockNumber,
    rows: i64,
) -> String {
    format!(
        "INSERT INTO {} SELECT {} FROM ONLY {from} AS g WHERE g.ctid < '({blocks},0)'::pg_catalog.tid LIMIT {rows}",
        table(),
        list(columns)
    )
}

/// Whether an index may need a column: its definition has the column's name somewhere.
pub(crate) fn may_need(definition: &str, column: &Ident) -> bool {
    definition.contains(&column.as_str().replace('"', "\"\""))
}

/// Builds an index on it, with a name that the server chooses. It is not unique: a row may be in the copy
/// twice, and comparing neighbours once more costs next to nothing.
///
/// `definition` is `pg_get_indexdef` of an index on another table. None: it does not begin as those do.
pub(crate) fn build(definition: &str) -> Option<String> {
    let rest = definition.strip_prefix("CREATE ")?;
    let rest = rest.strip_prefix("UNIQUE ").unwrap_or(rest);
    let rest = after_identifier(rest.strip_prefix("INDEX ")?)?.strip_prefix(" ON ")?;
    let rest = rest.strip_prefix("ONLY ").unwrap_or(rest);
    let rest = after_identifier(after_identifier(rest)?.strip_prefix('.')?)?;
    let what = rest.strip_prefix(" USING ")?;
    Some(format!("CREATE INDEX ON {} USING {what}", table()))
}

/// What follows the identifier, quoted or not, with which the text begins.
fn after_identifier(text: &str) -> Option<&str> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(
            text.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_' || c == '$'),
        )
        .filter(|rest| rest.len() < text.len());
    };
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '"' && chars.next_if(|(_, next)| *next == '"').is_none() {
            return quoted.get(at + 1..);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: &str = "CREATE INDEX ON \"pg_temp\".\"bluegreen_sample\" USING";

    #[test]
    fn an_index_is_taken_over_as_it_is() {
        let same = |definition: &str, what: &str| {
            assert_eq!(build(definition), Some(format!("{ON} {what}")), "{definition}");
        };
        same("CREATE UNIQUE INDEX users_pkey ON public_blue.users USING btree (id)", "btree (id)");
        same(
            "CREATE INDEX i ON ONLY s.t USING gin (f(' ON a.b USING ')) WHERE (x > 0)",
            "gin (f(' ON a.b USING ')) WHERE (x > 0)",
        );
    }

    #[test]
    fn a_column_that_is_not_named_is_not_needed() {
        let definition = "CREATE INDEX i ON s.t USING btree (\"a\"\"b\", lower(name))";
        let needed = |name: &str| may_need(definition, &Ident::new(name));
        assert_eq!(["a\"b", "name", "lower", "document"].map(needed), [true, true, true, false]);
    }

    #[test]
    fn names_may_be_of_anything() {
        let definition =
            "CREATE INDEX \"a\"\" ON x.y USING z\" ON \"S.\"\"q\".\"t USING \" USING hash (\"c\")";
        assert_eq!(build(definition), Some(format!("{ON} hash (\"c\")")));
    }

    #[test]
    fn what_is_no_index_is_not_taken() {
        for text in
            ["", "CREATE TABLE t ()", "CREATE INDEX", "CREATE INDEX \"a ON s.t USING btree (x)"]
        {
            assert_eq!(build(text), None, "{text}");
        }
    }
}
