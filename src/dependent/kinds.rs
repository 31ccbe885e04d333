//! All kinds of objects that are copied.
//!
//! A further kind is a variant of [`CopyKind`], a file with its `KIND`, and a line in [`KINDS`].

use crate::dependent::kind::{Kind, Scope};
use crate::dependent::{function, materialized_view, policy, rule, trigger, view};
use crate::error::Result;
use crate::model::dependent::{Copy, CopyKind};

/// All kinds.
const KINDS: [&Kind; 6] = [
    &function::KIND,
    &view::KIND,
    &materialized_view::KIND,
    &trigger::KIND,
    &rule::KIND,
    &policy::KIND,
];

/// What a kind says of itself. Every variant is in the list.
pub(super) fn of(kind: CopyKind) -> &'static Kind {
    KINDS.into_iter().find(|known| known.kind == kind).unwrap_or(&view::KIND)
}

/// Everything that is copied, in the order in which it can be made.
pub(super) fn discover(scope: &Scope) -> Result<Vec<Copy>> {
    let mut found = Vec::new();
    for kind in KINDS {
        found.extend((kind.discover)(scope)?);
    }
    found.sort_by_key(|f| f.depth);
    Ok(found.into_iter().map(|f| f.copy).collect())
}
