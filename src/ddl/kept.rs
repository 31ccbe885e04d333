//! Looking for OIDs in users' tables.

use crate::ident::{Ident, QualifiedName};

/// Those of the OIDs `$1` that a column has, in one text. Nothing but the column itself is evaluated: a
/// domain, or a type of the reg family, is an OID as it is.
pub(crate) fn look(table: &QualifiedName, column: &Ident, is_array: bool) -> String {
    let values = if is_array {
        format!("{table} t CROSS JOIN LATERAL pg_catalog.unnest(t.{column}) v (value)")
    } else {
        format!("(SELECT {column} AS value FROM ONLY {table}) v")
    };
    let only = if is_array { "ONLY " } else { "" };
    format!(
        "SELECT pg_catalog.string_agg(DISTINCT v.value::pg_catalog.oid::pg_catalog.text, ' ')
           FROM {only}{values} WHERE v.value::pg_catalog.oid = ANY ($1::pg_catalog.oid[])"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_taken_apart() {
        let table = QualifiedName::new("s", "t");
        let column = Ident::new("o\"id");
        assert!(
            look(&table, &column, false)
                .contains("(SELECT \"o\"\"id\" AS value FROM ONLY \"s\".\"t\") v")
        );
        assert!(look(&table, &column, true).contains(
            "FROM ONLY \"s\".\"t\" t CROSS JOIN LATERAL pg_catalog.unnest(t.\"o\"\"id\") v (value)"
        ));
    }
}
