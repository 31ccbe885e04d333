//! Rules of the table and of its views. Those of the table are tried as copies and move in the swap.

use crate::catalog::dependent as reader;
use crate::dependent::kind::{Kind, Place, drop_named, no_rights, parts};
use crate::model::dependent::DependentKind;

const CATALOG: &str = "pg_catalog.pg_rewrite";

pub(super) const KIND: Kind = Kind {
    discover: |scope| {
        let query = include_str!("../catalog/queries/dependent/rules.sql");
        parts(scope, DependentKind::Rule, query)
    },
    make: include_str!("../catalog/queries/dependent/make_rule.sql"),
    find: |place, name, _| match place {
        Place::On(relation) => reader::part(CATALOG, *relation, name),
        Place::In(_) => Ok(None),
    },
    drop: |place, name, _| drop_named("RULE", place, name),
    rights: no_rights,
    catalog: CATALOG,
};
