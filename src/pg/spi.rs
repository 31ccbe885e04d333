//! SQL from inside the backend.
//!
//! Every statement runs with `read_only = false`, so it takes a new snapshot under READ COMMITTED
//! and sees what was committed while we waited for a lock (pgrx's own client uses the caller's
//! snapshot until the subtransaction has an XID), unless a [`Snapshot`] is given.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;

use pgrx::{FromDatum, IntoDatum, pg_sys};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::oid::Oid;
use crate::pg::snapshot::Snapshot;
use crate::pg::transient_relation::Work;

/// An argument of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Arg<'a> {
    /// text
    Text(&'a str),
    /// text that may be NULL
    OptText(Option<&'a str>),
    /// bigint
    Int(i64),
    /// oid, by [`Arg::oid`]
    Oid(pg_sys::Oid),
    /// boolean
    Bool(bool),
    /// double precision
    Float(f64),
    /// bigint[]
    Ints(&'a [i64]),
    /// text[]
    Texts(Vec<String>),
}

impl Arg<'_> {
    /// oid
    pub(crate) fn oid(oid: impl Oid) -> Self {
        Self::Oid(oid.into())
    }

    fn datum(&self) -> (pg_sys::Oid, Option<pg_sys::Datum>) {
        match self {
            Arg::Text(v) => (pg_sys::TEXTOID, v.into_datum()),
            Arg::OptText(v) => (pg_sys::TEXTOID, v.into_datum()),
            Arg::Int(v) => (pg_sys::INT8OID, v.into_datum()),
            Arg::Oid(v) => (pg_sys::OIDOID, v.into_datum()),
            Arg::Bool(v) => (pg_sys::BOOLOID, v.into_datum()),
            Arg::Float(v) => (pg_sys::FLOAT8OID, v.into_datum()),
            Arg::Ints(v) => (pg_sys::INT8ARRAYOID, v.to_vec().into_datum()),
            Arg::Texts(v) => (pg_sys::TEXTARRAYOID, v.clone().into_datum()),
        }
    }
}

/// A connection to SPI; finished on drop, left to the abort when an error unwinds.
pub(crate) struct Connection {
    /// The memory context outside of it.
    outer: pg_sys::MemoryContext,
}

impl Connection {
    pub(crate) fn open() -> Result<Self> {
        // SAFETY: SPI may be entered at any time inside a transaction; pgrx turns an error into
        // an unwind.
        let (outer, code) = unsafe { (pg_sys::CurrentMemoryContext, pg_sys::SPI_connect()) };
        if code == pg_sys::SPI_OK_CONNECT as i32 {
            Ok(Self { outer })
        } else {
            Err(Error::internal(format!("SPI_connect failed with {code}")))
        }
    }
}

impl Connection {
    /// Leaves SPI's memory context: what is made from now on outlives the connection.
    fn leave_memory(&self) {
        // SAFETY: the context was current when we connected, and SPI_finish goes back to it.
        unsafe { pg_sys::MemoryContextSwitchTo(self.outer) };
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the connection on top of SPI's stack is ours: inner ones are finished.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// The rows of the last statement, valid while its connection is open.
pub(crate) struct Rows {
    table: *mut pg_sys::SPITupleTable,
    count: usize,
}

impl Rows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// No rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Descriptor of the rows.
    pub(crate) fn descriptor(&self) -> pg_sys::TupleDesc {
        // SAFETY: `table` is SPI_tuptable of a statement that returned rows, and lives until
        // SPI_finish; `Rows` is only handed to closures that run before that.
        unsafe { (*self.table).tupdesc }
    }

    /// A row as a tuple of [`Rows::descriptor`].
    pub(crate) fn tuple(&self, row: usize) -> pg_sys::HeapTuple {
        debug_assert!(row < self.count);
        // SAFETY: `row` is below the number of rows that SPI reported.
        unsafe { *(*self.table).vals.add(row) }
    }

    /// The rows under a name of their own, for other statements.
    pub(crate) fn to_work(&self, name: &str) -> Result<Work> {
        let tuples = (0..self.count).map(|row| self.tuple(row));
        Work::from_tuples(name, self.descriptor(), tuples)
    }

    /// A column (from 1) as a datum; None is NULL.
    pub(crate) fn datum(&self, row: usize, column: usize) -> Option<pg_sys::Datum> {
        let mut null = false;
        // SAFETY: tuple and descriptor belong together; the number is checked by SPI.
        let datum = unsafe {
            pg_sys::SPI_getbinval(self.tuple(row), self.descriptor(), column as i32, &mut null)
        };
        (!null).then_some(datum)
    }

    /// A column (from 1) as a Rust value.
    pub(crate) fn get<T: FromDatum>(&self, row: usize, column: usize) -> Option<T> {
        let datum = self.datum(row, column)?;
        // SAFETY: the caller names the type that the statement returns.
        unsafe { T::from_datum(datum, false) }
    }
}

thread_local! {
    /// Plans of questions that are asked again and again, in every batch and under the swap's lock.
    static PLANS: RefCell<HashMap<String, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

/// How a statement is run.
#[derive(Default)]
pub(crate) struct Options<'a> {
    /// What it sees; none is a new snapshot.
    pub snapshot: Option<&'a Snapshot>,
    /// Rows that it can read by name.
    pub work: &'a [&'a Work],
    /// Keep its plan for the session. For texts of which there are few.
    pub keep_plan: bool,
}

/// A plan, from the session's kept ones if it is to be kept.
fn plan(sql: &str, types: &mut [pg_sys::Oid], keep: bool) -> Result<pg_sys::SPIPlanPtr> {
    if let Some(kept) = keep.then(|| PLANS.with(|p| p.borrow().get(sql).copied())).flatten() {
        return Ok(kept);
    }
    let text = CString::new(sql).map_err(|_| Error::internal("a statement contains a NUL byte"))?;
    // SAFETY: connected; the text is NUL-terminated and copied; a kept plan lives in memory of its
    // own, and the server plans it again when what it depends on changes.
    unsafe {
        // A kept plan is planned once: the server would plan it anew the first five times, which
        // under the swap's lock takes longer than all else.
        let options = if keep { pg_sys::CURSOR_OPT_GENERIC_PLAN as i32 } else { 0 };
        let count = types.len() as i32;
        let plan = pg_sys::SPI_prepare_cursor(text.as_ptr(), count, types.as_mut_ptr(), options);
        if plan.is_null() {
            return Err(Error::internal(format!("a statement could not be prepared: {sql}")));
        }
        if keep {
            pg_sys::SPI_keepplan(plan);
            PLANS.with(|p| p.borrow_mut().insert(sql.to_owned(), plan));
        }
        Ok(plan)
    }
}

/// Plans a statement whose plan is kept, and runs nothing.
pub(crate) fn prepare(sql: &str, args: &[Arg<'_>]) -> Result<()> {
    let _connection = Connection::open()?;
    let mut types: Vec<_> = args.iter().map(|arg| arg.datum().0).collect();
    plan(sql, &mut types, true).map(drop)
}

/// Runs a statement and gives its rows, if any, and the number of rows processed to `read`.
pub(crate) fn with_rows<T>(
    sql: &str,
    args: &[Arg<'_>],
    options: Options<'_>,
    read: impl FnOnce(&Rows, u64) -> Result<T>,
) -> Result<T> {
    let connection = Connection::open()?;
    let (mut types, values): (Vec<_>, Vec<_>) = args.iter().map(Arg::datum).unzip();
    let nulls: Vec<std::ffi::c_char> =
        values.iter().map(|v| if v.is_some() { b' ' } else { b'n' } as _).collect();
    let mut values: Vec<_> =
        values.into_iter().map(|v| v.unwrap_or(pg_sys::Datum::from(0))).collect();
    for work in options.work {
        work.register()?;
    }
    let plan = plan(sql, &mut types, options.keep_plan)?;
    // SAFETY: the arrays have the length of the plan's parameters; errors unwind through Rust
    // frames that own only memory.
    let code = unsafe {
        pg_sys::SPI_execute_snapshot(
            plan,
            values.as_mut_ptr(),
            nulls.as_ptr(),
            options.snapshot.map_or(std::ptr::null_mut(), Snapshot::as_ptr),
            std::ptr::null_mut(),
            false,
            true,
            0,
        )
    };
    if code < 0 {
        return Err(Error::internal(format!("a statement failed with SPI code {code}: {sql}")));
    }
    // SAFETY: SPI_tuptable and SPI_processed are set by the call above.
    let (table, processed) = unsafe { (pg_sys::SPI_tuptable, pg_sys::SPI_processed) };
    let count = if table.is_null() { 0 } else { processed as usize };
    connection.leave_memory();
    read(&Rows { table, count }, processed)
}

/// Runs a statement; the number of rows processed.
pub(crate) fn run(sql: &str, args: &[Arg<'_>]) -> Result<u64> {
    with_rows(sql, args, Options::default(), |_, processed| Ok(processed))
}

/// Runs a statement with options; the number of rows processed.
pub(crate) fn run_with(sql: &str, args: &[Arg<'_>], options: Options<'_>) -> Result<u64> {
    with_rows(sql, args, options, |_, processed| Ok(processed))
}

/// Like [`one`], with a plan that is kept.
pub(crate) fn one_kept<T: FromDatum>(sql: &str, args: &[Arg<'_>]) -> Result<Option<T>> {
    let options = Options { keep_plan: true, ..Options::default() };
    with_rows(sql, args, options, |rows, _| Ok(if rows.is_empty() { None } else { rows.get(0, 1) }))
}

/// The first column of the first row, if there is one and it is not NULL.
pub(crate) fn one<T: FromDatum>(sql: &str, args: &[Arg<'_>]) -> Result<Option<T>> {
    with_rows(sql, args, Options::default(), |rows, _| {
        Ok(if rows.is_empty() { None } else { rows.get(0, 1) })
    })
}

/// The rows of a query as structs: the server turns them into JSON, serde into Rust. Queries are
/// constant texts, so their plans are kept.
pub(crate) fn rows<T: DeserializeOwned>(query: &str, args: &[Arg<'_>]) -> Result<Vec<T>> {
    let query = query.trim().trim_end_matches(';');
    let sql = format!(
        "SELECT coalesce(pg_catalog.json_agg(pg_catalog.row_to_json(q)), '[]')::text FROM (\n{query}\n) q"
    );
    let text: String = one_kept(&sql, args)?.unwrap_or_default();
    serde_json::from_str(&text)
        .map_err(|e| Error::internal(format!("a catalog row has an unexpected form: {e}")))
}

/// Like [`rows`], for exactly one row.
pub(crate) fn row<T: DeserializeOwned>(query: &str, args: &[Arg<'_>]) -> Result<T> {
    rows(query, args)?.pop().ok_or_else(|| Error::internal("a catalog row is missing"))
}

/// Fills `work` with the rows of a query as `snapshot` sees them, a few thousand at a time: it may
/// be far larger than memory. The query's columns are those of `work`, in order and type.
pub(crate) fn fill(
    work: &mut Work,
    sql: &str,
    args: &[Arg<'_>],
    options: Options<'_>,
) -> Result<()> {
    const FETCH: std::ffi::c_long = 5_000;
    let connection = Connection::open()?;
    let (mut types, values): (Vec<_>, Vec<_>) = args.iter().map(Arg::datum).unzip();
    let nulls: Vec<std::ffi::c_char> =
        values.iter().map(|v| if v.is_some() { b' ' } else { b'n' } as _).collect();
    let mut values: Vec<_> =
        values.into_iter().map(|v| v.unwrap_or(pg_sys::Datum::from(0))).collect();
    for source in options.work {
        source.register()?;
    }
    let plan = plan(sql, &mut types, false)?;
    connection.leave_memory();
    // SAFETY: as in `with_rows`; the snapshot is pushed and popped in pairs, or popped by the abort;
    // the portal is closed here, or dropped by the abort; each table of tuples is freed when read.
    unsafe {
        let snapshot =
            options.snapshot.map_or_else(|| pg_sys::GetTransactionSnapshot(), Snapshot::as_ptr);
        pg_sys::PushActiveSnapshot(snapshot);
        let portal = pg_sys::SPI_cursor_open(
            std::ptr::null(),
            plan,
            values.as_mut_ptr(),
            nulls.as_ptr(),
            true,
        );
        loop {
            pg_sys::SPI_cursor_fetch(portal, true, FETCH);
            let (table, count) = (pg_sys::SPI_tuptable, pg_sys::SPI_processed as usize);
            if count == 0 {
                break;
            }
            let rows = Rows { table, count };
            for row in 0..count {
                work.push_tuple(rows.tuple(row));
            }
            pg_sys::SPI_freetuptable(table);
        }
        pg_sys::SPI_cursor_close(portal);
        pg_sys::PopActiveSnapshot();
    }
    Ok(())
}
