//! The server's C interface behind safe functions. Hand-written `unsafe` is here and in [`crate::heap`] only.
//!
//! Rules of this floor:
//! - A guard (SPI connection, identity, settings, snapshot) is undone by `Drop` only when the
//!   code returns, also with an `Err`. While a PostgreSQL error or a panic unwinds, `Drop` does
//!   nothing: the (sub)transaction's abort undoes it, and a second error in a destructor would
//!   end the backend.
//! - Nothing here is held across a commit but [`xact::Procedure`].
#![allow(unsafe_code)]

pub(crate) mod acl;
pub(crate) mod backtrace;
pub(crate) mod buffer_strategy;
pub(crate) mod callback;
pub(crate) mod catalog_scan;
pub(crate) mod clock;
pub(crate) mod datum;
pub(crate) mod disk;
pub(crate) mod executor;
pub(crate) mod letter;
pub(crate) mod lock;
pub(crate) mod lookup;
pub(crate) mod opclass;
pub(crate) mod parse;
pub(crate) mod plan;
pub(crate) mod procedure;
pub(crate) mod reasons;
pub(crate) mod relation;
pub(crate) mod security;
pub(crate) mod settings;
pub(crate) mod snapshot;
pub(crate) mod spi;
pub(crate) mod statement;
pub(crate) mod syscache;
pub(crate) mod text;
pub(crate) mod tid;
pub(crate) mod time_limits;
pub(crate) mod transient_relation;
pub(crate) mod trigger;
pub(crate) mod wal;
pub(crate) mod witness;
pub(crate) mod worker;
pub(crate) mod xact;
