//! Rows as the executor or a scan has them: their values' bytes, where they lie.

use pgrx::pg_sys;

use crate::heap::toast_compare::ToastComparer;
use crate::pg::tid::Place;

/// A column of a row: where it stands in it, and how its values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    /// From 0.
    pub number: usize,
    pub by_value: bool,
    /// `attlen`.
    pub length: i16,
}

impl Column {
    pub(crate) fn new(number: usize, attribute: &pg_sys::FormData_pg_attribute) -> Self {
        Self { number, by_value: attribute.attbyval, length: attribute.attlen }
    }
}

/// The columns of a descriptor.
pub(crate) unsafe fn attributes<'d>(
    descriptor: pg_sys::TupleDesc,
) -> &'d [pg_sys::FormData_pg_attribute] {
    // SAFETY: the descriptor has `natts` attributes.
    unsafe { std::slice::from_raw_parts(attribute(descriptor, 0), (*descriptor).natts as usize) }
}

/// A column of a descriptor, from 0.
pub(crate) unsafe fn attribute(
    descriptor: pg_sys::TupleDesc,
    number: usize,
) -> *mut pg_sys::FormData_pg_attribute {
    // SAFETY: the attributes lie one after the other, since 18 behind as many compact ones.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        let first = (&raw mut (*descriptor).attrs).cast::<pg_sys::FormData_pg_attribute>();
        #[cfg(feature = "pg18")]
        let first = (&raw mut (*descriptor).compact_attrs)
            .cast::<pg_sys::CompactAttribute>()
            .add((*descriptor).natts as usize)
            .cast::<pg_sys::FormData_pg_attribute>();
        first.add(number)
    }
}

/// Whether no tuple has a column's values: the server computes them where they are read. Since PostgreSQL 18.
pub(crate) fn is_virtual(attribute: &pg_sys::FormData_pg_attribute) -> bool {
    cfg!(feature = "pg18") && attribute.attgenerated as u8 == b'v'
}

/// A row, as long as its slot has it.
pub(crate) struct Row<'r> {
    /// Holds at least the columns' values.
    slot: *mut pg_sys::TupleTableSlot,
    columns: &'r [Column],
}

impl<'r> Row<'r> {
    /// The row in a slot, of which these columns count.
    ///
    /// # Safety
    /// The slot holds a row of that shape and stays as it is while the result is used.
    pub(crate) unsafe fn new(slot: *mut pg_sys::TupleTableSlot, columns: &'r [Column]) -> Self {
        // SAFETY: the columns are those of the slot's descriptor.
        unsafe {
            let needed = needed(columns);
            if (*slot).tts_nvalid < needed {
                pg_sys::slot_getsomeattrs_int(slot, needed.into());
            }
        }
        Self { slot, columns }
    }

    /// The same for those who stand in a guarded boundary: None where the tuple itself lacks a column.
    ///
    /// # Safety
    /// As for [`Row::new`].
    #[inline]
    pub(crate) unsafe fn within_boundary(
        slot: *mut pg_sys::TupleTableSlot,
        columns: &'r [Column],
    ) -> Option<Self> {
        // SAFETY: the slot's own function, which sets how many values are valid.
        unsafe {
            let needed = needed(columns);
            if (*slot).tts_nvalid < needed
                && let Some(take_apart) = (*(*slot).tts_ops).getsomeattrs
            {
                take_apart(slot, needed.into());
            }
            ((*slot).tts_nvalid >= needed).then_some(Self { slot, columns })
        }
    }

    fn value(&self, column: &Column) -> Option<pg_sys::Datum> {
        // SAFETY: `new` has seen to it that the slot has the column's value.
        unsafe {
            let null = *(*self.slot).tts_isnull.add(column.number);
            (!null).then(|| *(*self.slot).tts_values.add(column.number))
        }
    }

    /// Appends the bytes of its columns, so that rows of the same columns give the same bytes only if
    /// their values are the same. Values that are kept elsewhere are fetched; a compressed one stays as
    /// it is, so that the same value may also give other bytes.
    pub(crate) fn image(&self, bytes: &mut Vec<u8>) {
        for column in self.columns {
            match self.value(column) {
                None => bytes.push(0),
                Some(datum) if column.by_value => {
                    bytes.push(1);
                    bytes.extend_from_slice(&(datum.value() as u64).to_ne_bytes());
                }
                Some(datum) => {
                    bytes.push(1);
                    // SAFETY: a value of the column; what is fetched is freed with the row's memory.
                    let (compressed, value) = unsafe { content(datum, column.length) };
                    if column.length == -1 {
                        bytes.push(u8::from(compressed));
                        bytes.extend_from_slice(&(value.len() as u64).to_ne_bytes());
                    }
                    bytes.extend_from_slice(value);
                }
            }
        }
    }

