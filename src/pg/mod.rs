//! All hand-written `unsafe` of the extension: the server's C interface behind safe functions.
//!
//! Rules of this floor:
//! - A guard (SPI connection, identity, settings, snapshot) is undone by `Drop` only when the
//!   code returns, also with an `Err`. While a PostgreSQL error or a panic unwinds, `Drop` does
//!   nothing: the (sub)transaction's abort undoes it, and a second error in a destructor would
//!   end the backend.
//! - Nothing here is held across a commit but [`xact::Procedure`].
#![allow(unsafe_code)]

pub mod acl;
pub mod beside;
pub mod bulk;
pub mod executor;
pub mod generated;
pub mod history;
pub mod lock;
pub mod log;
pub mod lookup;
pub mod opclass;
#[cfg(feature = "pg15")]
mod pages;
pub mod parse;
pub mod plan;
pub mod procedure;
pub mod receive;
pub mod relation;
mod ring;
pub mod row;
pub mod scan;
pub mod security;
pub mod settings;
pub mod snapshot;
pub mod spi;
pub mod stamp;
pub mod statement;
mod toast;
pub mod toast_table;
pub mod versions;
pub mod witness;
pub mod work;
pub mod worker;
pub mod xact;
