//! Dependent: what hangs on the table and goes with it.
//!
//! Three ways, by what the object is:
//! - **copies**: views, functions with its row type, triggers, rules and policies are made a second
//!   time over the shadow. Views and functions then live in the blue schemas under their own names
//!   and change places with their originals by SET SCHEMA, as the tables do; triggers, rules and
//!   policies go with their table, which switches them on and off.
//! - **moves**: foreign keys, publications, policies and rules of other tables are taken off one
//!   table and put on the other in the swap.
//! - **marks** of the table itself: row security, replica identity, CLUSTER, labels.
//!
//! How a definition comes to mean the copy, without a name being edited: the server deparses it
//! while the search_path holds the live schemas, so that what is in them is printed without a schema;
//! it is run while schemas of the deployment's own, which hold the copies and nothing else, stand in
//! front of them. Afterwards pg_depend must say that no copy depends on an original.
//!
//! `changes` reach the copies as they reach any object: a RENAME is done while they are there, and
//! the server's deparse is read back; everything else is done without them, and whatever cannot be
//! made over the result is named, and refused unless the changes say CASCADE.
//!
//! Locks: prepare none beyond ACCESS SHARE; the swap ACCESS EXCLUSIVE on views of the table and on
//! the tables at the other end of foreign keys, with their partitions.

mod adapt;
pub(crate) mod array_type;
mod aside;
mod blue;
mod external_reference;
mod failure;
mod foreign_key;
mod function;
mod identity;
mod kind;
mod kinds;
mod materialized_view;
mod pg_depend;
mod policy;
mod publication;
mod replica;
mod row_type;
mod rule;
mod search_paths;
mod swap;
mod trees;
mod trigger;
mod unsupported;
mod view;

pub(crate) use adapt::{DependentPlan, Recorded, discover};
pub(crate) use aside::leave;
pub(crate) use blue::{
    copy_index, drop_attached_objects, mark_early, note_contents, outdated, refresh, take_along,
};
pub(crate) use row_type::carry_row_type;
pub(crate) use swap::{
    bring_back, drop_offline, lock_functions, locks, moving_names, partitions, put_on, rehearse,
    same_array_names, swap_twins, switch, take_off,
};
pub(crate) use swap::{not_valid, offline, validate};
pub(crate) use unsupported::require_supported;

use crate::catalog::dependent::{self as reader, UnsupportedDependent};
use crate::error::Result;
use crate::ident::{Ident, plain};
use crate::oid::RelationId;

/// What hangs on the table and cannot be carried over.
pub(crate) fn strangers(table: RelationId) -> Result<Vec<UnsupportedDependent>> {
    let mut found = reader::strangers(table, &reader::family(table)?)?;
    found.extend(foreign_key::strangers(table)?);
    found.extend(reader::unsupported_constraints(table)?);
    Ok(found)
}

/// The marks that a table has, as the statements that make them.
pub(crate) fn marks(table: RelationId) -> Result<Vec<String>> {
    Ok(reader::marks(table)?.into_iter().map(|(statement, _)| statement).collect())
}

/// What hangs on a table, of any kind.
pub(crate) fn all(table: RelationId) -> Result<Vec<String>> {
    let scope = kind::Scope { table, twins: reader::twins(table)? };
    let named = |kind: &str, name: &Ident| format!("{kind} {}", plain(name.as_str()));
    let mut found: Vec<_> = kinds::discover(&scope)?.into_iter().map(|copy| copy.title).collect();
    found.extend(reader::foreign_keys(table)?.iter().map(|key| named("foreign key", &key.name)));
    found.extend(reader::others(table, &[table.into()])?.into_iter().map(|other| other.title));
    found.extend(reader::publications(table)?.iter().map(|p| named("publication", &p.name)));
    found.extend(strangers(table)?.into_iter().map(|s| format!("{} {}", s.kind, s.name)));
    Ok(found)
}
