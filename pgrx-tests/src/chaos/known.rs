//! Findings that are known and not yet mended. They are counted and passed over, so that a run goes
//! on to find others. Each is as narrow as it can be, and goes when its cause does.

/// Part of the refusal's message, and what is wrong with it.
const KNOWN: [(&str, &str); 1] = [(
    "rewritten column ",
    "VACUUM FULL of a table with a column that ADD COLUMN … DEFAULT gave it is taken for a changed \
     definition",
)];

/// A call that is cancelled, because it would never end.
pub const PAUSED_AND_OVER: &str =
    "bg_run waits for ever for bg_resume of a deployment that was aborted or finished while paused";

/// What is known of a refusal that ought not to be.
pub fn why(message: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(part, _)| message.contains(part)).map(|(_, why)| *why)
}
