//! Materialized views: empty at first, with their indexes; filled when blue is in step.

use crate::catalog::dependent as reader;
use crate::dependent::kind::{Kind, drop_named, find_relation, twins};
use crate::dependent::view::copy_rights;
use crate::model::dependent::DependentKind;
use crate::pg::spi;

pub(super) const KIND: Kind = Kind {
    discover: |scope| Ok(twins(scope, DependentKind::MaterializedView)),
    make: include_str!("../catalog/queries/dependent/make_materialized_view.sql"),
    find: find_relation,
    drop: |place, name, _| drop_named("MATERIALIZED VIEW", place, name),
    rights: |original, copy| {
        for statement in reader::settings(original.into(), copy.into())? {
            spi::run(&statement, &[])?;
        }
        copy_rights(original, copy)
    },
    catalog: "pg_catalog.pg_class",
};
