//! What an index takes for equal.

use crate::oid::{CollationId, OperatorClassId};
use pgrx::pg_sys;

/// Number of the support function of a btree operator class that says so (BTEQUALIMAGE_PROC).
const EQUAL_IMAGE: i16 = 4;

/// Whether values that the operator class takes for equal, under this collation (0 for none), are the same
/// bits. One that cannot tell is taken for one that does not.
pub(crate) fn is_bitwise(operator_class: OperatorClassId, collation: CollationId) -> bool {
    // SAFETY: catalog cache look-ups; the support function takes the OID of the class' input type, and
    // whoever made the class (a superuser) has registered it for that.
    unsafe {
        let class = pg_sys::Oid::from(operator_class);
        let (family, input) =
            (pg_sys::get_opclass_family(class), pg_sys::get_opclass_input_type(class));
        let function = pg_sys::get_opfamily_proc(family, input, input, EQUAL_IMAGE);
        function != pg_sys::InvalidOid
            && pg_sys::OidFunctionCall1Coll(
                function,
                pg_sys::Oid::from(collation),
                pg_sys::Datum::from(input),
            )
            .value()
                != 0
    }
}
