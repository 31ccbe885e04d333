//! As whom our code runs.
//!
//! Two identities. Our own DDL and catalog writes run as the extension's owner. What evaluates
//! code that users wrote (defaults, casts, index expressions, mappings) runs as the table's owner
//! in a security-restricted operation with its own GUC level and pinned settings, as
//! REFRESH MATERIALIZED VIEW does.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::oid::RoleId;
use crate::product::{self, SCHEMA};

thread_local! {
    /// Our own statements may write to blue. Reset by the guard, and by the abort's callback.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// Settings that every statement of ours runs with.
const PINNED: &[(&str, &str)] = &[
    ("search_path", "pg_catalog, pg_temp"),
    ("row_security", "off"),
    ("session_replication_role", "origin"),
    ("default_tablespace", ""),
    ("default_table_access_method", "heap"),
    ("lc_messages", "C"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("enable_tidscan", "on"),
    ("enable_indexscan", "on"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("transform_null_equals", "off"),
    ("check_function_bodies", "off"),
    ("client_min_messages", "warning"),
    // Constants are printed in one session and read in another.
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("array_nulls", "on"),
];

/// An identity with its settings; the caller's come back on drop.
pub(crate) struct Identity {
    user: pg_sys::Oid,
    context: i32,
    level: i32,
    writing: bool,
}

/// The role that the statement outside of us runs as.
pub(crate) fn current_user() -> RoleId {
    // SAFETY: reads a global.
    unsafe { pg_sys::GetUserId() }.into()
}

/// Whether a role is a superuser.
pub(crate) fn is_superuser(role: RoleId) -> bool {
    // SAFETY: a catalog cache look-up.
    unsafe { pg_sys::superuser_arg(pg_sys::Oid::from(role)) }
}

/// Whether a write to blue comes from us.
pub(crate) fn is_writing() -> bool {
    WRITING.with(Cell::get)
}

/// Forgets that we were writing. For the abort of a transaction.
pub(crate) fn reset() {
    WRITING.with(|w| w.set(false));
}

/// The owner of schema `bluegreen`, who is the extension's owner.
fn extension_owner() -> Result<RoleId> {
    // SAFETY: catalog cache look-ups; the tuple is released before we leave.
    unsafe {
        let oid = pg_sys::get_namespace_oid(product::SCHEMA_C.as_ptr(), true);
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
            pg_sys::Datum::from(oid),
        );
        if tuple.is_null() {
            return Err(Error::state(format!("schema {SCHEMA} does not exist"))
                .hint(product::CREATE_EXTENSION));
        }
        let form = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_namespace>();
        let owner = (*form).nspowner;
        pg_sys::ReleaseSysCache(tuple);
        if !pg_sys::superuser_arg(owner) {
            return Err(Error::new(
                pgrx::PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("the owner of schema {SCHEMA} is not a superuser"),
            )
            .hint("Give the schema back to the role that created the extension."));
        }
        Ok(owner.into())
    }
}

impl Identity {
    /// Our own DDL and catalog writes.
    pub(crate) fn extension() -> Result<Self> {
        let owner = extension_owner()?;
        Self::enter(owner, pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32, &BTreeMap::new(), true)
    }

    /// An ordinary write to a live table that its owner makes, as the server does for ON DELETE: its
    /// triggers fire, now or at the end of the transaction. `session` are the caller's settings.
    pub(crate) fn acting_owner(owner: RoleId, session: &BTreeMap<String, String>) -> Result<Self> {
        let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS;
        Self::enter(owner, flags as i32, session, false)
    }

    /// Code that users wrote: `owner` is the table's owner, `session` the settings of prepare that
    /// expressions depend on.
    pub(crate) fn table_owner(owner: RoleId, session: &BTreeMap<String, String>) -> Result<Self> {
        // NOFORCE_RLS as for the server's own foreign key checks: the owner's row security, when it is
        // forced, must not hide rows from the copy.
        let flags = pg_sys::SECURITY_LOCAL_USERID_CHANGE
            | pg_sys::SECURITY_RESTRICTED_OPERATION
            | pg_sys::SECURITY_NOFORCE_RLS;
        Self::enter(owner, flags as i32, session, true)
    }

    fn enter(
        user: RoleId,
        flags: i32,
        session: &BTreeMap<String, String>,
        writing: bool,
    ) -> Result<Self> {
        let mut guard =
            Self { user: pg_sys::InvalidOid, context: 0, level: 0, writing: is_writing() };
        // SAFETY: saved here, restored in `drop` or by the abort; the level belongs to us.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut guard.user, &mut guard.context);
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(user), guard.context | flags);
            guard.level = pg_sys::NewGUCNestLevel();
        }
        for (name, value) in PINNED {
            set(name, value)?;
        }
        for (name, value) in session {
            set(name, value)?;
        }
        WRITING.with(|w| w.set(writing));
        Ok(guard)
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        WRITING.with(|w| w.set(self.writing));
        if !std::thread::panicking() {
            // SAFETY: undoes what `enter` did, in reverse order.
            unsafe {
                pg_sys::AtEOXact_GUC(false, self.level);
                pg_sys::SetUserIdAndSecContext(self.user, self.context);
            }
        }
    }
}

