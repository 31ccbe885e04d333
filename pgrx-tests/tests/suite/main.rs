//! The tests that need a server: one program, so that no test waits for the last one of another file.
//! The modules go by what is tested; each has a cluster of its own, which is started when one of its
//! tests asks for it (see `story::stage`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod story;

mod prepare {
    mod elsewhere;
    mod every_reason;
    mod exact_keys;
    mod names;
    mod needs;
    mod plain_alter;
    mod refusals;
}

mod backfill {
    mod copier;
    mod copier_costs;
    mod copier_fallback;
    mod copier_values;
    mod copy;
    mod damaged;
}

/// Bulk changes while a table is copied are in `anew` and `plans`.
mod sync {
    mod anew;
    mod capture;
    mod keys;
    mod misfits;
    mod plans;
}

mod swap {
    mod after;
    mod among_readers;
    mod at_once;
    mod blockers;
    mod history;
    mod kept;
    mod locks;
}

mod revert {
    mod set_aside;
    mod way_back;
}

mod verify {
    mod differences;
    mod order;
}

/// What hangs on a table, and what a table is besides its columns.
mod dependents {
    mod carried;
    mod event_triggers;
    mod foreign_keys;
    mod kinds;
    mod objects;
    mod properties;
    mod row_types;
    mod same_tree;
    mod sequences;
    mod views;
}

mod rights {
    mod escalation;
    mod granted;
}

/// `CALL bg_run`: what interrupts it, helps it and makes it wait.
mod runner {
    mod interrupted;
    mod throttle;
    mod throttle_standbys;
    mod time_limits;
    mod workers;
    mod workers_faults;
}

/// What befalls a server, and what its operators do with it.
mod operations {
    mod chaos;
    mod crash;
    mod dead_ends;
    mod dropped;
    mod dumps;
    mod eta;
    mod extensions;
    mod kept_out;
    mod kills;
    mod memory;
    mod operators;
    mod renames;
    mod settings;
    mod status;
    mod status_crashes;
    mod status_standby;
    mod subscriber;
    mod told;
    mod two_phase;
    mod upgrades;
    mod ways_out;
}

/// Whole deployments under clients, and races between sessions.
mod concurrency {
    mod changes;
    mod family;
    mod isolation;
    mod journal;
    mod races;
}

/// What newer servers brought: on older ones these tests see its statements fail.
mod versions {
    mod of_16;
    mod of_17;
    mod of_18;
    mod round_trip;
    mod virtual_columns;
}

mod fuzz;
mod snapshots;
mod upgrade;

/// What the tests themselves stand on.
mod harness {
    mod cluster;
    mod writers;
}
