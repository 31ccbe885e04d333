//! What a verification finds.

/// A key under which the tables differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Difference {
    /// The key of green, as JSON.
    pub key: String,
    /// `missing`, `extra` or `different`.
    pub problem: String,
}
