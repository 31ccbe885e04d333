//! Decisions, without SPI: what to do with what was read.

pub(crate) mod after_swap;
pub(crate) mod anew;
pub(crate) mod batch;
pub(crate) mod difference;
pub(crate) mod distinct;
pub(crate) mod eta;
pub(crate) mod event_fold;
pub(crate) mod intrusion;
pub(crate) mod next_step;
pub(crate) mod progress_line;
pub(crate) mod properties;
pub(crate) mod same_tree;
pub(crate) mod sample;
pub(crate) mod throttle;
pub(crate) mod wanted;
