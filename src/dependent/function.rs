//! Functions and procedures with the table's row type in their signature, or with a parsed body (BEGIN
//! ATOMIC) that uses it.

use crate::catalog::dependent as reader;
use crate::ddl::dependent as ddl;
use crate::dependent::kind::{Kind, Place, twins};
use crate::model::dependent::DependentKind;
use crate::oid::ObjectId;
use crate::pg::acl;

pub(super) const KIND: Kind = Kind {
    discover: |scope| Ok(twins(scope, DependentKind::Function)),
    make: include_str!("../catalog/queries/dependent/make_function.sql"),
    // Several may have one name.
    find: |place, name, known| match place {
        Place::In(schema) => {
            let there = reader::functions(schema, name)?;
            Ok(there.into_iter().map(ObjectId::from).find(|oid| !known.contains(oid)))
        }
        Place::On(_) => Ok(None),
    },
    drop: |_, _, oid| {
        let name = reader::function_name(oid.into())?;
        Ok(name.map(|name| ddl::drop_routine(&name)))
    },
    rights: |original, copy| acl::copy_function(original.into(), copy.into()),
    catalog: "pg_catalog.pg_proc",
};
