//! Expressions that raise where a cast would make one value of two.

use crate::ident::Ident;

/// A column as `varchar(length)`, that raises where blanks would be cut off its end: another character
/// behind them makes the server find it too long.
pub(crate) fn without_cut(column: &Ident, length: i32) -> String {
    let (text, typmod) = (format!("CAST({column} AS pg_catalog.text)"), length + 4);
    format!(
        "pg_catalog.\"varchar\"(CAST(CASE WHEN pg_catalog.char_length({text}) OPERATOR(pg_catalog.>) {length} THEN {text} OPERATOR(pg_catalog.||) '.'::pg_catalog.text ELSE {text} END AS pg_catalog.varchar), {typmod}, false)"
    )
}
