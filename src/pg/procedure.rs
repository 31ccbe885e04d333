//! What a procedure gives back: its INOUT argument, as a row of one column.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{IntoDatum, pg_sys};

/// The phase reached, as the row `(phase text)`.
pub(crate) struct PhaseRow(pub String);

// SAFETY: a CALL wants a composite datum with a registered row type, which BlessTupleDesc makes.
unsafe impl BoxRet for PhaseRow {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: one column, one value; the tuple lives in the caller's memory context.
        unsafe {
            let descriptor = pg_sys::CreateTemplateTupleDesc(1);
            pg_sys::TupleDescInitEntry(descriptor, 1, c"phase".as_ptr(), pg_sys::TEXTOID, -1, 0);
            let descriptor = pg_sys::BlessTupleDesc(descriptor);
            let mut value = self.0.into_datum().unwrap_or(pg_sys::Datum::from(0));
            let mut is_null = false;
            // Until 16 they are not constant for the server.
            let (value, is_null) = (&raw mut value, &raw mut is_null);
            let tuple = pg_sys::heap_form_tuple(descriptor, value, is_null);
            fcinfo.return_raw_datum(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
        }
    }
}

// SAFETY: the declaration is written by hand in sql/functions.sql; pgrx only has to skip it.
unsafe impl SqlTranslatable for PhaseRow {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(PhaseRow);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::Skip);
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::Skip));
}
