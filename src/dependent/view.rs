//! Views, and views of views: with owner, options, column defaults, comments, labels, grants, and what
//! their row types have.

use crate::catalog;
use crate::ddl::rights;
use crate::dependent::kind::{Kind, drop_named, find_relation, twins};
use crate::dependent::row_type::carry_row_type;
use crate::error::Result;
use crate::model::dependent::DependentKind;
use crate::oid::{ObjectId, RelationId};
use crate::pg::acl;

pub(super) const KIND: Kind = Kind {
    discover: |scope| Ok(twins(scope, DependentKind::View)),
    make: include_str!("../catalog/queries/dependent/make_view.sql"),
    find: find_relation,
    drop: |place, name, _| drop_named("VIEW", place, name),
    rights: copy_rights,
    catalog: "pg_catalog.pg_class",
};

/// The rights of the original, exactly: nothing is ever written through the offline one, because its
/// table is guarded. With what its row type has.
pub(super) fn copy_rights(original: ObjectId, copy: ObjectId) -> Result<()> {
    let (original, copy) = (RelationId::from(original), RelationId::from(copy));
    carry_row_type(original, copy)?;
    let owner = catalog::existing_table(copy)?.owner;
    let names: Vec<_> =
        catalog::columns(copy)?.into_iter().map(|c| (c.name.clone(), c.name)).collect();
    acl::replace(copy, owner, rights::LIVE, &rights::arguments(original, &names))
}
