//! Stored generated columns: whether two are computed in the same way, and writing them as they are.
//!
//! The server computes a stored generated column of every row that it inserts. A row that is moved keeps
//! what was computed when it was written, as ALTER TABLE and VACUUM FULL keep it: a function that was
//! replaced since would give something else. So the columns pass for plain ones while our statement is
//! read, planned and run: `attgenerated` is switched off in this process' copy of the table's descriptor,
//! which is all that the parser and the executor look at.
//!
//! An invalidation that arrives meanwhile gives the table a new descriptor, with `attgenerated` on (the two
//! are not equal, so that the server does not keep ours). Then the statement is rolled back and run again.
//!
//! Sources: `relcache.c` (`RelationClearRelation`, `RelationDestroyRelation`: the old descriptor stays until
//! the transaction ends, or while somebody has counted a reference to it), `tupdesc.c`, `nodeModifyTable.c`
//! (`ExecInitStoredGenerated`), `rewriteHandler.c`.

use std::cell::Cell;
use std::ffi::CString;

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result};
use crate::heap::row::attribute;
use crate::heap::row::attributes;
use crate::ident::Ident;
use crate::oid::RelationId;
use crate::pg::xact::{self, SubtransactionError};

/// How often a statement is run that lost its columns to an invalidation.
const TRIES: u32 = 20;

/// Whether two expressions over two tables, as `pg_node_tree`, are the same when column `numbers[n - 1]` of
/// the one stands for column `n` of the other; then the columns of the other that it uses.
pub(crate) fn same_expression(one: &str, other: &str, numbers: &[i16]) -> Result<Option<Vec<i16>>> {
    let text = |tree: &str| {
        CString::new(tree).map_err(|_| Error::internal("a node tree contains a NUL byte"))
    };
    let (one, other) = (text(one)?, text(other)?);
    // SAFETY: the server's own texts of expressions over the columns of one relation, number 1; what is
    // read lives in the current memory context. The map has a place for each column of the other table.
    unsafe {
        let one = pg_sys::stringToNode(one.as_ptr()).cast::<pg_sys::Node>();
        let other = pg_sys::stringToNode(other.as_ptr()).cast::<pg_sys::Node>();
        let columns = columns_of(other);
        let known = |n: &i16| {
            let at = usize::try_from(*n - 1).ok();
            at.and_then(|at| numbers.get(at)).is_some_and(|number| *number > 0)
        };
        if !columns.iter().all(known) {
            return Ok(None);
        }
        let map = pg_sys::make_attrmap(numbers.len() as i32);
        std::ptr::copy_nonoverlapping(numbers.as_ptr(), (*map).attnums, numbers.len());
        let mut whole_row = false;
        let invalid = pg_sys::InvalidOid;
        let other = pg_sys::map_variable_attnos(other, 1, 0, map, invalid, &mut whole_row);
        let same = !whole_row && pg_sys::equal(one.cast(), other.cast());
        Ok(same.then_some(columns))
    }
}

/// The columns, from 1, that an expression over relation 1 uses.
unsafe fn columns_of(tree: *mut pg_sys::Node) -> Vec<i16> {
    // SAFETY: `tree` is one; the set is the server's.
    unsafe {
        let mut set: *mut pg_sys::Bitmapset = std::ptr::null_mut();
        pg_sys::pull_varattnos(tree, 1, &mut set);
        let mut found = Vec::new();
        let mut member = pg_sys::bms_next_member(set, -1);
        while member >= 0 {
            let number = member + pg_sys::FirstLowInvalidHeapAttributeNumber;
            if number > 0 {
                found.push(number as i16);
            }
            member = pg_sys::bms_next_member(set, member);
        }
        found
    }
}

/// Runs `work` in a subtransaction in which these stored generated columns of a table are written like
/// plain ones. `work` may be called again.
///
/// Locks: ROW EXCLUSIVE on the table, as its statements take it.
pub(crate) fn written<T>(
    table: RelationId,
    columns: &[&Ident],
    mut work: impl FnMut() -> Result<T>,
) -> std::result::Result<T, SubtransactionError> {
    if columns.is_empty() {
        return xact::subtransaction(work);
    }
    let mut tries = 1;
    loop {
        let lost = Cell::new(false);
        let done = xact::subtransaction(|| {
            let passing = Passing::open(table, columns, &lost)?;
            let value = work()?;
            passing.require_kept()?;
            Ok(value)
        });
        if !lost.get() {
            return done;
        }
        if tries == TRIES {
            let error = lost_error();
            return Err(done.err().unwrap_or(SubtransactionError { error }));
        }
        tries += 1;
    }
}

fn lost_error() -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        "the definition of the offline table was invalidated again and again while rows were written to it",
    )
    .hint("Call again.")
}

/// Columns that pass for plain ones. Also an error takes that back: it is only written in this process'
/// memory, and no abort would undo it.
struct Passing<'l> {
    relation: pg_sys::Relation,
    descriptor: pg_sys::TupleDesc,
    /// From 0.
    numbers: Vec<usize>,
    lost: &'l Cell<bool>,
}

impl<'l> Passing<'l> {
    fn open(table: RelationId, columns: &[&Ident], lost: &'l Cell<bool>) -> Result<Self> {
        // SAFETY: inside a subtransaction, whose abort closes the relation.
        unsafe {
            let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
            let relation = pg_sys::table_open(pg_sys::Oid::from(table), mode);
            let descriptor = (*relation).rd_att;
            // The cache lets go of it when it is replaced, and the executor of a statement when that ends: the
            // last one frees it. An abort gives back what is held here.
            pg_sys::IncrTupleDescRefCount(descriptor);
            let stored = attributes(descriptor).iter().enumerate().filter(|(_, a)| {
                let name = pgrx::name_data_to_str(&a.attname);
                !a.attisdropped
                    && a.attgenerated as u8 == pg_sys::ATTRIBUTE_GENERATED_STORED
                    && columns.iter().any(|column| column.as_str() == name)
            });
            let numbers: Vec<usize> = stored.map(|(number, _)| number).collect();
            let passing = Self { relation, descriptor, numbers, lost };
            passing.set(0);
            Ok(passing)
        }
    }

    fn set(&self, generated: u8) {
        // SAFETY: the descriptor is the relation's, or was, and is held since `open`.
        unsafe {
            for number in &self.numbers {
                (*attribute(self.descriptor, *number)).attgenerated = generated as _;
                #[cfg(feature = "pg18")]
                {
                    let first = (&raw mut (*self.descriptor).compact_attrs)
                        .cast::<pg_sys::CompactAttribute>();
                    (*first.add(*number)).attgenerated = generated != 0;
                }
            }
            let constraints = (*self.descriptor).constr;
            if !constraints.is_null() {
                let stored = pg_sys::ATTRIBUTE_GENERATED_STORED;
                (*constraints).has_generated_stored =
                    attributes(self.descriptor).iter().any(|a| a.attgenerated as u8 == stored);
            }
        }
    }

    fn is_lost(&self) -> bool {
        // SAFETY: the relation is open.
        unsafe { (*self.relation).rd_att != self.descriptor }
    }

    fn require_kept(&self) -> Result<()> {
        if self.is_lost() { Err(lost_error()) } else { Ok(()) }
    }
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.lost.set(self.is_lost());
        self.set(pg_sys::ATTRIBUTE_GENERATED_STORED);
        if !std::thread::panicking() {
            // SAFETY: held and opened in `open`, in the same subtransaction.
            unsafe {
                pg_sys::DecrTupleDescRefCount(self.descriptor);
                pg_sys::table_close(self.relation, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
        }
    }
}
