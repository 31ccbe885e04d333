//! Sequences of columns that both sides have.
//!
//! The live sequence object stays the live one for ever: a queued `nextval('users_id_seq')` has
//! resolved its OID already. The tables swap ownership records at the swap (`swap`).

use crate::catalog::{self, Sequence};
use crate::ddl;
use crate::error::{Error, Result};
use crate::ident::{Ident, QualifiedName, plain};
use crate::model::plan::SequencePair;
use crate::oid::RelationId;
use crate::pg::spi::{self, Arg};

/// Finds the pairs. A serial of a hand-made target is pointed to the live sequence.
///
/// A column may own several sequences (a serial that was made an identity and kept its old one): the one
/// that numbers it becomes the one that numbers its counterpart, each with the kind of its side; all other
/// sequences that it owns go on being owned by it. One that belonged to an identity that the changes drop
/// goes with the old table.
pub(crate) fn decide(
    origin: RelationId,
    shadow: RelationId,
    table: &QualifiedName,
    pairs: &[(Ident, Ident)],
) -> Result<Vec<SequencePair>> {
    widen(origin, shadow, pairs)?;
    let (live, spare) = (catalog::sequences(origin)?, catalog::sequences(shadow)?);
    let columns = catalog::columns(shadow)?;
    let mut found = Vec::new();
    for (from, to) in pairs {
        let owned: Vec<&Sequence> = live.iter().filter(|s| s.column == *from).collect();
        let own: Vec<&Sequence> = spare.iter().filter(|s| s.column == *to).collect();
        let own = numbering(&own, shadow)?;
        // An identity that the changes add goes on where a sequence is that the column has already.
        let numbers = match (numbering(&owned, origin)?, own) {
            (None, Some(own)) if own.kind == 'i' => owned.first().copied(),
            (numbers, _) => numbers,
        };
        for sequence in owned {
            let own = own.filter(|_| numbers.is_some_and(|n| n.oid == sequence.oid));
            if own.is_none() && sequence.kind == 'i' && !default_uses(shadow, sequence.oid, None)? {
                continue;
            }
            let default = columns.iter().find(|c| c.name == *to).and_then(|c| c.default.clone());
            let mut given_default = None;
            if own.is_some_and(|s| s.kind == 'a') {
                spi::run(&ddl::sequence::feed(table, to, &sequence.qualified()), &[])?;
                given_default = default;
            }
            found.push(pair(from, to, sequence, own, given_default));
        }
    }
    require_unused(&live, &found, origin)?;
    Ok(found)
}

/// The sequence that numbers a column: its identity's, or the one that its default calls.
fn numbering<'s>(owned: &[&'s Sequence], table: RelationId) -> Result<Option<&'s Sequence>> {
    if let Some(identity) = owned.iter().find(|s| s.kind == 'i') {
        return Ok(Some(identity));
    }
    for sequence in owned {
        if default_uses(table, sequence.oid, Some(sequence.attnum))? {
            return Ok(Some(sequence));
        }
    }
    Ok(None)
}

fn pair(
    from: &Ident,
    to: &Ident,
    live: &Sequence,
    own: Option<&Sequence>,
    given_default: Option<String>,
) -> SequencePair {
    // Only what the change makes different: the rest may be altered meanwhile.
    let differing = |side: &[String], other: &[String]| {
        let all = side.iter().zip(other).filter(|(a, b)| a != b).map(|(a, _)| a.as_str());
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| all.join(" "))
    };
    SequencePair {
        origin_column: from.clone(),
        shadow_column: to.clone(),
        live: live.oid,
        spare: own.map(|s| s.oid),
        origin_kind: live.kind,
        shadow_kind: own.map_or('a', |s| s.kind),
        shadow_options: own.and_then(|s| differing(&s.options, &live.options)),
        origin_options: own.and_then(|s| differing(&live.options, &s.options)),
        given_default,
    }
}

/// A sequence that goes with the old table must not be used by anything that stays: bg_finish could not
/// drop it, as a plain ALTER TABLE could not drop its column.
fn require_unused(live: &[Sequence], pairs: &[SequencePair], origin: RelationId) -> Result<()> {
    let goes = |s: &&Sequence| !pairs.iter().any(|p| p.live == s.oid);
    for sequence in live.iter().filter(goes) {
        let sql = "SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
                     FROM pg_catalog.pg_depend d
                     LEFT JOIN pg_catalog.pg_attrdef a
                       ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND a.oid = d.objid
                    WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = $1
                      AND d.deptype = 'n' AND a.adrelid IS DISTINCT FROM $2
                    ORDER BY 1 LIMIT 1";
        let user = spi::one::<String>(sql, &[Arg::oid(sequence.oid), Arg::oid(origin)])?;
        let Some(user) = user else { continue };
        let (name, column) = (sequence.qualified().plain(), plain(sequence.column.as_str()));
        return Err(Error::new(
            pgrx::PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            format!("sequence {name} goes with what the changes drop of column {column}, and {user} depends on it"),
        )
        .hint("Change what uses the sequence first, or ALTER SEQUENCE … OWNED BY NONE to keep it."));
    }
    Ok(())
}

/// LIKE gives an identity column the bounds of its original in so many words, so that a change of its
/// type leaves them. A plain ALTER TABLE would have moved a bound that is its type's.
fn widen(origin: RelationId, shadow: RelationId, pairs: &[(Ident, Ident)]) -> Result<()> {
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

/// Whether a default of the table calls the sequence; only that of a column, if one is given.
fn default_uses(table: RelationId, sequence: RelationId, column: Option<i16>) -> Result<bool> {
    let sql = "SELECT EXISTS (
        SELECT FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
         WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass
           AND d.refclassid = 'pg_catalog.pg_class'::regclass
           AND d.refobjid = $2 AND a.adrelid = $1 AND $3 IN (0, a.adnum))";
    let column = column.map_or(0, i64::from);
    let args = [Arg::oid(table), Arg::oid(sequence), Arg::Int(column)];
    Ok(spi::one::<bool>(sql, &args)?.unwrap_or(false))
}
