//! The space that a copy needs beside the table.

use crate::check::facts::Facts;
use crate::model::finding::Finding;

/// What takes less than this part of the free space is not spoken of, as a divisor.
const WORTH_A_NOTE: i64 = 4;

/// Where it is much, and where it is more than there is.
pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let table = facts.table.qualified().plain();
    let volumes = facts.volumes.iter().filter(|v| v.needed > v.free / WORTH_A_NOTE);
    volumes
        .map(|volume| {
            let (needed, free) = (volume.needed >> 20, volume.free >> 20);
            let message = format!(
                "the copy of {table} needs about {needed} MB in {}, whose volume has {free} MB free",
                volume.name
            );
            if volume.needed > volume.free {
                Finding::warning(
                    "space",
                    &volume.name,
                    message,
                    "Make room first, for the WAL of the copy too. CALL bg_run(table) pauses while less than bluegreen.min_free_space is free.",
                )
            } else {
                Finding::note(
                    "space",
                    &volume.name,
                    message,
                    "Keep room for the WAL of the copy too, about as much again until a checkpoint. CALL bg_run(table) pauses while less than bluegreen.min_free_space is free.",
                )
            }
        })
        .collect()
}
