//! The triggers: capture on green, the guard on blue. This is the hot path of every write.
//!
//! Capture appends (order, operation, key, old key where it differs) straight to the log with the
//! table access method: no SPI, no plan, no privilege of the writer. It finds its log by the
//! table's OID in `bluegreen.capture`, never from an argument that others could forge; a table
//! that is not there (a restored dump) is left alone.
//!
//! Order: the WAL insert position when the event fired, then a counter. Two events on one row are
//! ordered by its row lock, and the first one's transaction wrote WAL (at least its commit) before
//! the second could begin, so positions grow along each row's history, on every backend.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use pgrx::{FromDatum, IntoDatum, PgSqlErrorCode, pg_guard, pg_sys};

use crate::error::{Error, Result};
use crate::ident::QualifiedName;
use crate::pg::{lookup, security};

/// Where the changes of a table are logged.
struct Target {
    log: pg_sys::Oid,
    deployment: i64,
    key: Vec<i16>,
    by_value: Vec<bool>,
    length: Vec<i16>,
}

thread_local! {
    static TARGETS: RefCell<HashMap<u32, Option<Rc<Target>>>> = RefCell::new(HashMap::new());
    /// Tables of which the session was told that nobody logs their changes.
    static TOLD: RefCell<HashSet<u32>> = RefCell::new(HashSet::new());
    static COUNTER: Cell<i32> = const { Cell::new(0) };
}

unsafe extern "C-unwind" {
    // utils/datum.h is not among pgrx's headers; the symbol is exported by every server.
    fn datum_image_eq(
        value1: pg_sys::Datum,
        value2: pg_sys::Datum,
        by_value: bool,
        length: std::ffi::c_int,
    ) -> bool;
}

/// Registers what keeps the cache true. Called once per backend, when the library is loaded.
pub fn init() {
    // SAFETY: the callback is a plain function that lives as long as the backend.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0));
        pg_sys::RegisterXactCallback(Some(end_of_transaction), std::ptr::null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn forget(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    TARGETS.with(|targets| {
        if let Ok(mut targets) = targets.try_borrow_mut() {
            if relation == pg_sys::InvalidOid {
                targets.clear();
            } else {
                targets.remove(&relation.to_u32());
                targets.retain(|_, t| t.as_ref().is_none_or(|t| t.log != relation));
            }
        }
    });
}

#[pg_guard]
unsafe extern "C-unwind" fn end_of_transaction(
    _event: pg_sys::XactEvent::Type,
    _arg: *mut std::ffi::c_void,
) {
    security::reset();
    lookup::reset();
}

/// Version record of a C function for the server's loader.
macro_rules! finfo {
    ($name:ident) => {
        #[unsafe(no_mangle)]
        #[doc(hidden)]
        pub extern "C" fn $name() -> &'static pg_sys::Pg_finfo_record {
            const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }
    };
}

finfo!(pg_finfo_bluegreen_capture);
finfo!(pg_finfo_bluegreen_guard);

/// Trigger function `bluegreen.capture()`: AFTER INSERT, UPDATE, DELETE for each row, and AFTER
/// TRUNCATE.
///
/// # Safety
/// Called by the server as a trigger.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn bluegreen_capture(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: `trigger_data` checks that the context is TriggerData.
    if let Some(data) = unsafe { trigger_data(fcinfo) } {
        // SAFETY: the fields belong to a row trigger that is firing.
        if let Err(error) = unsafe { capture(data) } {
            pgrx::pg_sys::panic::ErrorReport::from(error).report(pgrx::PgLogLevel::ERROR);
        }
    }
    pg_sys::Datum::from(0)
}

/// Trigger function `bluegreen.guard()`: BEFORE INSERT, UPDATE, DELETE, TRUNCATE for each statement
/// on blue.
///
/// # Safety
/// Called by the server as a trigger.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn bluegreen_guard(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as in `bluegreen_capture`.
    if let Some(data) = unsafe { trigger_data(fcinfo) }
        && !security::is_writing()
    {
        // SAFETY: the relation is open while its trigger fires.
        let (schema, name) = unsafe { names(data.tg_relation) };
        let report = Error::new(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            format!("{schema}.{name} is the offline (blue) table of a deployment and is read-only"),
        )
        .hint("Write to the live table; its changes are brought here. Where a statement has found this table by an OID that something keeps (a trigger's argument, a regclass or oid column, a constant), let it look the live table's name up instead: a swap gives the name to another OID.");
        pgrx::pg_sys::panic::ErrorReport::from(report).report(pgrx::PgLogLevel::ERROR);
    }
    pg_sys::Datum::from(0)
}

