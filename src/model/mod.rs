//! Plain data that all floors share. No SPI, no server calls.

pub mod changes;
pub mod dependent;
pub mod deployment;
pub mod finding;
pub mod key;
pub mod mapping;
pub mod phase;
pub mod pressure;
pub mod settings;
pub mod tree;
pub mod zones;
