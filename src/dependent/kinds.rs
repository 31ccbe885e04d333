//! All kinds of objects that are copied.
//!
//! A further kind is a variant of [`DependentKind`], a file with its `KIND`, a line in [`KINDS`] and an arm in [`of`].

use crate::dependent::kind::{Kind, Scope};
use crate::dependent::{function, materialized_view, policy, rule, trigger, view};
use crate::error::Result;
use crate::model::dependent::{DependentKind, Replica};

/// All kinds.
const KINDS: [&Kind; 6] = [
    &function::KIND,
    &view::KIND,
    &materialized_view::KIND,
    &trigger::KIND,
    &rule::KIND,
    &policy::KIND,
];

/// What a kind says of itself.
pub(super) fn of(kind: DependentKind) -> &'static Kind {
    match kind {
        DependentKind::Function => &function::KIND,
        DependentKind::View => &view::KIND,
        DependentKind::MaterializedView => &materialized_view::KIND,
        DependentKind::Trigger => &trigger::KIND,
        DependentKind::Rule => &rule::KIND,
        DependentKind::Policy => &policy::KIND,
    }
}

/// Everything that is copied, in the order in which it can be made.
pub(super) fn discover(scope: &Scope) -> Result<Vec<Replica>> {
    let mut found = Vec::new();
    for kind in KINDS {
        found.extend((kind.discover)(scope)?);
    }
    found.sort_by_key(|f| f.depth);
    Ok(found.into_iter().map(|f| f.copy).collect())
}
