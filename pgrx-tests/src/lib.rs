//! What needs a server from outside: the set-up, throwaway clusters, client tests, the demo, the
//! comparison, the chaos, the packages and the site of the documents. The package's binary is behind the aliases
//! `cargo demo`, `cargo verify`, `cargo compare`, `cargo chaos`, `cargo packages` and `cargo docs`.

pub mod chaos;
pub mod cluster;
pub mod compare;
pub mod demo;
pub mod documents;
pub mod journal;
pub mod packages;
pub mod setup;
pub mod source;
pub mod verify;
