//! State: the only readers and writers of our own tables, `bluegreen.*`. All run as the extension.

pub(crate) mod captured;
pub(crate) mod change_log;
pub(crate) mod chunks;
pub(crate) mod differences;
pub(crate) mod key_rows;
pub(crate) mod lock;
pub(crate) mod rejected_rows;
pub(crate) mod restored;
pub(crate) mod server_load;
pub(crate) mod store;
pub(crate) mod truncation;
