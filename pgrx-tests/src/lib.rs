//! What needs a server from outside: the set-up, throwaway clusters, client tests, the demo, the
//! comparison and the chaos. The package's binary is behind the aliases `cargo demo`, `cargo verify`,
//! `cargo compare` and `cargo chaos`.

pub mod chaos;
pub mod cluster;
pub mod compare;
pub mod demo;
pub mod journal;
pub mod setup;
pub mod source;
pub mod verify;
