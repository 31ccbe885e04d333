//! Questions that the server answers from its catalog caches, without SPI.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::pg::datum::Layout;

fn text(name: *mut std::ffi::c_char) -> Option<String> {
    // SAFETY: a palloc'd name, or null.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// The relation of a name in a schema.
pub(crate) fn relation(schema: &CStr, name: &CStr) -> Option<u32> {
    // SAFETY: catalog cache look-ups.
    unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (schema != pg_sys::InvalidOid && oid != pg_sys::InvalidOid).then(|| oid.to_u32())
    }
}

/// Schema and name of a relation that exists.
pub(crate) fn qualified(relation: u32) -> Option<(String, String)> {
    let oid = pg_sys::Oid::from(relation);
    // SAFETY: catalog cache look-ups.
    unsafe {
        let schema = text(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid)))?;
        Some((schema, text(pg_sys::get_rel_name(oid))?))
    }
}

/// The number of a column.
pub(crate) fn attribute(relation: u32, name: &str) -> Option<i16> {
    let name = CString::new(name).ok()?;
    // SAFETY: a catalog cache look-up.
    let number = unsafe { pg_sys::get_attnum(pg_sys::Oid::from(relation), name.as_ptr()) };
    (number > 0).then_some(number)
}

/// The type of a column; None: there is no such column.
pub(crate) fn column_type(relation: u32, attribute: i16) -> Option<u32> {
    // SAFETY: a catalog cache look-up.
    let oid = unsafe { pg_sys::get_atttype(pg_sys::Oid::from(relation), attribute) };
    (oid != pg_sys::InvalidOid).then(|| oid.to_u32())
}

/// The type that a domain is stored as; a type that is no domain itself.
pub(crate) fn base_type(type_oid: u32) -> u32 {
    // SAFETY: a catalog cache look-up.
    unsafe { pg_sys::getBaseType(pg_sys::Oid::from(type_oid)) }.to_u32()
}

/// How values of a type are kept.
pub(crate) fn layout(type_oid: u32) -> Layout {
    let (mut length, mut by_value) = (0i16, false);
    // SAFETY: a catalog cache look-up.
    unsafe {
        pg_sys::get_typlenbyval(pg_sys::Oid::from(type_oid), &mut length, &mut by_value);
    }
    Layout { length, by_value }
}