unsafe fn trigger_data<'a>(fcinfo: pg_sys::FunctionCallInfo) -> Option<&'a pg_sys::TriggerData> {
    // SAFETY: `context` is a node or null; the tag tells which.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            return None;
        }
        Some(&*context.cast::<pg_sys::TriggerData>())
    }
}

unsafe fn names(relation: pg_sys::Relation) -> (String, String) {
    // SAFETY: an open relation's class tuple; the namespace's name is palloc'd or null.
    unsafe {
        let class = (*relation).rd_rel;
        let schema = pg_sys::get_namespace_name((*class).relnamespace);
        let schema = if schema.is_null() {
            String::new()
        } else {
            std::ffi::CStr::from_ptr(schema).to_string_lossy().into_owned()
        };
        (schema, pgrx::name_data_to_str(&(*class).relname).to_owned())
    }
}

unsafe fn capture(data: &pg_sys::TriggerData) -> Result<()> {
    // SAFETY: the relation is open and locked by the statement that fired us.
    let relation = unsafe { (*data.tg_relation).rd_id };
    let Some(target) = find(relation)? else { return Ok(()) };
    let event = data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
    if event == pg_sys::TRIGGER_EVENT_TRUNCATE {
        // SAFETY: our own table, found by name; the row matches its three columns.
        return unsafe { append_truncation(&target, relation) };
    }
    // SAFETY: AFTER ROW triggers get the tuples that their event has; the descriptor is theirs.
    unsafe {
        let descriptor = (*data.tg_relation).rd_att;
        if event == pg_sys::TRIGGER_EVENT_UPDATE {
            append(&target, b'U', data.tg_newtuple, Some(data.tg_trigtuple), descriptor)
        } else if event == pg_sys::TRIGGER_EVENT_INSERT {
            append(&target, b'I', data.tg_trigtuple, None, descriptor)
        } else {
            append(&target, b'D', data.tg_trigtuple, None, descriptor)
        }
    }
}

/// Appends one event. `old` is compared key column by key column and logged only if it differs.
unsafe fn append(
    target: &Target,
    operation: u8,
    tuple: pg_sys::HeapTuple,
    old: Option<pg_sys::HeapTuple>,
    descriptor: pg_sys::TupleDesc,
) -> Result<()> {
    let columns = target.key.len();
    let mut values = vec![pg_sys::Datum::from(0); 3 + 2 * columns];
    let mut nulls = vec![true; 3 + 2 * columns];
    let mut differs = false;
    for (i, attribute) in target.key.iter().enumerate() {
        // SAFETY: the attribute exists: DDL on the key of a table under deployment is refused by
        // the fingerprint, and a dropped column reads as NULL.
        let new = unsafe { value(tuple, *attribute, descriptor) };
        if let Some(datum) = new {
            values[3 + i] = datum;
            nulls[3 + i] = false;
        }
        if let Some(old) = old {
            // SAFETY: as above, and both values have the type that length and by_value describe.
            unsafe {
                let before = value(old, *attribute, descriptor);
                if let Some(datum) = before {
                    values[3 + columns + i] = datum;
                    nulls[3 + columns + i] = false;
                }
                differs |= match (before, new) {
                    (Some(a), Some(b)) => !pg_sys::ffi::pg_guard_ffi_boundary(|| {
                        datum_image_eq(a, b, target.by_value[i], target.length[i].into())
                    }),
                    (a, b) => a.is_some() != b.is_some(),
                };
            }
        }
    }
    if !differs {
        nulls[3 + columns..].fill(true);
    }
    // SAFETY: reads shared memory under its own lock.
    values[0] = pg_sys::Datum::from(unsafe { pg_sys::GetXLogInsertRecPtr() });
    values[1] = pg_sys::Datum::from(next_counter());
    values[2] = pg_sys::Datum::from(operation as i8);
    nulls[..3].fill(false);
    // A log that is gone, or not ours any more, must not stop a writer: each step of the deployment looks at
    // its form, and says so.
    //
    // SAFETY: `write` checks the number of columns against the log's descriptor.
    unsafe { write(target.log, values, nulls) }.map(drop)
}

