//! Free space on the volumes of the server's directories.

/// Bytes that the server may still write on the volume of one of its directories, whose path is relative to the
/// data directory, where each of its processes runs. None where the system does not tell.
pub(crate) fn free(directory: &str) -> Option<u64> {
    let volume = rustix::fs::statvfs(directory).ok()?;
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}
