//! Table-level blue-green deployment inside PostgreSQL.
//!
//! The rooms, from above. A module imports only what is below it, never what is beside it, and no files
//! import each other in a circle (`pgrx-tests/tests/floors.rs`).
//!
//! | modules | what |
//! | --- | --- |
//! | `api` | the SQL functions: they convert, call and convert |
//! | `verbs` | a file for each function that users call |
//! | `runner` | the steps of a deployment, each in a transaction of its own; background workers |
//! | `blueprint` | from a request to a new table with everything decided |
//! | `guard` | who calls, the deployment's lock, the recorded definitions |
//! | `shadow` `dependent` `capture` `backfill` `sync` `verify` `swap` | the stages, one algorithm each |
//! | `state` | the only readers and writers of `bluegreen.*` |
//! | `plan` `check` `ddl` | decisions and statements; no SPI |
//! | `catalog` | what the server knows, a question each |
//! | `heap`, `failpoint`, `settings` | rows below SQL; points at which tests stop a step; the settings |
//! | `pg` | the server's C interface behind safe functions |
//! | `model` | plain data |
//! | `ident` `oid` `error` `product` | names, OIDs and errors |
//!
//! Hand-written `unsafe` is in `pg` and `heap` only.
//!
//! Invariants that everything rests on:
//! - capture sees every write to green from the commit of prepare on; its log is consumed under the
//!   deployment's lock by one runner, exactly as one snapshot saw it;
//! - the state of a step commits with the step;
//! - what the user wrote runs as the table's owner, restricted; our own writes as the extension's.
#![deny(unsafe_code, unreachable_pub)]

mod api;
mod backfill;
mod blueprint;
mod capture;
mod catalog;
mod check;
mod ddl;
mod dependent;
mod error;
mod failpoint;
mod guard;
mod heap;
mod ident;
mod model;
mod oid;
mod pg;
mod plan;
mod product;
mod runner;
mod settings;
mod shadow;
mod state;
mod swap;
mod sync;
mod verbs;
mod verify;

::pgrx::pg_module_magic!();

pgrx::extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
pgrx::extension_sql_file!("../sql/functions.sql", name = "functions", finalize);

/// Called by the server when it loads the library.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::backtrace::leave_out();
    settings::define();
    capture::trigger::init();
    pg::lookup::init();
    pg::worker::init(runner::background::main);
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
