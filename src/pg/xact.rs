//! Transactions: subtransactions whose errors are caught, and procedures that commit.

use std::cell::Cell;
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};

use crate::error::{Error, ErrorKind, Result};

/// What ended a subtransaction.
pub(crate) struct SubtransactionError {
    /// The error: PostgreSQL's with its SQLSTATE, message, detail and hint, or ours.
    pub error: Error,
}

impl SubtransactionError {
    /// Turns the caught error back into an error of ours.
    pub(crate) fn raise<T>(self) -> Result<T> {
        Err(self.error)
    }

    /// The class of its SQLSTATE.
    pub(crate) fn class(&self) -> String {
        sqlstate(self.error.code).chars().take(2).collect()
    }

    /// The row is at fault, not the server, the connection or us.
    pub(crate) fn is_data_error(&self) -> bool {
        let code = sqlstate(self.error.code);
        // XX000 also stands for every code of a user's own, which pgrx does not know.
        matches!(&code[..2], "0A" | "21" | "22" | "23" | "2F" | "38" | "39" | "44" | "54" | "P0")
            || code == "55000"
            || (code == "XX000" && !self.is_lock_failure())
    }

    /// A function, a table or a column is not there, or must not be used: a statement's, or a row's whose
    /// values lead to it.
    pub(crate) fn is_undefined(&self) -> bool {
        let code = sqlstate(self.error.code);
        &code[..2] == "42" || code == "3F000"
    }

    /// A row may be at fault: its data, or what its values lead to.
    pub(crate) fn may_be_a_rows(&self) -> bool {
        self.is_data_error() || self.is_undefined()
    }

    /// A page of a table or of an index is damaged.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(sqlstate(self.error.code).as_str(), "XX001" | "XX002")
    }

    /// A row collides with another one on a unique or exclusion constraint.
    pub(crate) fn is_collision(&self) -> bool {
        use PgSqlErrorCode as C;
        matches!(
            self.error.code,
            C::ERRCODE_UNIQUE_VIOLATION
                | C::ERRCODE_EXCLUSION_VIOLATION
                | C::ERRCODE_CARDINALITY_VIOLATION
        )
    }

    /// A lock timeout, a deadlock, or a concurrent catalog update: worth retrying.
    pub(crate) fn is_lock_failure(&self) -> bool {
        use PgSqlErrorCode as C;
        matches!(self.error.code, C::ERRCODE_LOCK_NOT_AVAILABLE | C::ERRCODE_T_R_DEADLOCK_DETECTED)
            || self.error.kind == ErrorKind::ConcurrentCatalogChange
    }
}

/// The five letters of an SQLSTATE.
pub(crate) fn sqlstate(code: PgSqlErrorCode) -> String {
    // SAFETY: returns a static buffer, copied at once.
    unsafe { CStr::from_ptr(pg_sys::unpack_sql_state(code as i32)) }.to_string_lossy().into_owned()
}

