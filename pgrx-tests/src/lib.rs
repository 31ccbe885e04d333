//! What needs a server from outside: the set-up, throwaway clusters, client tests, the demo and the
//! comparison. The package's binary is behind the aliases `cargo demo`, `cargo verify` and
//! `cargo compare`.

pub mod cluster;
pub mod compare;
pub mod demo;
pub mod journal;
pub mod setup;
pub mod source;
pub mod verify;
