//! What the server has to bear, without what our own runs add.

use crate::error::Result;
use crate::model::pressure::Pressure;
use crate::pg::spi::{self, Arg};

/// One look at the server; of the standbys only those named, if any is. Runs as the extension.
pub(crate) fn look(replicas: &[String]) -> Result<Pressure> {
    spi::row(include_str!("queries/pressure.sql"), &[Arg::Texts(replicas.to_vec())])
}
