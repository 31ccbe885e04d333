//! Identifiers, always quoted, and the text of SQL statements that is built from them.

use std::fmt;

/// A name as it stands in the catalogs; displayed quoted.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub(crate) struct Ident(pub String);

impl Ident {
    /// Takes a name as it stands in the catalogs.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The bare name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A schema-qualified name; displayed quoted.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub(crate) struct QualifiedName {
    /// The schema.
    pub schema: Ident,
    /// The object.
    pub name: Ident,
}

impl QualifiedName {
    /// Joins a schema and a name.
    pub(crate) fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: Ident::new(schema), name: Ident::new(name) }
    }

    /// The name as people write it: quoted only where it must be.
    pub(crate) fn plain(&self) -> String {
        format!("{}.{}", plain(self.schema.as_str()), plain(self.name.as_str()))
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A name for messages: quoted only where plain letters do not do.
pub(crate) fn plain(name: &str) -> String {
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    if starts && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        name.to_owned()
    } else {
        Ident::new(name).to_string()
    }
}

/// A string constant, quoted so that it means the same under any `standard_conforming_strings`.
pub(crate) fn literal(value: &str) -> String {
    if value.contains('\\') {
        format!(" E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

/// Quoted names, separated by commas.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a Ident>) -> String {
    names.into_iter().map(Ident::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_quoted() {
        assert_eq!(Ident::new("a\"b").to_string(), "\"a\"\"b\"");
        assert_eq!(QualifiedName::new("My", "t").to_string(), "\"My\".\"t\"");
        assert_eq!(QualifiedName::new("My", "t").plain(), "\"My\".t");
    }

    #[test]
    fn literals_survive_backslashes_and_quotes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
