//! Sequences of columns that both sides have.
//!
//! The live sequence object stays the live one for ever: a queued `nextval('users_id_seq')` has
//! resolved its OID already. The tables exchange ownership records at the swap (`swap`).

use crate::catalog;
use crate::ddl;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::model::deployment::SequencePair;
use crate::pg::spi::{self, Arg};

/// Finds the pairs. A serial of a hand-made target is pointed to the live sequence.
pub fn decide(
    origin: u32,
    shadow: u32,
    table: &QualifiedName,
    pairs: &[(Ident, Ident)],
) -> Result<Vec<SequencePair>> {
    widen(origin, shadow, pairs)?;
    let spare = catalog::sequences(shadow)?;
    let columns = catalog::columns(shadow)?;
    let mut found = Vec::new();
    for live in catalog::sequences(origin)? {
        let Some((_, name)) = pairs.iter().find(|(o, _)| *o == live.column) else { continue };
        let own = spare.iter().find(|s| s.column == *name);
        let is_identity = columns.iter().any(|c| c.name == *name && !c.identity.is_empty());
        if own.is_none() && !is_identity && !default_uses(shadow, live.oid)? {
            continue;
        }
        let default = columns.iter().find(|c| c.name == *name).and_then(|c| c.default.clone());
        let mut given_default = None;
        if own.is_some_and(|s| s.kind == 'a') && !default_uses(shadow, live.oid)? {
            spi::run(&ddl::sequence::feed(table, name, &live.qualified()), &[])?;
            given_default = default;
        }
        // Only what the change makes different: the rest may be altered meanwhile.
        let differing = |side: &[String], other: &[String]| {
            let all = side.iter().zip(other).filter(|(a, b)| a != b).map(|(a, _)| a.as_str());
            let all: Vec<_> = all.collect();
            (!all.is_empty()).then(|| all.join(" "))
        };
        found.push(SequencePair {
            origin_column: live.column.clone(),
            shadow_column: name.clone(),
            live: live.oid,
            spare: own.map(|s| s.oid),
            origin_kind: live.kind,
            shadow_kind: own.map_or('a', |s| s.kind),
            shadow_options: own.and_then(|s| differing(&s.options, &live.options)),
            origin_options: own.and_then(|s| differing(&live.options, &s.options)),
            given_default,
        });
    }
    Ok(found)
}

/// LIKE gives an identity column the bounds of its original in so many words, so that a change of its
/// type leaves them. A plain ALTER TABLE would have moved a bound that is its type's.
fn widen(origin: u32, shadow: u32, pairs: &[(Ident, Ident)]) -> Result<()> {
    let live = catalog::sequences(origin)?;
    for own in catalog::sequences(shadow)?.iter().filter(|s| s.kind == 'i') {
        let original = pairs
            .iter()
            .find(|(_, s)| *s == own.column)
            .and_then(|(o, _)| live.iter().find(|l| l.column == *o));
        let Some(original) = original else { continue };
        if original.type_oid != own.type_oid && original.at_type_limit && !own.at_type_limit {
            let bound = if own.ascending { "NO MAXVALUE" } else { "NO MINVALUE" };
            spi::run(&ddl::sequence::alter(&own.qualified(), bound), &[])?;
        }
    }
    Ok(())
}

fn default_uses(table: u32, sequence: u32) -> Result<bool> {
    let sql = "SELECT EXISTS (
        SELECT FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
         WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass
           AND d.refclassid = 'pg_catalog.pg_class'::regclass
           AND d.refobjid = $2 AND a.adrelid = $1)";
    Ok(spi::one::<bool>(sql, &[Arg::Oid(table), Arg::Oid(sequence)])?.unwrap_or(false))
}