/// Runs `work` in a subtransaction: kept when it returns Ok, rolled back with all its locks when
/// it returns an error or PostgreSQL raises one.
pub(crate) fn subtransaction<T>(
    work: impl FnOnce() -> Result<T>,
) -> std::result::Result<T, SubtransactionError> {
    // SAFETY: the pattern of PL/pgSQL's exception blocks: the memory context and resource owner of
    // outside are put back in both endings; pgrx has already cleared the error's state when a
    // caught error reaches us, and destructors of our guards do nothing while it unwinds.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = PgTryBuilder::new(AssertUnwindSafe(|| match work() {
            Ok(value) => Ok(value),
            Err(error) => Err(SubtransactionError { error }),
        }))
        .catch_others(|cause| Err(caught(cause)))
        .catch_rust_panic(|cause| cause.rethrow())
        .execute();
        match &result {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs `work`, and gives an error of it to `amend`, ours or PostgreSQL's; where that has nothing to say the
/// error goes on as it came. Nothing is rolled back here: the caller does nothing but fail.
pub(crate) fn amending<T>(
    work: impl FnOnce() -> Result<T>,
    amend: impl FnOnce(Error) -> Option<Error>,
) -> Result<T> {
    // SAFETY: reads a global, which a caught error may leave at another context.
    let context = unsafe { pg_sys::CurrentMemoryContext };
    let done = PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
        .catch_others(Err)
        .catch_rust_panic(|cause| cause.rethrow())
        .execute();
    // SAFETY: the context of before.
    unsafe { pg_sys::MemoryContextSwitchTo(context) };
    match done {
        Ok(done) => done.map_err(|error| amend(error.clone()).unwrap_or(error)),
        Err(cause) => match amend(of(&cause)) {
            Some(error) => Err(error),
            None => cause.rethrow(),
        },
    }
}

/// Whether the server is a standby, or recovers.
pub(crate) fn is_in_recovery() -> bool {
    // SAFETY: reads a flag in shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether the transaction is READ ONLY, as all of a standby are.
pub(crate) fn is_read_only() -> bool {
    // SAFETY: reads a global.
    unsafe { pg_sys::XactReadOnly }
}

/// Whether the next transactions of this session are READ ONLY.
pub(crate) fn is_read_only_by_default() -> bool {
    // SAFETY: reads a global.
    unsafe { pg_sys::DefaultXactReadOnly }
}

/// Runs `work`, which only looks, and gives back the locks that it took: whoever holds a lock while
/// waiting for another one stands in somebody's way.
pub(crate) fn rolled_back<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    trial(work).or_else(SubtransactionError::raise)
}

/// Runs `work` in a subtransaction that is rolled back in any case, and returns what it found.
pub(crate) fn trial<T>(
    work: impl FnOnce() -> Result<T>,
) -> std::result::Result<T, SubtransactionError> {
    let mut found = None;
    let tried: std::result::Result<(), SubtransactionError> = subtransaction(|| {
        found = Some(work()?);
        Err(Error::signal(ErrorKind::Trial))
    });
    match (tried, found) {
        (Err(caught), Some(value)) if caught.error.kind == ErrorKind::Trial => Ok(value),
        (Err(caught), _) => Err(caught),
        (Ok(()), _) => {
            Err(SubtransactionError { error: Error::internal("a trial was not rolled back") })
        }
    }
}

fn caught(cause: CaughtError) -> SubtransactionError {
    SubtransactionError { error: of(&cause) }
}

fn of(cause: &CaughtError) -> Error {
    let report = match cause {
        CaughtError::PostgresError(report)
        | CaughtError::ErrorReport(report)
        | CaughtError::RustPanic { ereport: report, .. } => report,
    };
    // By elog, with no code of their own, and never translated. Source: `heapam.c` (`simple_heap_update`).
    let kind = match report.message() {
        "tuple concurrently updated" | "tuple concurrently deleted" => {
            ErrorKind::ConcurrentCatalogChange
        }
        _ => ErrorKind::Other,
    };
    Error {
        code: report.sql_error_code(),
        kind,
        message: report.message().to_owned(),
        detail: report.detail().map(str::to_owned),
        hint: report.hint().map(str::to_owned),
    }
}

/// The transaction's isolation level lets each statement see what is committed.
pub(crate) fn is_read_committed() -> bool {
    // SAFETY: reads a global.
    unsafe { pg_sys::XactIsoLevel <= pg_sys::XACT_READ_COMMITTED as i32 }
}

/// The number of the current transaction, assigned if it had none.
pub(crate) fn current_xid() -> u64 {
    // SAFETY: inside a transaction.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// Bytes of WAL that this process has written.
pub(crate) fn wal_written() -> u64 {
    // SAFETY: a counter of this process.
    unsafe { pg_sys::pgWalUsage.wal_bytes }
}

/// Tells the caller what did not work out, and goes on.
pub(crate) fn warn(line: &str) {
    pgrx::warning!("{line}");
}

/// Warns the client, with a hint.
pub(crate) fn warn_with_hint(line: &str, hint: &str) {
    pgrx::pg_sys::panic::ErrorReport::new(
        PgSqlErrorCode::ERRCODE_WARNING,
        line.to_owned(),
        "warn_with_hint",
    )
    .set_hint(hint.to_owned())
    .report(pgrx::PgLogLevel::WARNING);
}

/// Tells the caller what was done besides.
pub(crate) fn tell(line: &str) {
    pgrx::notice!("{line}");
}

/// Writes a line to the server's log when the transaction commits, just before its locks go; nothing
/// when it is rolled back, or prepared: whoever ends it then may be another session, at any time.
pub(crate) fn log_at_commit(
    line: impl FnOnce() -> String + std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static,
) {
    let at_commit = pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Commit, move || {
        pgrx::log!("{}", line())
    });
    // Or it would be written by the next transaction of this session that commits.
    let at_commit = AssertUnwindSafe(Cell::new(Some(at_commit)));
    pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Prepare, move || {
        let at_commit = at_commit;
        if let Some(receipt) = at_commit.take() {
            receipt.unregister_callback();
        }
    });
}

