//! Whether the copy is better begun anew than completed.
//!
//! What changed while the table was copied is deleted from blue again and written by sync, row by row into
//! every index, which takes ten times as long as a row of the copy.

/// Rows that sync brings in within a second or two: not worth a copy.
const MIN_CHANGED: i64 = 10_000;
/// How often a copy is begun anew for this, at most. Who writes to half of the table while it is copied
/// once may do so for ever; a bulk change, or the next one, does not.
pub(crate) const MAX_TIMES: u32 = 2;

/// How many different keys must have changed, of so many copied rows.
pub(crate) fn many(copied: i64) -> i64 {
    (copied / 2).max(MIN_CHANGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_rows_are_many_and_few_rows_never_are() {
        assert_eq!(many(1_000_000), 500_000);
        assert_eq!(many(300), MIN_CHANGED);
        assert_eq!(many(0), MIN_CHANGED);
    }
}
