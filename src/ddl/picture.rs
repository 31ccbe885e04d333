//! How a row is shown to people: as JSON, as far as its values allow that.

use std::fmt::Display;

use crate::ident::{Ident, literal};

/// How much of a row is shown as JSON. The casts of its types may fail, or refuse a value: json takes more texts
/// than jsonb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picture {
    /// All.
    Json,
    /// The key; the row as a JSON string of its text.
    Text,
    /// The same with the texts of the key's columns.
    Texts,
    /// The texts of the key's columns; no row.
    KeyOnly,
}

impl Picture {
    /// In the order in which they are tried.
    pub(crate) const ALL: [Self; 4] = [Self::Json, Self::Text, Self::Texts, Self::KeyOnly];

    /// The key as text of a JSON object. `columns`: their names, and the expressions of their values.
    pub(super) fn key<'a, V: Display>(
        self,
        columns: impl Iterator<Item = (&'a Ident, V)>,
    ) -> String {
        let cast = match self {
            Self::Json | Self::Text => "",
            Self::Texts | Self::KeyOnly => "::pg_catalog.text",
        };
        let all = columns.map(|(name, value)| format!("{}, {value}{cast}", literal(name.as_str())));
        format!("pg_catalog.jsonb_build_object({})::text", all.collect::<Vec<_>>().join(", "))
    }

    /// The whole row of `alias`, likewise.
    pub(super) fn row(self, alias: &str) -> String {
        match self {
            Self::Json => format!("pg_catalog.to_jsonb({alias}.*)::text"),
            Self::Text | Self::Texts => {
                format!("pg_catalog.to_jsonb(({alias}.*)::pg_catalog.text)::text")
            }
            Self::KeyOnly => "NULL::text".to_owned(),
        }
    }
}
