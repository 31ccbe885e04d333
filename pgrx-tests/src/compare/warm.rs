//! Free memory that is there when it is asked for.
//!
//! A virtual machine's host may take back what its guest does not use (the balloon's "free page
//! reporting"), and gives it again page by page as it is touched, which costs two to three times
//! what it costs to write to it. A run over ten times the rows pays more of that for each than the
//! other, so both begin after as much has been touched and let go again. Where all runs are of one size it
//! is left: what the host does with memory just let go costs more than it saves.
//!
//! It helps, but the host may take memory back during a run as well. Where the guest does not report
//! (`page_reporting_order` of its module `page_reporting` above 10) the figures are steady.

use std::fs;
use std::hint::black_box;

use anyhow::{Context, Result};

const MEMINFO: &str = "/proc/meminfo";

/// Touches free memory, if there is as much; what the cache holds stays where it is.
pub(super) fn memory(bytes: usize) -> Result<()> {
    let text = fs::read_to_string(MEMINFO).with_context(|| format!("reading {MEMINFO}"))?;
    let free = free(&text).with_context(|| format!("no MemFree in {MEMINFO}"))?;
    // All but a quarter, so that nothing is pushed out to make room.
    black_box(vec![1_u8; bytes.min(free / 4 * 3)]);
    Ok(())
}

fn free(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemFree:"))?;
    line.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::free;

    #[test]
    fn the_kernel_s_figure_is_found() {
        let meminfo = "MemTotal:       24672772 kB\nMemFree:        18277332 kB\n";
        assert_eq!(free(meminfo), Some(18_277_332 * 1024));
        assert_eq!(free("nothing"), None);
    }
}
