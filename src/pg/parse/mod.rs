//! The server's scanner, parser and deparser for what users write: `changes` and mappings.
//!
//! [`parse_changes`] splits the text at its top-level commas with the server's scanner, and admits
//! every piece by what the server's parser makes of `ALTER TABLE x <piece>`. [`parse_mapping`] and
//! [`parse_mapping_as`] admit one target expression, resolve its names under the caller's
//! search_path and write it down again as the server's deparse, in which every name is
//! unambiguous. Nothing that was parsed here is executed here, and no text of a user's is ever
//! edited: it is taken whole or refused.
//!
//! Everything the server allocates lives in a memory context that is dropped on the way out, also when
//! the server raises an error.

mod action;
mod analysis;
mod arena;
mod changes;
#[cfg(any(test, feature = "pg_test"))]
mod changes_tests;
mod columns;
mod deparse;
mod exact;
mod expression;
#[cfg(any(test, feature = "pg_test"))]
mod expression_tests;
mod names;
mod piece;
mod raw;
mod repeats;
mod scan;
mod select;
mod settings;

pub(crate) use analysis::Search;
pub(crate) use changes::{parse_changes, read_changes};
pub(crate) use exact::Way;
#[cfg(any(test, feature = "pg_test"))]
pub(crate) use expression::parse_mapping;
pub(crate) use expression::{
    Expression, Target, Volatility, cast_expression, parse_mapping_as, tree_of,
};
pub(crate) use names::{A_KEY, named_by, names, unsettled_by};
