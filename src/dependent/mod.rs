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
//! the tables at the other end of foreign keys.

mod adapt;
mod aside;
mod blue;
mod copies;
mod exchange;
mod foreign_key;
mod function;
mod identity;
mod kind;
mod materialized_view;
mod other;
mod policy;
mod publication;
mod rule;
mod site;
mod trees;
mod trigger;
mod uses;
mod view;

pub use adapt::{Adapted, discover};
pub use aside::leave;
pub use blue::{copy_index, mark_early, refresh, strip, take_along};
pub use exchange::{
    bring_back, drop_offline, exchange_twins, lock_functions, locks, moving_names, put_on,
    rehearse, switch, take_off,
};
pub use exchange::{not_valid, offline, validate};
pub use site::Site;

use crate::catalog;
use crate::catalog::dependent as reader;
use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::pg::xact::Caught;

/// What hangs on the table and cannot be carried over.
pub fn strangers(table: u32) -> Result<Vec<reader::Stranger>> {
    let mut found = reader::strangers(table, &reader::family(table)?)?;
    found.extend(foreign_key::strangers(table)?);
    Ok(found)
}

/// The first thing that hangs on a table, of any kind.
pub fn first(table: u32) -> Result<Option<String>> {
    let scope = kind::Scope { table, twins: reader::twins(table)? };
    if let Some(copy) = kind::discover(&scope)?.into_iter().next() {
        return Ok(Some(copy.title));
    }
    if let Some(key) = reader::foreign_keys(table)?.first() {
        return Ok(Some(format!("foreign key {}", crate::ident::plain(key.name.as_str()))));
    }
    if let Some(other) = reader::others(table, &[table])?.into_iter().next() {
        return Ok(Some(other.title));
    }
    if let Some(publication) = reader::publications(table)?.first() {
        let name = crate::ident::plain(publication.name.as_str());
        return Ok(Some(format!("publication {name}")));
    }
    let stranger = strangers(table)?.into_iter().next().map(|s| format!("{} {}", s.kind, s.name));
    if stranger.is_some() {
        return Ok(stranger);
    }
    Ok(reader::marks(table)?.into_iter().next().map(|(statement, _)| statement))
}

/// An object that the changes break.
fn broken(title: &str, cause: &str) -> Error {
    Error::new(
        pgrx::PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!("{title} cannot be made over the new definition: {cause}"),
    )
    .hint("Change or drop it first. What a DROP in changes breaks can be left behind with CASCADE behind it; a revert brings it back.")
}

/// The cause, unless the server itself is in trouble.
fn cause(caught: Caught) -> Result<String> {
    if caught.is_lock_failure() || matches!(caught.class().as_str(), "57" | "53" | "58") {
        return caught.raise();
    }
    let crate::error::Error { message, detail, .. } = caught.error;
    Ok(detail.map_or_else(|| message.clone(), |detail| format!("{message} ({detail})")))
}

/// The twin-sized question whether the blue schema has a place of that name.
fn require_free(blue: &Ident, name: &Ident, title: &str) -> Result<()> {
    let wanted = crate::ident::QualifiedName { schema: blue.clone(), name: name.clone() };
    if catalog::relation_oid(&wanted)?.is_none() {
        return Ok(());
    }
    Err(Error::state(format!(
        "{title} has a copy in schema {} already: it also depends on a table with an open deployment",
        crate::ident::plain(blue.as_str())
    ))
    .hint("Finish or abort that deployment first; see bg_status()."))
}