/// A procedure that may commit: it holds SPI's outermost, non-atomic connection.
pub(crate) struct Procedure(());

impl Procedure {
    /// Enters, or says why this call cannot commit. `fcinfo` is the one that PostgreSQL called with.
    pub(crate) fn enter(fcinfo: pg_sys::FunctionCallInfo, call: &str) -> Result<Self> {
        // SAFETY: a CALL sets `context` to a CallContext node; a plain function call leaves it
        // null or sets another node.
        let atomic = unsafe {
            let context = (*fcinfo).context;
            context.is_null()
                || (*context).type_ != pg_sys::NodeTag::T_CallContext
                || (*context.cast::<pg_sys::CallContext>()).atomic
        };
        if atomic {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION,
                format!(
                    "{call} commits after each batch and cannot run inside a transaction block, a function or together with other statements: send it alone, outside a transaction"
                ),
            )
            .hint("In a migration framework switch the transaction off for this migration, or use SELECT bg_backfill(table) repeatedly."));
        }
        // SAFETY: as any procedural language does in a non-atomic call.
        let code = unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        if code != pg_sys::SPI_OK_CONNECT as i32 {
            return Err(Error::internal(format!("SPI_connect_ext failed with {code}")));
        }
        Ok(Self(()))
    }

    /// Commits and begins the next transaction, READ COMMITTED whatever the default is.
    pub(crate) fn commit(&self) {
        // The server's commit leaves a few bytes in the current memory context each time.
        //
        // SAFETY: our connection is on top of SPI's stack: all inner ones are finished; no guard
        // of ours is alive (they are scoped inside the batches).
        with_memory(|| unsafe { pg_sys::SPI_commit() });
        read_committed();
    }
}

impl Drop for Procedure {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: closes what `enter` opened.
            unsafe { pg_sys::SPI_finish() };
        }
    }
}

/// Sets READ COMMITTED before the transaction's first snapshot.
pub(crate) fn read_committed() {
    // SAFETY: the transaction has just begun; SET TRANSACTION does the same.
    unsafe { pg_sys::XactIsoLevel = pg_sys::XACT_READ_COMMITTED as i32 };
}

/// Runs `work` in a memory context of its own, so that a loop of a million batches stays flat.
pub(crate) fn with_memory<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: a child of the current context, deleted here or with its parent when an error
    // unwinds; nothing that `work` returns is allocated by the server.
    unsafe {
        let outer = pg_sys::CurrentMemoryContext;
        let inner = pg_sys::AllocSetContextCreateInternal(
            outer,
            c"batch".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::MemoryContextSwitchTo(inner);
        let result = work();
        pg_sys::MemoryContextSwitchTo(outer);
        pg_sys::MemoryContextDelete(inner);
        result
    }
}

/// Sleeps, waking for interrupts (cancel, terminate).
pub(crate) fn sleep(time: std::time::Duration) {
    let end = std::time::Instant::now() + time;
    loop {
        pgrx::check_for_interrupts!();
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return;
        }
        // SAFETY: waits on our own latch; postmaster death ends the backend.
        unsafe {
            let flags = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
            pg_sys::WaitLatch(
                pg_sys::MyLatch,
                flags as i32,
                left.as_millis().max(1) as _,
                pg_sys::PG_WAIT_EXTENSION,
            );
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
}

/// The number of this backend's process.
pub(crate) fn my_pid() -> i32 {
    // SAFETY: reads a global.
    unsafe { pg_sys::MyProcPid }
}

/// Raises a cancel or terminate that is waiting.
pub(crate) fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Ends this process as kill -9 does, without a word: the server recovers.
#[cfg(feature = "failpoints")]
pub(crate) fn crash() -> ! {
    unsafe extern "C" {
        fn kill(pid: i32, signal: i32) -> i32;
    }
    const SIGKILL: i32 = 9;
    loop {
        // SAFETY: a signal to ourselves; nothing that we hold in memory is used afterwards.
        unsafe { kill(pg_sys::MyProcPid, SIGKILL) };
    }
}
