//! Background workers: starting and ending them, and their transactions.
//!
//! Dynamic workers: nothing has to be preloaded. A worker runs as the cluster's first superuser and
//! enters an identity (`pg::security`) for everything it does.

use std::ffi::CStr;
use std::sync::OnceLock;

use pgrx::{pg_guard, pg_sys};

use crate::error::{Error, Result};
use crate::pg::xact;
use crate::product;

unsafe extern "C-unwind" {
    // pgrx wraps it in a function that is no signal handler.
    fn die(signal: std::ffi::c_int);
}

/// What a worker does with its job; set when the library is loaded.
static MAIN: OnceLock<fn(&str) -> Result<()>> = OnceLock::new();

/// Says what a worker does with its job.
pub(crate) fn init(main: fn(&str) -> Result<()>) {
    let _ = MAIN.set(main);
}

/// A worker that was started.
pub(crate) struct Handle(*mut pg_sys::BackgroundWorkerHandle);

/// Starts a process of our own, connected to this database, with a job of up to 127 bytes. None: all
/// slots (`max_worker_processes`) are taken.
pub(crate) fn start(name: &str, job: &str) -> Result<Option<Handle>> {
    let mut worker = pg_sys::BackgroundWorker::default();
    fill(&mut worker.bgw_name, name.as_bytes())?;
    fill(&mut worker.bgw_type, product::LIBRARY)?;
    fill(&mut worker.bgw_library_name, product::LIBRARY)?;
    fill(&mut worker.bgw_function_name, b"bluegreen_worker")?;
    fill(&mut worker.bgw_extra, job.as_bytes())?;
    worker.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    let mut handle = std::ptr::null_mut();
    // SAFETY: the struct is copied; the handle is allocated in the context that is switched to, which
    // lives as long as the session.
    let started = unsafe {
        worker.bgw_main_arg = pg_sys::Datum::from(pg_sys::MyDatabaseId);
        worker.bgw_notify_pid = pg_sys::MyProcPid;
        let outer = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let started = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
        pg_sys::MemoryContextSwitchTo(outer);
        started
    };
    Ok(started.then(|| Handle(handle)))
}

fn fill(field: &mut [std::ffi::c_char], bytes: &[u8]) -> Result<()> {
    if bytes.len() >= field.len() {
        return Err(Error::internal("what a worker is told does not fit"));
    }
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from as std::ffi::c_char;
    }
    Ok(())
}

impl Handle {
    /// Whether it is starting or at work.
    pub(crate) fn is_alive(&self) -> bool {
        let mut pid = 0;
        // SAFETY: the handle came from the server and is freed only in `drop`.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) };
        matches!(
            status,
            pg_sys::BgwHandleStatus::BGWH_STARTED | pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED
        )
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        // SAFETY: as above.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: allocated by the server for us alone. This ends no worker and cannot fail.
        unsafe { pg_sys::pfree(self.0.cast()) };
    }
}

/// The signal that asks a process to end; the same number on every system that has it.
const SIGTERM: i32 = 15;

/// Where the server begins our workers.
///
/// # Safety
/// Called by the server, once, in a process that it has just started as our worker.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn bluegreen_worker(database: pg_sys::Datum) {
    // SAFETY: as above; the extra bytes are what `start` filled, and end in a NUL.
    let job = unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(SIGTERM, Some(die));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(SIGTERM, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
        let database = pg_sys::Oid::from(database.value() as u32);
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
        CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()).to_string_lossy().into_owned()
    };
    let done = MAIN.get().map_or(Ok(()), |main| main(&job));
    if let Err(error) = done {
        pgrx::pg_sys::panic::ErrorReport::from(error).report(pgrx::PgLogLevel::ERROR);
    }
}

/// Runs `work` in a transaction of the worker: committed when it returns Ok, rolled back when it
/// returns an error or PostgreSQL raises one.
pub(crate) fn transaction<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: a worker has no transaction around it. Errors are caught in the subtransaction, so that
    // the transaction itself can always be ended here.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        xact::read_committed();
        // SPI wants a snapshot outside of its own, as a portal has one.
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let done = xact::subtransaction(work);
        match done {
            Ok(value) => {
                pg_sys::PopActiveSnapshot();
                pg_sys::CommitTransactionCommand();
                Ok(value)
            }
            Err(caught) => {
                pg_sys::AbortCurrentTransaction();
                caught.raise()
            }
        }
    }
}

/// Runs a utility statement that insists on being outside of a transaction block (VACUUM).
pub(crate) fn utility(sql: &str) -> Result<()> {
    let text = std::ffi::CString::new(sql)
        .map_err(|_| Error::internal("a statement contains a NUL byte"))?;
    // SAFETY: a worker has no transaction around it; the statement ends and begins transactions as it
    // likes, and its parse tree lives in memory that they do not touch. An error ends the worker.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        // As a portal's: it outlives the transactions.
        pg_sys::PortalContext = pg_sys::AllocSetContextCreateInternal(
            pg_sys::TopMemoryContext,
            c"statement".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::MemoryContextSwitchTo(pg_sys::PortalContext);
        let raw = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let raw: *mut pg_sys::RawStmt = pg_sys::list_nth(raw, 0).cast();
        let statement: *mut pg_sys::PlannedStmt =
            pg_sys::palloc0(size_of::<pg_sys::PlannedStmt>()).cast();
        (*statement).type_ = pg_sys::NodeTag::T_PlannedStmt;
        (*statement).commandType = pg_sys::CmdType::CMD_UTILITY;
        (*statement).canSetTag = true;
        (*statement).utilityStmt = (*raw).stmt;
        (*statement).stmt_location = (*raw).stmt_location;
        (*statement).stmt_len = (*raw).stmt_len;
        pg_sys::ProcessUtility(
            statement,
            text.as_ptr(),
            false,
            pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            pg_sys::None_Receiver,
            std::ptr::null_mut(),
        );
        pg_sys::CommitTransactionCommand();
        pg_sys::MemoryContextDelete(pg_sys::PortalContext);
        pg_sys::PortalContext = std::ptr::null_mut();
    }
    Ok(())
}
