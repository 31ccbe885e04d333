//! What a kind of objects that are copied says of itself, in three steps:
//! discover (which of them hang on the table), carry (what makes one again, how the copy is found and
//! taken away), check (what it depends on, before and after).

use crate::catalog;
use crate::catalog::dependent::{self as reader, DependentRow, Use};
use crate::ddl::dependent as ddl;
use crate::error::Result;
use crate::ident::{Ident, QualifiedName};
use crate::model::dependent::{DependentKind, Replica, Uses};
use crate::oid::{ObjectId, RelationId};

/// What a kind says of itself.
pub(super) struct Kind {
    /// Discover: those that hang on the table.
    pub(super) discover: fn(&Scope) -> Result<Vec<Found>>,
    /// Carry: the query that gives the statements which make one again.
    pub(super) make: &'static str,
    /// Carry: the copy of a name at its place, which is none of `known`.
    pub(super) find: fn(&Place<'_>, &Ident, &[ObjectId]) -> Result<Option<ObjectId>>,
    /// Carry: what takes a copy away.
    pub(super) drop: fn(&Place<'_>, &Ident, ObjectId) -> Result<Option<String>>,
    /// Carry: gives the copy the rights of the original, and settings that its statements have not.
    pub(super) rights: fn(ObjectId, ObjectId) -> Result<()>,
    /// Check: the catalog under whose name pg_depend knows it.
    pub(super) catalog: &'static str,
}

/// The table with its views and functions.
pub(super) struct Scope {
    /// The table.
    pub(super) table: RelationId,
    /// What lives in a schema of its own right, with its way from the table.
    pub(super) twins: Vec<DependentRow>,
}

/// An original, and when its turn is.
pub(super) struct Found {
    /// It, without its statements.
    pub(super) copy: Replica,
    /// The longest way from the table; parts of relations come last.
    pub(super) depth: i32,
}

/// Where a copy is.
pub(super) enum Place<'a> {
    /// In a schema.
    In(&'a Ident),
    /// On a relation.
    On(RelationId),
}

impl Kind {
    /// The statements that make one again; in `schema`, where it lives in one.
    pub(super) fn statements(&self, oid: ObjectId, schema: Option<&Ident>) -> Result<Vec<String>> {
        reader::make(self.make, oid, schema)
    }

    /// What one depends on.
    pub(super) fn needs(&self, oid: ObjectId) -> Result<Vec<Use>> {
        reader::needs(self.catalog, oid)
    }
}

/// Twins of a kind.
pub(super) fn twins(scope: &Scope, kind: DependentKind) -> Vec<Found> {
    let ours = scope.twins.iter().filter(|t| t.kind == kind);
    ours.map(|twin| Found {
        depth: twin.depth,
        copy: Replica {
            kind,
            name: twin.name.clone(),
            title: format!("{} {}", kind.word(), twin.title),
            schema: Some(twin.schema.clone()),
            origin: twin.oid,
            parent: RelationId::INVALID,
            enabled: 'O',
            populated: twin.populated,
            uses: Uses::new(),
            statements: None,
            path: Vec::new(),
            tree: None,
        },
    })
    .collect()
}

/// Parts of the table and of its views, by the query of their kind.
pub(super) fn parts(scope: &Scope, kind: DependentKind, query: &str) -> Result<Vec<Found>> {
    let views = scope.twins.iter().filter(|t| t.kind != DependentKind::Function);
    let views = views.map(|view| RelationId::from(view.oid));
    let parts = reader::parts(query, scope.table, &views.collect::<Vec<_>>())?;
    let found = parts.into_iter().map(|part| Found {
        depth: i32::MAX,
        copy: Replica {
            kind,
            title: format!("{} {}", kind.word(), part.title),
            name: part.name,
            schema: None,
            origin: part.oid,
            parent: part.parent,
            enabled: part.enabled,
            populated: false,
            uses: Uses::new(),
            statements: None,
            path: Vec::new(),
            tree: None,
        },
    });
    Ok(found.collect())
}

/// A relation of that name in a schema.
pub(super) fn find_relation(
    place: &Place<'_>,
    name: &Ident,
    _known: &[ObjectId],
) -> Result<Option<ObjectId>> {
    match place {
        Place::In(schema) => {
            let name = QualifiedName { schema: (*schema).clone(), name: name.clone() };
            Ok(catalog::relation_oid(&name)?.map(ObjectId::from))
        }
        Place::On(_) => Ok(None),
    }
}

/// DROP of something in a schema or on a relation.
pub(super) fn drop_named(word: &str, place: &Place<'_>, name: &Ident) -> Result<Option<String>> {
    Ok(Some(match place {
        Place::In(schema) => {
            let name = QualifiedName { schema: (*schema).clone(), name: name.clone() };
            ddl::drop_in_schema(word, &name)
        }
        Place::On(relation) => {
            let on = catalog::existing_table(*relation)?.qualified();
            ddl::drop_part(word, name, &on)
        }
    }))
}

/// Parts of a relation have no rights of their own.
pub(super) fn no_rights(_original: ObjectId, _copy: ObjectId) -> Result<()> {
    Ok(())
}
