//! Questions that the server answers from its catalog caches, without SPI.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::oid::{RelationId, TypeId};
use crate::pg::datum::Layout;

fn text(name: *mut std::ffi::c_char) -> Option<String> {
    // SAFETY: a palloc'd name, or null.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// The relation of a name in a schema.
pub(crate) fn relation(schema: &CStr, name: &CStr) -> Option<RelationId> {
    // SAFETY: catalog cache look-ups.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (schema != pg_sys::InvalidOid && oid != pg_sys::InvalidOid).then(|| oid.into())
    }
}

/// Schema and name of a relation that exists.
pub(crate) fn qualified(relation: RelationId) -> Option<(String, String)> {
    let oid = pg_sys::Oid::from(relation);
    // SAFETY: catalog cache look-ups.
    unsafe {
        let schema = text(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid)))?;
        Some((schema, text(pg_sys::get_rel_name(oid))?))
    }
}

/// The TOAST table of a table, if it has one. The caller has locked the table.
pub(crate) fn toast_table(table: RelationId) -> Option<RelationId> {
    let mode = pg_sys::NoLock as pg_sys::LOCKMODE;
    // SAFETY: the table is locked, and closed again; nothing between can fail.
    let oid = unsafe {
        let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
        let oid = (*(*relation).rd_rel).reltoastrelid;
        pg_sys::table_close(relation, mode);
        oid
    };
    (oid != pg_sys::InvalidOid).then(|| oid.into())
}

/// The number of a column.
pub(crate) fn attribute(relation: RelationId, name: &str) -> Option<i16> {
    let name = CString::new(name).ok()?;
    // SAFETY: a catalog cache look-up.
    let number = unsafe { pg_sys::get_attnum(pg_sys::Oid::from(relation), name.as_ptr()) };
    (number > 0).then_some(number)
}

/// The type of a column; None: there is no such column.
pub(crate) fn column_type(relation: RelationId, attribute: i16) -> Option<TypeId> {
    // SAFETY: a catalog cache look-up.
    let oid = unsafe { pg_sys::get_atttype(pg_sys::Oid::from(relation), attribute) };
    (oid != pg_sys::InvalidOid).then(|| oid.into())
}

/// The type that a domain is stored as; a type that is no domain itself.
pub(crate) fn base_type(type_oid: TypeId) -> TypeId {
    // SAFETY: a catalog cache look-up.
    unsafe { pg_sys::getBaseType(pg_sys::Oid::from(type_oid)) }.into()
}

/// How values of a type are kept.
pub(crate) fn layout(type_oid: TypeId) -> Layout {
    let (mut length, mut by_value) = (0i16, false);
    // SAFETY: a catalog cache look-up.
    unsafe {
        pg_sys::get_typlenbyval(pg_sys::Oid::from(type_oid), &mut length, &mut by_value);
    }
    Layout { length, by_value }
}
