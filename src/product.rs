//! Names by which the server knows the extension.

use std::ffi::CStr;

/// The schema of our own tables.
pub(crate) const SCHEMA: &str = "bluegreen";
/// The same for the server.
pub(crate) const SCHEMA_C: &CStr = c"bluegreen";
/// How the names of our settings begin.
pub(crate) const SETTINGS: &CStr = c"bluegreen";
/// The library.
pub(crate) const LIBRARY: &[u8] = b"pg_bluegreen";
/// How the names of rows begin that a statement reads without their being in a table.
pub(crate) const TRANSIENT: &[u8] = b"bluegreen_";
/// What makes the schema.
pub(crate) const CREATE_EXTENSION: &str = "Run CREATE EXTENSION pg_bluegreen.";
