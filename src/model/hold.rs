//! How a deployment is locked.

/// With or without others who work on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nobody else works on it.
    Alone,
    /// Others copy at the same time.
    Shared,
}
