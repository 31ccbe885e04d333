//! Statements that take off a table what others have put on it, by the part of its fingerprint.

use crate::ddl::{constraint, dependent, object, statistics};
use crate::ident::{Ident, QualifiedName};

/// Takes a part off. `value` is the part's value, `owner` whose table it is to be. None for what cannot
/// be taken off by itself.
pub(crate) fn part(
    table: &QualifiedName,
    part: &str,
    value: &str,
    owner: &Ident,
) -> Option<String> {
    match part {
        "owner" => return Some(format!("ALTER TABLE {table} OWNER TO {owner}")),
        "row level security" => {
            return Some(format!(
                "ALTER TABLE ONLY {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
            ));
        }
        "replica identity" => {
            return Some(format!("ALTER TABLE ONLY {table} REPLICA IDENTITY DEFAULT"));
        }
        "comment 0" => return Some(object::comment("TABLE", table, None)),
        _ => {}
    }
    let named = |prefix: &str| part.strip_prefix(prefix).map(Ident::new);
    let here = |name: Ident| QualifiedName { schema: table.schema.clone(), name };
    if let Some(column) = named("column ") {
        Some(format!("ALTER TABLE ONLY {table} DROP COLUMN {column} RESTRICT"))
    } else if let Some(name) = named("constraint ") {
        Some(constraint::drop_if_exists(table, &name))
    } else if let Some(name) = named("index ") {
        Some(dependent::drop_in_schema("INDEX", &here(name)))
    } else if let Some(name) = named("statistics ") {
        Some(statistics::drop(&here(name)))
    } else if let Some(publication) = named("publication ") {
        Some(dependent::unpublish(&publication, table))
    } else if part.starts_with("inheritance ") {
        // The server has quoted the parent's name.
        Some(format!("ALTER TABLE ONLY {table} NO INHERIT {value}"))
    } else {
        ["trigger ", "policy ", "rule "].into_iter().find_map(|prefix| {
            let word = prefix.trim_end().to_uppercase();
            named(prefix).map(|name| dependent::drop_part(&word, &name, table))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_quoted() {
        let table = QualifiedName::new("s", "t");
        let owner = Ident::new("o");

        let of = |name: &str| part(&table, name, "", &owner);

        assert_eq!(
            of("trigger a\"b").as_deref(),
            Some("DROP TRIGGER \"a\"\"b\" ON \"s\".\"t\" RESTRICT")
        );
        assert_eq!(of("view s.v"), None);
    }
}