    /// Whether [`Row::image`] of both would be the same; `beside` reads what both tables keep elsewhere.
    pub(crate) fn equals(&self, other: &Row<'_>, beside: &mut ToastComparer<'_>) -> bool {
        beside.next_rows();
        // SAFETY: the values live as long as the rows, and may be fetched as those of any row that was
        // read under a snapshot that is still registered; what is fetched lives as long as the row's memory.
        let same = self.same(other, |left, right, length| unsafe {
            beside
                .differ_or_wait([left.cast_mut_ptr(), right.cast_mut_ptr()])
                .unwrap_or_else(|| content(left, length) == content(right, length))
        });
        // SAFETY: as above.
        same && unsafe { beside.same() }
    }

    /// As [`Row::equals`], without reading what is kept elsewhere: false may mean that it would have to.
    pub(crate) fn surely_equals(&self, other: &Row<'_>) -> bool {
        self.same(other, |_, _, _| false)
    }

    /// Whether all columns have the same; of values that are kept elsewhere `elsewhere` says it, which is
    /// given their length too.
    #[inline]
    fn same(
        &self,
        other: &Row<'_>,
        mut elsewhere: impl FnMut(pg_sys::Datum, pg_sys::Datum, i16) -> bool,
    ) -> bool {
        self.columns.iter().zip(other.columns).all(|(own, others)| {
            match (self.value(own), other.value(others)) {
                (None, None) => true,
                (Some(left), Some(right)) if own.by_value => left == right,
                // SAFETY: values of these columns, which are of one type.
                (Some(left), Some(right)) => unsafe {
                    if own.length == -1 && (is_elsewhere(left) || is_elsewhere(right)) {
                        return elsewhere(left, right, own.length);
                    }
                    content(left, own.length) == content(right, others.length)
                },
                _ => false,
            }
        })
    }

    /// Where the row of a table lies.
    pub(crate) fn place(&self) -> Place {
        // SAFETY: a slot that a scan of a table has filled.
        unsafe { crate::pg::tid::place_of(&(*self.slot).tts_tid) }
    }

    /// The place that one of the slot's columns says, which is a tid; from 0.
    pub(crate) fn place_in(&self, column: usize) -> Place {
        // SAFETY: the caller's query has a tid there, which is never NULL.
        unsafe { crate::pg::tid::place(*(*self.slot).tts_values.add(column)) }
    }
}

/// How many of a slot's values have to be valid.
#[inline]
fn needed(columns: &[Column]) -> i16 {
    columns.iter().map(|column| column.number as i16 + 1).max().unwrap_or(0)
}

/// Whether a value without fixed length is kept elsewhere.
#[inline]
unsafe fn is_elsewhere(datum: pg_sys::Datum) -> bool {
    // SAFETY: the datum is such a value.
    unsafe { pgrx::varlena::varatt_is_1b_e(datum.cast_mut_ptr()) }
}

/// The bytes of a value that is passed by reference, and whether they are compressed. What is kept
/// elsewhere is fetched.
#[inline]
unsafe fn content<'v>(datum: pg_sys::Datum, length: i16) -> (bool, &'v [u8]) {
    // SAFETY: the datum is of a type of that length.
    unsafe {
        if length > 0 {
            let bytes = datum.cast_mut_ptr::<u8>();
            return (false, std::slice::from_raw_parts(bytes, length as usize));
        }
        if length == -2 {
            let bytes = std::ffi::CStr::from_ptr(datum.cast_mut_ptr());
            return (false, bytes.to_bytes_with_nul());
        }
        let mut value: *mut pg_sys::varlena = datum.cast_mut_ptr();
        if is_elsewhere(datum) {
            value = pg_sys::detoast_external_attr(value);
        }
        // Its header says so, and how long it is when it is not.
        let compressed = pgrx::varlena::varatt_is_4b_c(value);
        let data = pgrx::varlena::vardata_any(value).cast::<u8>();
        let size = pgrx::varlena::varsize_any_exhdr(value);
        (compressed, std::slice::from_raw_parts(data, size))
    }
}
