//! Materialized views: empty at first, with their indexes; filled when blue is in step.

use crate::dependent::kind::{Kind, drop_named, find_relation, twins};
use crate::dependent::view::copy_rights;
use crate::model::dependent::CopyKind;

pub(super) const KIND: Kind = Kind {
    kind: CopyKind::MaterializedView,
    discover: |scope| Ok(twins(scope, CopyKind::MaterializedView)),
    make: include_str!("../catalog/queries/dependent/make_materialized_view.sql"),
    find: find_relation,
    drop: |place, name, _| drop_named("MATERIALIZED VIEW", place, name),
    rights: copy_rights,
    catalog: "pg_catalog.pg_class",
};
