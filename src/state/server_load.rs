//! What the server has to bear, without what our own runs add.

use crate::error::Result;
use crate::model::server_load::ServerLoad;
use crate::pg::spi::{self, Arg};

/// One look at the server; of the standbys only those named, if any is. Runs as the extension.
pub(crate) fn look(replicas: &[String]) -> Result<ServerLoad> {
    spi::row(include_str!("queries/server_load.sql"), &[Arg::Texts(replicas.to_vec())])
}
