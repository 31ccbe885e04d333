//! What a table that we have just made is to look like, and what it has beyond that.

use serde_json::Value;

use crate::catalog::PartsMade;
use crate::ident::Ident;

/// What a new table of ours is to look like, by the parts of its fingerprint.
pub(crate) struct Wanted {
    /// Its owner.
    pub owner: Ident,
    /// `relpersistence`.
    pub persistence: String,
    /// Its columns, with what the fingerprint says of each behind its number; None: whatever it says.
    pub columns: Vec<(Ident, Option<String>)>,
    /// Its constraints, but for those that have an index.
    pub constraints: Vec<String>,
    /// How many indexes it has: the first that were made are the ones.
    pub indexes: usize,
    /// How many extended statistics it has; the same.
    pub statistics: usize,
}

/// A part that nobody wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extra {
    /// The part, as the fingerprint names it.
    pub part: String,
    /// Its value.
    pub value: String,
}

impl Extra {
    /// In words.
    pub(crate) fn into_words(self) -> String {
        match self.part.as_str() {
            "table" => "its tablespace or persistence".to_owned(),
            _ => self.part,
        }
    }
}

/// Parts of which a new table has none but those that are wanted.
const NEVER: &[&str] = &[
    "trigger ",
    "capture trigger ",
    "policy ",
    "rule ",
    "inheritance ",
    "publication ",
    "foreign key ",
    "view ",
    "materialized view ",
    "function ",
    "use of its row type by ",
    "grants of column ",
];
/// They are told, and refused, elsewhere.
const ELSEWHERE: &[&str] = &["publication of all tables ", "publication of the schema "];

/// What a table has that was not wanted.
pub(crate) fn extra(definition: &Value, made: &PartsMade, wanted: &Wanted) -> Vec<Extra> {
    let parts = definition.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    parts
        .filter(|(part, value)| !is_wanted(part, &text(value), made, wanted))
        .map(|(part, value)| Extra { part: part.clone(), value: text(value) })
        .collect()
}

fn is_wanted(part: &str, value: &str, made: &PartsMade, wanted: &Wanted) -> bool {
    let named = |prefix: &str| part.strip_prefix(prefix);
    match part {
        "owner" => return value == wanted.owner.as_str(),
        "row level security" => return value == "f f",
        "replica identity" => return value == "d",
        // LIKE leaves the table's own comment out.
        "comment 0" => return false,
        // Its names, then kind, persistence, whether it is a partition, tablespace, access method.
        "table" => {
            let mut last = value.rsplitn(6, ' ');
            let (_method, tablespace) = (last.next(), last.next());
            let (_partition, persistence) = (last.next(), last.next());
            return tablespace == Some("0") && persistence == Some(wanted.persistence.as_str());
        }
        _ => {}
    }
    if let Some(name) = named("column ") {
        let known = wanted.columns.iter().find(|(column, _)| column.as_str() == name);
        let behind_number = value.split_once(' ').map_or("", |(_, rest)| rest);
        return known.is_some_and(|(_, v)| v.as_deref().is_none_or(|v| v == behind_number));
    }
    let among = |all: &[String], count: usize, name: &str| {
        all.iter().take(count).any(|known| known == name)
    };
    if let Some(name) = named("constraint ") {
        return wanted.constraints.iter().any(|known| known == name)
            || among(&made.indexes, wanted.indexes, name)
            || value.starts_with("NOT NULL");
    }
    if let Some(name) = named("index ") {
        return among(&made.indexes, wanted.indexes, name);
    }
    if let Some(name) = named("statistics ") {
        return among(&made.statistics, wanted.statistics, name);
    }
    ELSEWHERE.iter().any(|known| part.starts_with(known))
        || !NEVER.iter().any(|never| part.starts_with(never))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wanted() -> Wanted {
        Wanted {
            owner: Ident::new("o"),
            persistence: "p".to_owned(),
            columns: vec![
                (Ident::new("id"), Some("bigint 0 t".to_owned())),
                (Ident::new("any"), None),
            ],
            constraints: vec!["positive".to_owned()],
            indexes: 1,
            statistics: 0,
        }
    }

    fn extras(definition: &Value) -> Vec<String> {
        let made =
            PartsMade { indexes: vec!["t_pkey".to_owned(), "late".to_owned()], statistics: vec![] };
        let found = extra(definition, &made, &wanted()).into_iter();
        let mut parts: Vec<_> = found.map(|e| e.part).collect();
        parts.sort_unstable();
        parts
    }

    #[test]
    fn what_is_wanted_is_passed_over() {
        let definition = json!({
            "table": "s name with blanks r p f 0 2", "owner": "o", "row level security": "f f",
            "replica identity": "d", "column id": "1 bigint 0 t", "column any": "7 text",
            "constraint positive": "CHECK", "constraint t_pkey": "PRIMARY KEY", "index t_pkey": "x",
            "comment 1": "x", "publication of all tables p": ""
        });
        assert_eq!(extras(&definition), Vec::<String>::new());
    }

    #[test]
    fn what_others_have_put_on_it_is_found() {
        let definition = json!({
            "table": "s t r p f 1663 2", "owner": "p", "row level security": "t f",
            "replica identity": "f", "column id": "1 bigint 0 f", "column stamp": "2 text",
            "index late": "x", "trigger t": "x", "comment 0": "x", "inheritance s.t": "s.p", "publication p": ""
        });
        assert_eq!(
            extras(&definition),
            vec![
                "column id",
                "column stamp",
                "comment 0",
                "index late",
                "inheritance s.t",
                "owner",
                "publication p",
                "replica identity",
                "row level security",
                "table",
                "trigger t"
            ]
        );
    }
}
