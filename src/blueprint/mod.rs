//! Blueprint: from a request to a new table with everything decided, for bg_prepare and for the trial of
//! bg_check.

pub(crate) mod build;
pub(crate) mod elsewhere;
pub(crate) mod oid_kept;
pub(crate) mod plain_alter;
pub(crate) mod preflight;
pub(crate) mod statistics_names;
pub(crate) mod target;
