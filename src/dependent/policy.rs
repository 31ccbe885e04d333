//! Row security policies of the table.

use crate::catalog::dependent as reader;
use crate::dependent::kind::{Kind, Place, drop_named, no_rights, parts};
use crate::model::dependent::DependentKind;

const CATALOG: &str = "pg_catalog.pg_policy";

pub(super) const KIND: Kind = Kind {
    discover: |scope| {
        let query = include_str!("../catalog/queries/dependent/policies.sql");
        parts(scope, DependentKind::Policy, query)
    },
    make: include_str!("../catalog/queries/dependent/make_policy.sql"),
    find: |place, name, _| match place {
        Place::On(relation) => reader::part(CATALOG, *relation, name),
        Place::In(_) => Ok(None),
    },
    drop: |place, name, _| drop_named("POLICY", place, name),
    rights: no_rights,
    catalog: CATALOG,
};
