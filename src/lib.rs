//! Table-level blue-green deployment inside PostgreSQL.
#![deny(unsafe_code)]

pub mod error;
pub mod failpoint;
pub mod ident;
pub mod model;
pub mod pg;

::pgrx::pg_module_magic!();
