//! The live sequence object stays the live one; the tables swap its ownership.

use crate::catalog;
use crate::ddl;
use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::model::member::{Member, Side};
use crate::oid::RelationId;
use crate::pg::relation;
use crate::pg::spi;
use crate::pg::xact;

/// Takes the ownership off all paired sequences, so that SET SCHEMA leaves them where they are.
pub(super) fn release(member: &Member) {
    for pair in &member.plan.sequences {
        relation::release_sequence(pair.live);
        if let Some(spare) = pair.spare {
            relation::release_sequence(spare);
        }
    }
}

/// Gives the live sequences to the table that goes live, with the type and bounds of its column, and
/// the spare ones to the other.
pub(super) fn own(member: &Member) -> Result<()> {
    let goes_live = match member.green_side() {
        Side::Origin => Side::Shadow,
        Side::Shadow => Side::Origin,
    };
    for pair in &member.plan.sequences {
        let (to_kind, from_kind) = match goes_live {
            Side::Shadow => (pair.shadow_kind, pair.origin_kind),
            Side::Origin => (pair.origin_kind, pair.shadow_kind),
        };
        let (column, other, options) = match goes_live {
            Side::Shadow => (&pair.shadow_column, &pair.origin_column, &pair.shadow_options),
            Side::Origin => (&pair.origin_column, &pair.shadow_column, &pair.origin_options),
        };
        let (to, from) = (member.blue(), member.green());
        relation::own_sequence(pair.live, to, attnum(to, column)?, to_kind);
        if let Some(spare) = pair.spare {
            relation::own_sequence(spare, from, attnum(from, other)?, from_kind);
        }
        if let Some(options) = options {
            let name = catalog::existing_table(pair.live)?.qualified();
            // A sequence that has passed the old bound keeps the wider one: a narrower column refuses
            // its values, which is better than to refuse the revert.
            match xact::subtransaction(|| spi::run(&ddl::sequence::alter(&name, options), &[])) {
                Ok(_) => {}
                Err(caught) if xact::sqlstate(caught.error.code) == "22023" => {}
                Err(caught) => return caught.raise(),
            }
        }
    }
    Ok(())
}

fn attnum(table: RelationId, column: &Ident) -> Result<i16> {
    catalog::columns(table)?
        .into_iter()
        .find(|c| c.name == *column)
        .map(|c| c.attnum)
        .ok_or_else(|| {
            Error::state(format!("column {column} of a table of the deployment does not exist"))
                .hint("Undo what has changed the table, or end the deployment with SELECT bg_abort(table), after a swap with SELECT bg_finish(table).")
        })
}
