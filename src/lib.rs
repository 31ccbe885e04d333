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

/// What `cargo pgrx test` asks for before it starts its server.
#[cfg(test)]
pub mod pg_test {
    /// Nothing to set up.
    pub fn setup(_options: Vec<&str>) {}

    /// The extension needs no settings at server start.
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
