//! Table-level blue-green deployment inside PostgreSQL.
//!
//! The way in the code: floors that import only downwards; the stages of floor 3 do not know each
//! other.
//!
//! | floor | modules | what |
//! | --- | --- | --- |
//! | 5 | `api`, `worker`, `settings` | the SQL functions, background workers, the settings |
//! | 4 | `deployment` | phases, state, batches, swap, from prepare to finish |
//! | 3 | `shadow` `dependent` `capture` `backfill` `sync` `verify` `swap` | the stages, one algorithm each |
//! | 2 | `plan` `check` `ddl` | decisions and statements; no SPI |
//! | 1 | `catalog`, `pg`, `failpoint` | what the server knows; all hand-written `unsafe` |
//! | 0 | `model` `ident` `error` | plain data |
//!
//! Invariants that everything rests on:
//! - capture sees every write to green from the commit of prepare on; its log is consumed under the
//!   deployment's lock by one runner, exactly as one snapshot saw it;
//! - the state of a step commits with the step;
//! - what the user wrote runs as the table's owner, restricted; our own writes as the extension's.
#![deny(unsafe_code)]

mod api;
pub mod backfill;
pub mod capture;
pub mod catalog;
pub mod check;
pub mod ddl;
pub mod dependent;
pub mod deployment;
pub mod error;
pub mod failpoint;
pub mod ident;
pub mod model;
pub mod pg;
pub mod plan;
pub mod settings;
pub mod shadow;
pub mod swap;
pub mod sync;
pub mod verify;
mod worker;

::pgrx::pg_module_magic!();

pgrx::extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
pgrx::extension_sql_file!("../sql/functions.sql", name = "functions", finalize);

/// Called by the server when it loads the library.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    settings::define();
    pg::log::init();
    pg::lookup::init();
    pg::worker::init(worker::main);
}

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