fn next_counter() -> i32 {
    COUNTER.with(|c| {
        // Within one WAL position the counter only has to grow; it may begin anywhere.
        let next = c.get().checked_add(1).unwrap_or(0);
        c.set(next);
        next
    })
}

unsafe fn value(
    tuple: pg_sys::HeapTuple,
    attribute: i16,
    descriptor: pg_sys::TupleDesc,
) -> Option<pg_sys::Datum> {
    let mut null = false;
    // SAFETY: tuple and descriptor are of one relation; the number is positive.
    let datum = unsafe { pg_sys::heap_getattr(tuple, attribute.into(), descriptor, &mut null) };
    (!null).then_some(datum)
}

/// Writes a row of ours with the heap access method, whatever the current user may do; whether there was a
/// table that can have it. Columns that others have added behind ours stay NULL.
unsafe fn write(
    table: pg_sys::Oid,
    mut values: Vec<pg_sys::Datum>,
    mut nulls: Vec<bool>,
) -> Result<bool> {
    // SAFETY: the lock is kept until the transaction ends; the relation is closed before we leave,
    // or by the abort; the tuple is freed here.
    unsafe {
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let log = pg_sys::try_table_open(table, mode);
        if log.is_null() {
            return Ok(false);
        }
        let columns = (*(*log).rd_att).natts as usize;
        if columns < values.len()
            || (*(*log).rd_rel).relkind != pg_sys::RELKIND_RELATION as std::ffi::c_char
            || (*(*log).rd_rel).relam != pg_sys::HEAP_TABLE_AM_OID
        {
            pg_sys::table_close(log, pg_sys::NoLock as pg_sys::LOCKMODE);
            return Ok(false);
        }
        values.resize(columns, pg_sys::Datum::from(0));
        nulls.resize(columns, true);
        let tuple = pg_sys::heap_form_tuple((*log).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
        let command = pg_sys::GetCurrentCommandId(true);
        let flags = pg_sys::HEAP_INSERT_NO_LOGICAL as i32;
        pg_sys::heap_insert(log, tuple, command, flags, std::ptr::null_mut());
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(log, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    Ok(true)
}

unsafe fn append_truncation(target: &Target, relation: pg_sys::Oid) -> Result<()> {
    let Some(table) = our_table(c"truncation") else { return Ok(()) };
    let values = vec![
        pg_sys::Datum::from(target.deployment),
        pg_sys::Datum::from(relation),
        // SAFETY: reads shared memory under its own lock.
        pg_sys::Datum::from(unsafe { pg_sys::GetXLogInsertRecPtr() }),
    ];
    // SAFETY: three values for the three columns of bluegreen.truncation.
    unsafe { write(table, values, vec![false; 3]) }.map(drop)
}

fn our_table(name: &std::ffi::CStr) -> Option<pg_sys::Oid> {
    // SAFETY: catalog cache look-ups.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"bluegreen".as_ptr(), true);
        let oid = pg_sys::get_relname_relid(name.as_ptr(), schema);
        (schema != pg_sys::InvalidOid && oid != pg_sys::InvalidOid).then_some(oid)
    }
}

/// The log of a table, from the cache or from `bluegreen.capture`.
fn find(relation: pg_sys::Oid) -> Result<Option<Rc<Target>>> {
    if let Some(known) = TARGETS.with(|t| t.borrow().get(&relation.to_u32()).cloned()) {
        return Ok(known);
    }
    let target = load(relation)?.map(Rc::new);
    TARGETS.with(|t| t.borrow_mut().insert(relation.to_u32(), target.clone()));
    Ok(target)
}

/// Whether a table has the name of a deployment's log.
fn is_log(table: pg_sys::Oid, deployment: i64) -> bool {
    // SAFETY: catalog cache look-ups; the name is palloc'd or null.
    unsafe {
        let name = pg_sys::get_rel_name(table);
        let schema = pg_sys::get_namespace_oid(c"bluegreen".as_ptr(), true);
        !name.is_null()
            && pg_sys::get_rel_namespace(table) == schema
            && ["forward", "reverse"].iter().any(|direction| {
                std::ffi::CStr::from_ptr(name).to_bytes()
                    == format!("{direction}_{deployment}").as_bytes()
            })
    }
}

fn load(relation: pg_sys::Oid) -> Result<Option<Target>> {
    let Some(table) = our_table(c"capture") else { return Ok(None) };
    let (mut found, mut others) = (None, false);
    // SAFETY: a scan of a small table of ours under the catalog snapshot, which sees what is
    // committed now and our own commands; everything is closed before we leave. The columns are
    // (relation oid, log oid, deployment bigint, key smallint[]), as the bootstrap script says.
    unsafe {
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let heap = pg_sys::table_open(table, mode);
        let scan = pg_sys::systable_beginscan(
            heap,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let column = |n| value(tuple, n, (*heap).rd_att);
            let log = column(2).and_then(|d| pg_sys::Oid::from_datum(d, false));
            let deployment = column(3).and_then(|d| i64::from_datum(d, false));
            others |= log.zip(deployment).is_some_and(|(log, number)| is_log(log, number));
            if column(1).and_then(|d| pg_sys::Oid::from_datum(d, false)) == Some(relation) {
                let key = column(4).and_then(|d| Vec::<i16>::from_datum(d, false));
                found = log.zip(deployment).zip(key);
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(heap, mode);
    }
    let Some(((log, deployment), key)) = found else {
        if others {
            tell_once(relation);
        }
        return Ok(None);
    };
    // After a restore both OIDs may be those of other tables.
    if !is_log(log, deployment) {
        return Ok(None);
    }
    // A key column whose type was changed: its values do not fit the log. The fingerprint refuses to
    // go on with such a deployment.
    if !key.iter().enumerate().all(|(i, attribute)| {
        // SAFETY: catalog cache look-ups; a domain is stored as its base type.
        unsafe {
            let base = pg_sys::getBaseType(pg_sys::get_atttype(relation, *attribute));
            let (first, second) = (4 + i as i16, 4 + (key.len() + i) as i16);
            base != pg_sys::InvalidOid
                && base == pg_sys::get_atttype(log, first)
                && base == pg_sys::get_atttype(log, second)
        }
    }) {
        return Ok(None);
    }
    let mut target = Target { log, deployment, key, by_value: vec![], length: vec![] };
    for attribute in &target.key {
        let (mut length, mut by_value) = (0i16, false);
        // SAFETY: catalog cache look-ups of a column of the table that is being written.
        unsafe {
            let type_oid = pg_sys::get_atttype(relation, *attribute);
            if type_oid == pg_sys::InvalidOid {
                return Ok(None);
            }
            pg_sys::get_typlenbyval(type_oid, &mut length, &mut by_value);
        }
        target.length.push(length);
        target.by_value.push(by_value);
    }
    Ok(Some(target))
}

/// Tells the session once that a table's capture trigger belongs to no deployment: its changes are logged
/// nowhere. An extension that keeps a table's rows in others may have given it to those. Silent in a
/// restored database: it has no deployment of its own, or one of that name with other OIDs, of which
/// bg_status tells.
fn tell_once(relation: pg_sys::Oid) {
    if !TOLD.with(|told| told.borrow_mut().insert(relation.to_u32())) || is_restored(relation) {
        return;
    }
    // SAFETY: catalog cache look-ups; the names are palloc'd or null.
    let (schema, name) = unsafe {
        let text = |name: *mut std::ffi::c_char| {
            if name.is_null() {
                String::new()
            } else {
                std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        };
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        (text(schema), text(pg_sys::get_rel_name(relation)))
    };
    let table = QualifiedName::new(schema, name).plain();
    pgrx::pg_sys::panic::ErrorReport::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        format!("the capture trigger of {table} belongs to no deployment: its changes are not logged"),
        "tell_once",
    )
    .set_hint(format!("Drop the triggers bluegreen_capture, bluegreen_truncate and bluegreen_guard of {table}, if no deployment is to know of it."))
    .report(pgrx::PgLogLevel::WARNING);
}

/// Whether an open deployment has the table by its name, and others by their OIDs.
fn is_restored(relation: pg_sys::Oid) -> bool {
    let Some(table) = our_table(c"deployment") else { return false };
    let mut found = false;
    // SAFETY: as in `load`; each column is looked up by its name and has the type that the bootstrap script
    // gives it. Names are at the pointers for as long as their tuple is the scan's.
    unsafe {
        let schema = pg_sys::get_rel_namespace(relation);
        let (schema, name) = (pg_sys::get_namespace_name(schema), pg_sys::get_rel_name(relation));
        if schema.is_null() || name.is_null() {
            return false;
        }
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let heap = pg_sys::table_open(table, mode);
        let scan = pg_sys::systable_beginscan(
            heap,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let column = |name: &std::ffi::CStr| {
                let number = pg_sys::get_attnum(table, name.as_ptr());
                if number > 0 { value(tuple, number, (*heap).rd_att) } else { None }
            };
            let is = |column: Option<pg_sys::Datum>, name: *const std::ffi::c_char| {
                column.is_some_and(|datum| {
                    let own = &(*datum.cast_mut_ptr::<pg_sys::NameData>()).data;
                    std::ffi::CStr::from_ptr(own.as_ptr()) == std::ffi::CStr::from_ptr(name)
                })
            };
            let oid = |name| column(name).and_then(|datum| pg_sys::Oid::from_datum(datum, false));
            let phase = column(c"phase").and_then(|datum| String::from_datum(datum, false));
            let is_open = phase.is_some_and(|phase| phase != "finished" && phase != "aborted");
            found |= is_open
                && is(column(c"source_table"), name)
                && (is(column(c"source_schema"), schema) || is(column(c"blue_schema"), schema))
                && oid(c"origin") != Some(relation)
                && oid(c"shadow") != Some(relation);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(heap, mode);
    }
    found
}

/// An event that we add ourselves: the key of a row that has to be looked at again.
pub struct Entry<'a> {
    /// `I`, `U`, `D`, or `M` for a misfit.
    pub operation: u8,
    /// WAL position, or the misfit's number.
    pub order: i64,
    /// The key's values.
    pub key: &'a [Option<pg_sys::Datum>],
    /// The key that blue still has the row under.
    pub old: Option<&'a [Option<pg_sys::Datum>]>,
}

/// Appends an entry of ours to a log.
pub fn append_entry(log: u32, entry: &Entry<'_>) -> Result<()> {
    let columns = entry.key.len();
    let none = vec![None; columns];
    let mut all = vec![
        entry.order.into_datum(),
        next_counter().into_datum(),
        Some(pg_sys::Datum::from(entry.operation as i8)),
    ];
    all.extend_from_slice(entry.key);
    all.extend_from_slice(entry.old.unwrap_or(&none));
    let nulls: Vec<bool> = all.iter().map(Option::is_none).collect();
    let values: Vec<_> = all.into_iter().map(|v| v.unwrap_or(pg_sys::Datum::from(0))).collect();
    // SAFETY: `write` checks the number of columns.
    if unsafe { write(pg_sys::Oid::from(log), values, nulls) }? {
        return Ok(());
    }
    Err(Error::state("the change log is gone, or not as it was made")
        .hint("Run SELECT bg_abort(table), after a swap bg_finish, and begin again."))
}

/// The WAL position now, as the order of an entry of ours.
pub fn order_now() -> i64 {
    // SAFETY: reads shared memory under its own lock.
    unsafe { pg_sys::GetXLogInsertRecPtr() as i64 }
}

/// The physical place of a row of a log: block and line pointer.
pub type Place = (u32, u16);

/// The place that a `ctid` says.
pub fn place(ctid: pg_sys::Datum) -> Place {
    // SAFETY: the caller's column is a tid, which is passed by reference.
    unsafe { place_of(&*ctid.cast_mut_ptr::<pg_sys::ItemPointerData>()) }
}

/// What a pointer points to.
pub(super) fn place_of(pointer: &pg_sys::ItemPointerData) -> Place {
    let block = (u32::from(pointer.ip_blkid.bi_hi) << 16) | u32::from(pointer.ip_blkid.bi_lo);
    (block, pointer.ip_posid)
}

/// The pointer to a place.
pub(super) fn pointer((block, line): Place) -> pg_sys::ItemPointerData {
    pg_sys::ItemPointerData {
        ip_blkid: pg_sys::BlockIdData {
            bi_hi: (block >> 16) as u16,
            bi_lo: (block & 0xffff) as u16,
        },
        ip_posid: line,
    }
}

/// Deletes rows of a log. Nobody else deletes or changes any.
pub fn delete(log: u32, places: &[Place]) -> Result<()> {
    // SAFETY: the lock is kept until the transaction ends; the relation is closed before we leave, or
    // by the abort. The log is a plain heap without indexes.
    unsafe {
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::Oid::from(log), mode);
        for place in places {
            pg_sys::simple_heap_delete(relation, &mut pointer(*place));
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}
