//! From 0.1.0 to the present version: the catalogs afterwards, and deployments that 0.1.0 has begun.

mod catalogs;
mod fixture;
mod goes_on;
mod installed;
mod record;

use crate::story::{Stage, stage};

static STAGE: Stage = stage!();