/// Sets a setting within the current GUC level, with a superuser's right.
pub(crate) fn set(name: &str, value: &str) -> Result<()> {
    set_with(name, value, pg_sys::GucAction::GUC_ACTION_SAVE)
}

/// Sets a setting until the end of the transaction.
pub(crate) fn set_local(name: &str, value: &str) -> Result<()> {
    set_with(name, value, pg_sys::GucAction::GUC_ACTION_LOCAL)
}

/// Sets a setting for as long as the session lives.
pub(crate) fn set_for_session(name: &str, value: &str) -> Result<()> {
    set_with(name, value, pg_sys::GucAction::GUC_ACTION_SET)
}

fn set_with(name: &str, value: &str, action: pg_sys::GucAction::Type) -> Result<()> {
    let nul = |_| Error::internal("a setting contains a NUL byte");
    let (name, value) = (CString::new(name).map_err(nul)?, CString::new(value).map_err(nul)?);
    // SAFETY: both strings are NUL-terminated and copied by the server.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
    Ok(())
}

/// A level of settings of its own, for lock tries.
pub(crate) struct SettingsLevel(i32);

impl SettingsLevel {
    /// Opens it.
    pub(crate) fn open() -> Self {
        // SAFETY: closed in `drop` or by the abort.
        Self(unsafe { pg_sys::NewGUCNestLevel() })
    }
}

/// While the guard lives, names are searched in pg_catalog and then in these schemas.
pub(crate) fn search(schemas: &[Ident]) -> Result<SettingsLevel> {
    let level = SettingsLevel::open();
    set("search_path", &search_path(schemas))?;
    Ok(level)
}

/// A search_path of pg_catalog and these schemas.
pub(crate) fn search_path(schemas: &[Ident]) -> String {
    let names: String = schemas.iter().map(|schema| format!("{schema}, ")).collect();
    format!("pg_catalog, {names}pg_temp")
}

impl Drop for SettingsLevel {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the level that `open` made is the innermost one again.
            unsafe { pg_sys::AtEOXact_GUC(false, self.0) };
        }
    }
}

/// Keys are looked up by their index while the level lives, whatever the planner thinks of a table's size.
pub(crate) fn by_index() -> Result<SettingsLevel> {
    let level = SettingsLevel::open();
    for way in ["enable_seqscan", "enable_hashjoin", "enable_mergejoin"] {
        set(way, "off")?;
    }
    Ok(level)
}

/// Settings that the values of expressions may depend on.
const OF_EXPRESSIONS: &[&str] = &[
    "search_path",
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "default_text_search_config",
    "xmloption",
    "xmlbinary",
    "array_nulls",
    "timezone_abbreviations",
    "extra_float_digits",
    "bytea_output",
];

/// Settings that index builds, VACUUM and ANALYZE follow.
const OF_MAINTENANCE: &[&str] =
    &["maintenance_work_mem", "max_parallel_maintenance_workers", "default_statistics_target"];

/// The caller's settings that expressions may depend on.
pub(crate) fn expression_settings() -> BTreeMap<String, String> {
    OF_EXPRESSIONS.iter().filter_map(|name| current(name)).collect()
}

/// The caller's settings that index builds, VACUUM and ANALYZE follow.
pub(crate) fn maintenance_settings() -> BTreeMap<String, String> {
    OF_MAINTENANCE.iter().filter_map(|name| current(name)).collect()
}

/// The memory that an index build may take, in kB.
pub(crate) fn maintenance_kb() -> u32 {
    // SAFETY: reads a global.
    u32::try_from(unsafe { pg_sys::maintenance_work_mem }).unwrap_or_default()
}

/// Whether a sort may use as much of the disk as it wants.
pub(crate) fn may_spill() -> bool {
    // SAFETY: reads a global.
    unsafe { pg_sys::temp_file_limit < 0 }
}

/// A setting's name and value; None where the server has no such setting.
fn current(name: &str) -> Option<(String, String)> {
    let known = CString::new(name).ok()?;
    // SAFETY: the value is allocated in the current memory context, and copied here.
    let value = unsafe {
        let value = pg_sys::GetConfigOptionByName(known.as_ptr(), std::ptr::null_mut(), true);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    };
    value.map(|value| (name.to_owned(), value))
}
