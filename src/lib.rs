//! Table-level blue-green deployment inside PostgreSQL.
#![deny(unsafe_code)]

pub mod backfill;
pub mod catalog;
pub mod ddl;
pub mod error;
pub mod failpoint;
pub mod ident;
pub mod model;
pub mod pg;
pub mod plan;
pub mod sync;

::pgrx::pg_module_magic!();
