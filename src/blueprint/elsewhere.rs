//! Looks for what `check::elsewhere` refuses.

use std::collections::BTreeMap;

use crate::catalog::{Table, extension};
use crate::check;
use crate::check::elsewhere::refusals;
use crate::check::facts::Seen;
use crate::ddl;
use crate::error::Result;
use crate::ident::plain;
use crate::oid::RelationId;
use crate::pg::plan;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};

/// What is seen of a table.
pub(crate) fn look(table: &Table) -> Result<Seen> {
    if table.kind != "r" {
        return Ok(Seen::default());
    }
    let found = {
        // Planning computes what is immutable in the expressions of indexes.
        let _owner = Identity::table_owner(table.owner, &BTreeMap::new())?;
        plan::elsewhere(&ddl::table::read(&table.qualified()), table.oid)?
    };
    let read = match found {
        None => None,
        Some(found) => {
            let _us = Identity::extension()?;
            let others: Vec<RelationId> =
                found.relations.iter().copied().filter(|oid| *oid != table.oid).collect();
            let belongings = extension::of(&others, &found.functions)?;
            let first = belongings.into_iter().next();
            let (what, whose) = match first {
                Some(first) => (format!("{} of {}", found.node, first.title), first.extension),
                None => (found.node, None),
            };
            Some((what, whose))
        }
    };
    let mut held = Vec::new();
    let columns = {
        let _us = Identity::extension()?;
        extension::oid_columns()?
    };
    for column in columns {
        let _owner = Identity::table_owner(column.owner, &BTreeMap::new())?;
        let sql = ddl::table::holds(&column.table(), &column.column, column.is_array);
        if spi::one::<bool>(&sql, &[Arg::oid(table.oid)])? == Some(true) {
            let place = format!("{}.{}", column.table().plain(), plain(column.column.as_str()));
            held.push((column.extension, place));
        }
    }
    Ok(Seen { read, held })
}

/// Refuses a table that the changes refer to, or a target.
pub(crate) fn require_here(table: &Table) -> Result<()> {
    let found = refusals(&table.qualified().plain(), &look(table)?);
    check::refusal(&found).map_or(Ok(()), Err)
}
