//! What a stored definition means: the server's tree of it, reduced to what decides its meaning.
//!
//! A definition that is kept as text and read again may become another tree: `IS DISTINCT FROM`,
//! `NULLIF`, `CASE x WHEN`, `JOIN USING`, comparisons of rows name no operator when the server prints
//! them, and casts that it makes itself are not printed. So the trees of before and after are compared
//! ([`crate::plan::same_tree`]), not the texts, and not pg_depend, which knows no pinned object.

mod counterparts;
mod item;
mod text;

use crate::error::{Error, Result};

pub(crate) use counterparts::{Columns, Counterparts};
pub(crate) use item::{Class, FORM, Item};

/// The tree of a part of an object: of a policy's USING, of a column's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which part.
    pub part: String,
    /// Its tree.
    pub tree: Item,
}

/// All parts as one text: the same for the same trees.
pub(crate) fn written(parts: &[Part]) -> String {
    parts.iter().map(|part| format!("{}: {}\n", part.part, part.tree)).collect()
}

/// Refuses a definition that is not the tree that was recorded of it; both as they are written down.
pub(crate) fn require(title: &str, recorded: &str, found: &str) -> Result<()> {
    if recorded == found { Ok(()) } else { Err(another(title)) }
}

/// The error for a definition that would be another one.
pub(crate) fn another(title: &str) -> Error {
    Error::unsupported(format!("{title} does not mean the same when its text is read again")).hint(
        "Name the operator in it: NOT (a OPERATOR(schema.=) b) for IS DISTINCT FROM, NULLIF, CASE a WHEN, USING and the like; or drop it for the deployment.",
    )
}
