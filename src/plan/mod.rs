//! Decisions, without SPI: what to do with what was read.

pub mod anew;
pub mod batch;
pub mod difference;
pub mod distinct;
pub mod intrusion;
pub mod properties;
pub mod provenance;
pub mod same_tree;
pub mod throttle;
pub mod wanted;
