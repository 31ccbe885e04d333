//! Bulk changes while a table is copied: a deployment gets ready all the same, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../story/mod.rs"]
mod story;

mod anew;
mod plans;
