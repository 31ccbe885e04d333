//! How the planner plans our statements that look rows up by key, or strike out those of many keys.
//!
//! What it thinks of a table's size comes from the last VACUUM or ANALYZE, and may be wrong by any factor:
//! a table that was vacuumed while it was empty is planned as if it had one row, and then each batch of
//! keys would be joined with the whole of it. So our statements do not ask: while a guard of this module
//! lives, ways that read a whole table are off, and in statements that read rows of ours by name (see
//! `transient_relation`) the tables have so many rows a block, whatever was written down, and of the indexes only that
//! of the key. The statements themselves leave no other order of joining (`ddl::lookup`).
//!
//! Source: `plancat.c` (`get_relation_info`, `estimate_rel_size`).

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{pg_guard, pg_sys};

use crate::error::Result;
use crate::oid::RelationId;
use crate::pg::security::{self, SettingsLevel};
use crate::product;

/// Rows in a block, for the planner.
const DENSITY: f64 = 50.0;

/// For statements that look keys up: each by its index.
const BY_KEY: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_memoize", "off"),
    ("enable_nestloop", "on"),
    ("enable_hashjoin", "on"),
    ("enable_indexonlyscan", "on"),
];

/// For statements that go through some blocks once, with the keys in a hash table.
const BY_HASH: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_indexscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_nestloop", "off"),
    ("enable_hashagg", "off"),
    ("enable_hashjoin", "on"),
];

/// A table and the columns of its key.
struct Keyed {
    table: RelationId,
    key: Vec<i16>,
}

thread_local! {
    static TABLES: RefCell<Vec<Keyed>> = const { RefCell::new(Vec::new()) };
    static BEFORE: RefCell<pg_sys::get_relation_info_hook_type> = const { RefCell::new(None) };
}

/// Statements are planned in this way for as long as it lives.
pub(crate) struct Planned {
    outer: Vec<Keyed>,
    _level: SettingsLevel,
}

impl Planned {
    /// Each key of these tables is looked up by its index.
    pub(crate) fn by_key(tables: &[(RelationId, Vec<i16>)]) -> Result<Self> {
        let keyed = tables.iter().map(|(table, key)| Keyed { table: *table, key: key.clone() });
        Self::with(keyed.collect(), BY_KEY)
    }

    /// Blocks of the table are gone through once, and its rows looked for in a hash table of our rows.
    pub(crate) fn by_hash(table: RelationId) -> Result<Self> {
        Self::with(vec![Keyed { table, key: Vec::new() }], BY_HASH)
    }

    fn with(tables: Vec<Keyed>, settings: &[(&str, &str)]) -> Result<Self> {
        let level = SettingsLevel::open();
        settings.iter().try_for_each(|(name, value)| security::set(name, value))?;
        Ok(Self { outer: TABLES.replace(tables), _level: level })
    }
}

impl Drop for Planned {
    // Also while an error unwinds: it is nothing of the server's.
    fn drop(&mut self) {
        TABLES.set(std::mem::take(&mut self.outer));
    }
}

/// Forgets the tables, where an error left the server without us. For the end of a transaction.
pub(crate) fn reset() {
    TABLES.set(Vec::new());
}

/// Lets the planner ask us. Called once per backend, when the library is loaded.
pub(crate) fn init() {
    // SAFETY: the hook is a plain function that lives as long as the backend, and calls the one before.
    unsafe {
        BEFORE.set(pg_sys::get_relation_info_hook);
        pg_sys::get_relation_info_hook = Some(tell);
    }
}

/// What the planner is told of a table.
#[pg_guard]
unsafe extern "C-unwind" fn tell(
    root: *mut pg_sys::PlannerInfo,
    relation: pg_sys::Oid,
    inherited: bool,
    info: *mut pg_sys::RelOptInfo,
) {
    // SAFETY: the arguments are the server's own, and go on as they came; `info` is filled.
    unsafe {
        if let Some(before) = BEFORE.with_borrow(|before| *before) {
            // An error of the server's own must not jump over us.
            pg_guard_ffi_boundary(|| before(root, relation, inherited, info));
        }
        TABLES.with_borrow(|tables| {
            let keyed = tables.iter().find(|keyed| pg_sys::Oid::from(keyed.table) == relation);
            if let Some(keyed) = keyed
                && is_ours(root)
            {
                set_size(info);
                if !keyed.key.is_empty() {
                    keep_index(info, &keyed.key);
                }
            }
        });
    }
}

/// As large as the file is, with as many rows a block as any table.
unsafe fn set_size(info: *mut pg_sys::RelOptInfo) {
    // SAFETY: `info` is the planner's, with a list of its own indexes.
    unsafe {
        let rows = (f64::from((*info).pages) * DENSITY).max(1.0);
        (*info).tuples = rows;
        (*info).allvisfrac = 0.0;
        for i in 0..pg_sys::list_length((*info).indexlist) {
            let index: *mut pg_sys::IndexOptInfo = pg_sys::list_nth((*info).indexlist, i).cast();
            (*index).tuples = rows;
        }
    }
}

/// Leaves the key's index alone in the list; all where there is none.
unsafe fn keep_index(info: *mut pg_sys::RelOptInfo, key: &[i16]) {
    // SAFETY: as in `set_size`; `indexkeys` has `nkeycolumns` entries at least. The new list is in the
    // planner's memory, as the old one.
    unsafe {
        let mut kept: *mut pg_sys::List = std::ptr::null_mut();
        for i in 0..pg_sys::list_length((*info).indexlist) {
            let index: *mut pg_sys::IndexOptInfo = pg_sys::list_nth((*info).indexlist, i).cast();
            let columns = usize::try_from((*index).nkeycolumns).unwrap_or_default();
            let columns = std::slice::from_raw_parts((*index).indexkeys, columns);
            let same = columns.len() == key.len()
                && key.iter().all(|column| columns.contains(&i32::from(*column)));
            if same && (*index).unique && (*index).indpred.is_null() {
                kept = pg_sys::lappend(kept, index.cast());
            }
        }
        if !kept.is_null() {
            (*info).indexlist = kept;
        }
    }
}

/// Whether it is a statement of ours that is planned, or a part of it: what users' code asks meanwhile is
/// not, and its plan may be kept.
unsafe fn is_ours(root: *mut pg_sys::PlannerInfo) -> bool {
    // SAFETY: the planner's own tree, from a part up to the whole.
    unsafe {
        let mut top = root;
        while !(*top).parent_root.is_null() {
            top = (*top).parent_root;
        }
        reads_ours((*top).parse)
    }
}

/// Whether a query reads rows of ours by name.
unsafe fn reads_ours(query: *mut pg_sys::Query) -> bool {
    // SAFETY: an analyzed query; entries of these kinds have a name or a subquery.
    unsafe {
        (0..pg_sys::list_length((*query).rtable)).any(|i| {
            let entry: *mut pg_sys::RangeTblEntry = pg_sys::list_nth((*query).rtable, i).cast();
            match (*entry).rtekind {
                pg_sys::RTEKind::RTE_NAMEDTUPLESTORE => {
                    CStr::from_ptr((*entry).enrname).to_bytes().starts_with(product::TRANSIENT)
                }
                pg_sys::RTEKind::RTE_SUBQUERY if !(*entry).subquery.is_null() => {
                    reads_ours((*entry).subquery)
                }
                _ => false,
            }
        })
    }
}
