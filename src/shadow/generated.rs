//! Stored generated columns whose values are taken over as they are stored.
//!
//! PostgreSQL computes them when a row is written, and again when an UPDATE sets what they are computed
//! of; ALTER TABLE and VACUUM FULL keep them. So does a deployment, where the two columns are computed in
//! the same way of columns that are taken over as they are; else the new table computes them anew.

use crate::catalog::{self, Column};
use crate::error::Result;
use crate::heap::generated;
use crate::ident::Ident;
use crate::oid::RelationId;

/// Two stored generated columns with the same expression.
pub(super) struct Alike {
    /// The origin's.
    pub origin: Ident,
    /// The shadow's.
    pub shadow: Ident,
    /// The columns that it is computed of: numbers on the origin, on the shadow.
    pub uses: Vec<(i16, i16)>,
}

/// Those among the columns that correspond (origin, shadow).
pub(super) fn alike(
    origin: RelationId,
    shadow: RelationId,
    pairs: &[(&Column, &Column)],
) -> Result<Vec<Alike>> {
    let stored = |c: &Column| c.generated == "s";
    let both = pairs.iter().filter(|(o, s)| {
        stored(o)
            && stored(s)
            && (o.type_oid, o.typmod, o.collation) == (s.type_oid, s.typmod, s.collation)
    });
    let last = pairs.iter().map(|(_, s)| s.attnum).max().unwrap_or(0);
    let mut numbers = vec![0; usize::from(last.unsigned_abs())];
    for (o, s) in pairs {
        numbers[usize::from(s.attnum.unsigned_abs()) - 1] = o.attnum;
    }
    let mut found = Vec::new();
    for (o, s) in both {
        let trees =
            (catalog::default_tree(origin, o.attnum)?, catalog::default_tree(shadow, s.attnum)?);
        let (Some(one), Some(other)) = trees else { continue };
        let Some(columns) = generated::same_expression(&one, &other, &numbers)? else { continue };
        let at = |n: i16| numbers[usize::from(n.unsigned_abs()) - 1];
        let uses = columns.into_iter().map(|n| (at(n), n)).collect();
        found.push(Alike { origin: o.name.clone(), shadow: s.name.clone(), uses });
    }
    Ok(found)
}
