//! Our trigger functions: what the server calls, and what a firing trigger can be asked.
//!
//! The functions only hand the event on; what is done is registered when the library is loaded.

use std::sync::OnceLock;

use pgrx::{pg_guard, pg_sys};

use crate::error::Result;
use crate::oid::RelationId;

/// What a trigger function does. An error is raised as the statement's.
pub(crate) type Handler = fn(&Firing<'_>) -> Result<()>;

static CAPTURE: OnceLock<Handler> = OnceLock::new();
static GUARD: OnceLock<Handler> = OnceLock::new();

/// Registers what the two trigger functions do. Called once per backend.
pub(crate) fn init(capture: Handler, guard: Handler) {
    CAPTURE.get_or_init(|| capture);
    GUARD.get_or_init(|| guard);
}

/// What fires a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// TRUNCATE.
    Truncate,
}

/// A trigger that is firing.
pub(crate) struct Firing<'a>(&'a pg_sys::TriggerData);

impl Firing<'_> {
    /// The table.
    pub(crate) fn relation(&self) -> RelationId {
        // SAFETY: the relation is open and locked by the statement that fires the trigger.
        unsafe { (*self.0.tg_relation).rd_id.into() }
    }

    /// What fires it.
    pub(crate) fn event(&self) -> Event {
        match self.0.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_TRUNCATE => Event::Truncate,
            pg_sys::TRIGGER_EVENT_UPDATE => Event::Update,
            pg_sys::TRIGGER_EVENT_INSERT => Event::Insert,
            _ => Event::Delete,
        }
    }

    /// A column of the row that is inserted or deleted, or of an updated row as it is now.
    pub(crate) fn value(&self, attribute: i16) -> Option<pg_sys::Datum> {
        let is_update = self.event() == Event::Update;
        self.of(if is_update { self.0.tg_newtuple } else { self.0.tg_trigtuple }, attribute)
    }

    /// A column of an updated row as it was.
    pub(crate) fn old_value(&self, attribute: i16) -> Option<pg_sys::Datum> {
        self.of(self.0.tg_trigtuple, attribute)
    }

    fn of(&self, tuple: pg_sys::HeapTuple, attribute: i16) -> Option<pg_sys::Datum> {
        if tuple.is_null() {
            return None;
        }
        let mut null = false;
        // SAFETY: tuple and descriptor are of the trigger's relation; the number is one of its columns, also
        // of a dropped one, which reads as NULL.
        let datum = unsafe {
            let descriptor = (*self.0.tg_relation).rd_att;
            pg_sys::heap_getattr(tuple, attribute.into(), descriptor, &mut null)
        };
        (!null).then_some(datum)
    }
}

/// Version record of a C function for the server's loader.
macro_rules! finfo {
    ($name:ident) => {
        #[unsafe(no_mangle)]
        #[doc(hidden)]
        extern "C" fn $name() -> &'static pg_sys::Pg_finfo_record {
            const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }
    };
}

finfo!(pg_finfo_bluegreen_capture);
finfo!(pg_finfo_bluegreen_guard);

/// Trigger function of capture: AFTER INSERT, UPDATE, DELETE for each row, and AFTER TRUNCATE.
///
/// # Safety
/// Called by the server as a trigger.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn bluegreen_capture(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as the caller says.
    unsafe { fire(fcinfo, &CAPTURE) }
}

/// Trigger function of the guard: BEFORE INSERT, UPDATE, DELETE, TRUNCATE for each statement.
///
/// # Safety
/// Called by the server as a trigger.
#[unsafe(no_mangle)]
#[pg_guard]
unsafe extern "C-unwind" fn bluegreen_guard(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: as the caller says.
    unsafe { fire(fcinfo, &GUARD) }
}

unsafe fn fire(fcinfo: pg_sys::FunctionCallInfo, handler: &OnceLock<Handler>) -> pg_sys::Datum {
    // SAFETY: `context` is a node or null; the tag tells which.
    let data = unsafe {
        let context = (*fcinfo).context;
        let is_trigger = !context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData;
        is_trigger.then(|| &*context.cast::<pg_sys::TriggerData>())
    };
    if let Some((data, handler)) = data.zip(handler.get())
        && let Err(error) = handler(&Firing(data))
    {
        pgrx::pg_sys::panic::ErrorReport::from(error).report(pgrx::PgLogLevel::ERROR);
    }
    pg_sys::Datum::from(0)
}
