//! Statements on schemas of the extension's own. A role is PUBLIC, or a quoted name.

use std::fmt::Display;

use crate::ident::Ident;

/// Makes a schema.
pub(crate) fn create(name: &Ident) -> String {
    format!("CREATE SCHEMA {name}")
}

/// Drops it; it is empty.
pub(crate) fn drop(name: &Ident) -> String {
    format!("DROP SCHEMA {name} RESTRICT")
}

/// Drops it, if it is there; it is empty.
pub(crate) fn drop_if_exists(name: &Ident) -> String {
    format!("DROP SCHEMA IF EXISTS {name} RESTRICT")
}

/// Lets a role see what is in it.
pub(crate) fn grant_usage(name: &Ident, role: impl Display) -> String {
    format!("GRANT USAGE ON SCHEMA {name} TO {role}")
}

/// Lets a role make things in it.
pub(crate) fn grant_create(name: &Ident, role: impl Display) -> String {
    format!("GRANT USAGE, CREATE ON SCHEMA {name} TO {role}")
}

/// Takes all rights on it away from a role.
pub(crate) fn revoke(name: &Ident, role: impl Display) -> String {
    format!("REVOKE ALL ON SCHEMA {name} FROM {role}")
}
