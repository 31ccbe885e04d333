//! Statements that are alike for objects of several kinds; a kind is the server's word for it.

use std::fmt::Display;

use crate::ident::{Ident, QualifiedName, literal};

/// Renames an object in its schema.
pub(crate) fn rename(kind: &str, name: &QualifiedName, to: &Ident) -> String {
    format!("ALTER {kind} {name} RENAME TO {to}")
}

/// Comments on an object, or takes its comment off. `name` is quoted, and says what it is on.
pub(crate) fn comment(kind: &str, name: impl Display, comment: Option<&str>) -> String {
    let comment = comment.map_or("NULL".to_owned(), literal);
    format!("COMMENT ON {kind} {name} IS {comment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_quoted_and_none_is_null() {
        let table = QualifiedName::new("s", "t");

        assert_eq!(
            comment("TABLE", &table, Some("it's")),
            "COMMENT ON TABLE \"s\".\"t\" IS 'it''s'"
        );
        assert_eq!(comment("TABLE", &table, None), "COMMENT ON TABLE \"s\".\"t\" IS NULL");
    }
}
