//! Plain data that all floors share. No SPI, no server calls.

pub(crate) mod changes;
pub(crate) mod dependent;
pub(crate) mod deployment;
pub(crate) mod difference;
pub(crate) mod finding;
pub(crate) mod hold;
pub(crate) mod key;
pub(crate) mod mapping;
pub(crate) mod member;
pub(crate) mod phase;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod sample;
pub(crate) mod server_load;
pub(crate) mod settings;
pub(crate) mod tree;
pub(crate) mod version;
pub(crate) mod zones;
