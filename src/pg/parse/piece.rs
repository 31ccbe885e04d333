//! One change as it was written.

use super::raw::Place;
use super::scan::Token;

/// The text between two commas.
pub(super) struct Piece<'a> {
    /// From the first token to the last.
    pub(super) text: &'a str,
    /// Its tokens, with places in the whole text.
    pub(super) tokens: &'a [Token],
    /// The whole text.
    pub(super) whole: &'a str,
    pub(super) place: Place<'static>,
}
