//! Long values (TOAST) that are moved as they are stored.
//!
//! A value that lies beside its table uncompressed was too much for the server to compress. Written to
//! another table it would be compressed once more in vain, which for such values takes most of the time.
//! So their columns pass for `STORAGE EXTERNAL`, which the server does not compress, while their rows are
//! written. A column that is computed, or stored or compressed in another way than where it comes from,
//! is left to the server.
//!
//! Source: `heaptoast.c` (`heap_toast_insert_or_update`: a value that cannot be compressed and one that is
//! not to be are stored the same way).

use pgrx::pg_sys;

use crate::heap::row::attribute;
use crate::heap::toast_compare::pointer;

/// Shorter rows without values beside the table stay as they are.
const LONG_ROW: u32 = pg_sys::BLCKSZ / 8;
/// As many columns as a mask has bits.
const MAX_COLUMNS: usize = u64::BITS as usize;

/// What rows ask of their columns, a bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Not to be compressed.
    as_stored: u64,
    /// To be compressed, should the row be too long.
    compressed: u64,
}

impl Needs {
    /// Whether rows with these needs can be written at once.
    pub(crate) fn agree(self, other: Self) -> bool {
        self.as_stored & other.compressed == 0 && self.compressed & other.as_stored == 0
    }

    /// The needs of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            as_stored: self.as_stored | other.as_stored,
            compressed: self.compressed | other.compressed,
        }
    }
}

/// The columns of a table, from 0, that a statement takes unchanged from another table where they are
/// stored and compressed in the same way.
#[derive(Default)]
pub(crate) struct Moved(Vec<usize>);

impl Moved {
    /// Those of a SELECT whose columns are the table's.
    ///
    /// # Safety
    /// The plan is one of the server's, and its tables are locked.
    pub(crate) unsafe fn of(
        statement: *mut pg_sys::PlannedStmt,
        relation: pg_sys::Relation,
    ) -> Self {
        // SAFETY: nodes are read only after their tags were looked at.
        unsafe {
            let columns = (*(*statement).planTree).targetlist;
            let count = pg_sys::list_length(columns).min((*(*relation).rd_att).natts);
            let moved = (0..count).filter(|number| {
                let entry: *mut pg_sys::TargetEntry = pg_sys::list_nth(columns, *number).cast();
                let to = attribute((*relation).rd_att, *number as usize);
                (*to).attlen == -1
                    && (*to).attstorage as u8 == pg_sys::TYPSTORAGE_EXTENDED
                    && comes_from(statement, (*entry).expr)
                        .is_some_and(|from| from == ((*to).attstorage, (*to).attcompression))
            });
            Self(moved.map(|number| number as usize).take(MAX_COLUMNS).collect())
        }
    }

    /// What a row asks for.
    ///
    /// # Safety
    /// Slot and tuple hold the same row of the table.
    pub(crate) unsafe fn needs(
        &self,
        slot: *mut pg_sys::TupleTableSlot,
        tuple: pg_sys::HeapTuple,
    ) -> Needs {
        // SAFETY: the columns are the slot's.
        unsafe {
            let flags = u32::from((*(*tuple).t_data).t_infomask);
            let Some(last) = self.0.last() else { return Needs::default() };
            if flags & pg_sys::HEAP_HASEXTERNAL == 0 && (*tuple).t_len < LONG_ROW {
                return Needs::default();
            }
            if ((*slot).tts_nvalid as usize) <= *last {
                pg_sys::slot_getsomeattrs_int(slot, *last as i32 + 1);
            }
            let mut needs = Needs::default();
            for (bit, number) in self.0.iter().enumerate() {
                if *(*slot).tts_isnull.add(*number) {
                    continue;
                }
                let value: *const pg_sys::varlena =
                    (*(*slot).tts_values.add(*number)).cast_mut_ptr();
                if pgrx::varlena::varatt_is_4b_c(value) {
                    continue;
                }
                match stored(value) {
                    Some(Stored::Compressed) => {}
                    Some(Stored::Raw) => needs.as_stored |= 1 << bit,
                    None => needs.compressed |= 1 << bit,
                }
            }
            needs
        }
    }

    /// Lets the columns pass for what rows with these needs ask for, while the guard lives.
    ///
    /// # Safety
    /// The descriptor is the table's, and outlives the guard.
    pub(crate) unsafe fn pass(&self, descriptor: pg_sys::TupleDesc, needs: Needs) -> Passing<'_> {
        let passing = Passing { moved: self, descriptor, needs };
        passing.set(pg_sys::TYPSTORAGE_EXTERNAL);
        passing
    }
}

/// Columns that pass for uncompressed ones. Also an error takes that back: it is only written in this
/// process' memory, where nobody else reads it meanwhile.
pub(crate) struct Passing<'m> {
    moved: &'m Moved,
    descriptor: pg_sys::TupleDesc,
    needs: Needs,
}

impl Passing<'_> {
    fn set(&self, storage: u8) {
        for (bit, number) in self.moved.0.iter().enumerate() {
            if self.needs.as_stored & (1 << bit) != 0 {
                // SAFETY: a column of the descriptor, which the caller keeps (see `pass`).
                unsafe { (*attribute(self.descriptor, *number)).attstorage = storage as _ };
            }
        }
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.set(pg_sys::TYPSTORAGE_EXTENDED);
    }
}

/// Storage and compression of the column that an expression is, if it is one.
unsafe fn comes_from(
    statement: *mut pg_sys::PlannedStmt,
    expression: *mut pg_sys::Expr,
) -> Option<(std::ffi::c_char, std::ffi::c_char)> {
    // SAFETY: see `Moved::of`; the relation is open only here.
    unsafe {
        if (*expression).type_ != pg_sys::NodeTag::T_Var {
            return None;
        }
        let var: *mut pg_sys::Var = expression.cast();
        let (table, number) = ((*var).varno, (*var).varattno);
        if number < 1 || !(1..=pg_sys::list_length((*statement).rtable)).contains(&table) {
            return None;
        }
        let entry: *mut pg_sys::RangeTblEntry =
            pg_sys::list_nth((*statement).rtable, table - 1).cast();
        if (*entry).rtekind != pg_sys::RTEKind::RTE_RELATION {
            return None;
        }
        let no_lock = pg_sys::NoLock as pg_sys::LOCKMODE;
        let from = pg_sys::relation_open((*entry).relid, no_lock);
        let column = attribute((*from).rd_att, number as usize - 1);
        let found = ((*column).attstorage, (*column).attcompression);
        pg_sys::relation_close(from, no_lock);
        Some(found)
    }
}

/// How a value lies beside its table.
enum Stored {
    Raw,
    Compressed,
}

/// None: it does not.
unsafe fn stored(value: *const pg_sys::varlena) -> Option<Stored> {
    // SAFETY: as the caller says.
    let pointer = unsafe { pointer(value) }?;
    let size = pointer.va_extinfo & pg_sys::VARLENA_EXTSIZE_MASK;
    let raw = pointer.va_rawsize as u32 - pg_sys::VARHDRSZ as u32;
    Some(if size < raw { Stored::Compressed } else { Stored::Raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_disagree_where_one_wants_compressed_what_the_other_has_not() {
        let raw = Needs { as_stored: 0b01, compressed: 0 };
        let text = Needs { as_stored: 0, compressed: 0b10 };
        assert!(raw.agree(raw) && raw.agree(text) && raw.agree(Needs::default()));
        let both = raw.and(text);
        assert!(!both.agree(Needs { as_stored: 0b10, compressed: 0 }));
        assert!(!Needs { as_stored: 0, compressed: 0b01 }.agree(both));
    }
}
