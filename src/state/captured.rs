//! `bluegreen.capture`: which log a table's changes go to. Read in the path of every write, without SPI, and
//! kept until the definition of either changes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys::Oid;

use crate::error::Result;
use crate::oid::RelationId;
use crate::pg::catalog_scan;
use crate::pg::datum::Layout;
use crate::pg::security::Identity;
use crate::pg::spi::{self, Arg};
use crate::pg::syscache;

/// Where the changes of a table are logged.
pub(crate) struct Target {
    /// The log.
    pub log: RelationId,
    /// The deployment's number.
    pub deployment: i64,
    /// Attribute numbers of the key's columns, and how their values are kept.
    pub key: Vec<(i16, Layout)>,
}

/// What is known of a table that fires the capture trigger.
#[derive(Clone)]
pub(crate) enum Found {
    /// Its changes are logged.
    Logged(Rc<Target>),
    /// They are not.
    Unknown {
        /// Other tables of this database are captured.
        others: bool,
    },
}

thread_local! {
    static KNOWN: RefCell<HashMap<RelationId, Found>> = RefCell::new(HashMap::new());
}

/// Forgets what is known of a relation, or of all.
pub(crate) fn forget(relation: Option<RelationId>) {
    KNOWN.with(|known| {
        let Ok(mut known) = known.try_borrow_mut() else { return };
        match relation {
            None => known.clear(),
            Some(relation) => known.retain(|table, found| {
                let log = matches!(found, Found::Logged(target) if target.log == relation);
                *table != relation && !log
            }),
        }
    });
}

/// The log of a table, from the cache or from `bluegreen.capture`.
pub(crate) fn find(relation: RelationId) -> Found {
    if let Some(known) = KNOWN.with(|known| known.borrow().get(&relation).cloned()) {
        return known;
    }
    let found = load(relation);
    KNOWN.with(|known| known.borrow_mut().insert(relation, found.clone()));
    found
}

/// Whether a table has the name of a deployment's log.
fn is_log(table: RelationId, deployment: i64) -> bool {
    syscache::qualified(table).is_some_and(|(schema, name)| {
        schema == "bluegreen"
            && ["forward", "reverse"]
                .iter()
                .any(|direction| name == format!("{direction}_{deployment}"))
    })
}

fn load(relation: RelationId) -> Found {
    let mut others = false;
    let Some(table) = syscache::relation(c"bluegreen", c"capture") else {
        return Found::Unknown { others };
    };
    // The columns are (relation oid, log oid, deployment bigint, key smallint[]), as the bootstrap script
    // says.
    let mut found = None;
    catalog_scan::each(table, |row| {
        let (log, deployment) = (row.get::<Oid>(2).map(RelationId::from), row.get::<i64>(3));
        others |= log.zip(deployment).is_some_and(|(log, number)| is_log(log, number));
        if row.get::<Oid>(1).map(RelationId::from) == Some(relation) {
            found = log.zip(deployment).zip(row.get::<Vec<i16>>(4));
        }
    });
    let Some(((log, deployment), key)) = found else { return Found::Unknown { others } };
    let none = Found::Unknown { others: false };
    // After a restore both OIDs may be those of other tables.
    if !is_log(log, deployment) {
        return none;
    }
    // A key column whose type was changed: its values do not fit the log. The fingerprint refuses to
    // go on with such a deployment. A domain is stored as its base type.
    let mut columns = Vec::new();
    for (i, attribute) in key.iter().enumerate() {
        let (first, second) = (4 + i as i16, 4 + (key.len() + i) as i16);
        let Some(own) = syscache::column_type(relation, *attribute) else { return none };
        let base = Some(syscache::base_type(own));
        if syscache::column_type(log, first) != base || syscache::column_type(log, second) != base {
            return none;
        }
        columns.push((*attribute, syscache::layout(own)));
    }
    Found::Logged(Rc::new(Target { log, deployment, key: columns }))
}

/// Whether an open deployment has the table by its name, and others by their OIDs: the database was restored
/// from a dump.
pub(crate) fn is_restored(relation: RelationId) -> bool {
    let Some(table) = syscache::relation(c"bluegreen", c"deployment") else { return false };
    let Some((schema, name)) = syscache::qualified(relation) else { return false };
    let column = |name: &str| syscache::attribute(table, name);
    let mut found = false;
    catalog_scan::each(table, |row| {
        let is = |wanted: &str, value: &str| {
            column(wanted).and_then(|number| row.name(number)).as_deref() == Some(value)
        };
        let oid = |wanted: &str| column(wanted).and_then(|number| row.get::<Oid>(number));
        let phase = column("phase").and_then(|number| row.get::<String>(number));
        let is_open = phase.is_some_and(|phase| phase != "finished" && phase != "aborted");
        found |= is_open
            && is("source_table", &name)
            && (is("source_schema", &schema) || is("blue_schema", &schema))
            && oid("origin").map(RelationId::from) != Some(relation)
            && oid("shadow").map(RelationId::from) != Some(relation);
    });
    found
}

/// Writes that the changes of a table go to a log; `key` are attribute numbers.
pub(crate) fn register(
    relation: RelationId,
    log: RelationId,
    deployment: i64,
    key: &[i64],
) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run(
        "INSERT INTO bluegreen.capture (relation, log, deployment, key) VALUES ($1, $2, $3, $4::int2[])",
        &[Arg::oid(relation), Arg::oid(log), Arg::Int(deployment), Arg::Ints(key)],
    )
    .map(drop)
}

/// Forgets where the changes of a deployment's tables went.
pub(crate) fn unregister(deployment: i64) -> Result<()> {
    let _us = Identity::extension()?;
    spi::run("DELETE FROM bluegreen.capture WHERE deployment = $1", &[Arg::Int(deployment)])
        .map(drop)
}
