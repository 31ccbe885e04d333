//! Whether a definition that was read again is the same tree.
//!
//! What the server prints does not say everything: see [`crate::model::tree`]. pg_depend does not
//! either, for it knows no built-in object. So the trees themselves are compared.

use crate::catalog::{self, tree};
use crate::error::Result;
use crate::ident::Ident;
use crate::model::tree::{Columns, Part, another};
use crate::oid::RelationId;
use crate::plan::same_tree::{self, Difference, Swap};

/// Refuses a copy that does anything else than its original, but for what the new types of columns
/// bring with them. `retyped`: the table has such.
pub(super) fn prove(title: &str, original: &[Part], copy: &[Part], retyped: bool) -> Result<()> {
    let (swaps, may) = match same_tree::compare(original, copy, retyped) {
        Ok(swaps) => (swaps, true),
        Err(Difference::Called(swap)) => (vec![swap], false),
        Err(Difference::Form(what)) => return Err(another(title).detail(what)),
    };
    for Swap { class, from, to } in swaps {
        if !may || !tree::is_same_for_other_type(class, from, to)? {
            let (from, to) = (tree::called(class, from)?, tree::called(class, to)?);
            return Err(another(title).detail(format!("{from} would become {to}.")));
        }
    }
    Ok(())
}

/// The columns of the shadow with those of the origin that they are copies of.
pub(super) fn columns(origin: RelationId, shadow: RelationId, by_hand: bool) -> Result<Columns> {
    if !by_hand {
        return tree::columns_in_order(origin);
    }
    let own = catalog::columns(shadow)?.into_iter().map(|c| (c.name.clone(), c.name));
    columns_by_name(origin, shadow, &own.collect::<Vec<_>>())
}

/// Whether a column of the shadow has another type than the origin's.
pub(super) fn are_retyped(
    origin: RelationId,
    shadow: RelationId,
    columns: &Columns,
) -> Result<bool> {
    let (origins, shadows) = (catalog::columns(origin)?, catalog::columns(shadow)?);
    let form = |all: &[catalog::Column], number: i16| {
        let found = all.iter().find(|c| c.attnum == number);
        found.map(|c| (c.type_oid, c.typmod, c.collation))
    };
    Ok(columns.iter().any(|(copy, original)| {
        let now = form(&shadows, *copy);
        now.is_some() && now != form(&origins, *original)
    }))
}

/// The columns of a copy with those of its original. `pairs` are their names: the original's first.
pub(super) fn columns_by_name(
    original: RelationId,
    copy: RelationId,
    pairs: &[(Ident, Ident)],
) -> Result<Columns> {
    let (originals, copies) = (catalog::columns(original)?, catalog::columns(copy)?);
    let found = copies.iter().filter_map(|column| {
        let (name, _) = pairs.iter().find(|(_, name)| *name == column.name)?;
        let first = originals.iter().find(|c| c.name == *name)?;
        Some((column.attnum, first.attnum))
    });
    Ok(found.collect())
}
