//! Triggers of the table and of its views. Those of the table are disabled while it is blue.

use crate::catalog::dependent as reader;
use crate::dependent::kind::{Kind, Place, drop_named, no_rights, parts};
use crate::model::dependent::DependentKind;

const CATALOG: &str = "pg_catalog.pg_trigger";

pub(super) const KIND: Kind = Kind {
    discover: |scope| {
        let query = include_str!("../catalog/queries/dependent/triggers.sql");
        parts(scope, DependentKind::Trigger, query)
    },
    make: include_str!("../catalog/queries/dependent/make_trigger.sql"),
    find: |place, name, _| match place {
        Place::On(relation) => reader::part(CATALOG, *relation, name),
        Place::In(_) => Ok(None),
    },
    drop: |place, name, _| drop_named("TRIGGER", place, name),
    rights: no_rights,
    catalog: CATALOG,
};
