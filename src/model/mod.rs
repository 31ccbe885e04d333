//! Plain data that every floor may use.

pub mod changes;
