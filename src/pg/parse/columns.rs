//! The columns that an expression reads.

use crate::error::{Error, Result};

use pgrx::pg_sys;

use std::ptr;

/// The attnums that an expression reads, ascending.
///
/// # Errors
/// 0A000 for a whole row or a system column.
///
/// # Safety
/// The expression is a tree of the server.
pub(super) unsafe fn columns(expr: *mut pg_sys::Node, what: &str) -> Result<Vec<i16>> {
    let mut set = ptr::null_mut();
    let mut columns = Vec::new();
    // SAFETY: the walker fills a set, in which attnums are shifted to be positive.
    unsafe {
        pg_sys::pull_varattnos(expr, 1, &mut set);
        let mut member = pg_sys::bms_next_member(set, -1);
        while member >= 0 {
            let number = member + pg_sys::FirstLowInvalidHeapAttributeNumber;
            columns.push(i16::try_from(number).map_err(|_| {
                Error::internal(format!("{what} reads a column with number {number}"))
            })?);
            member = pg_sys::bms_next_member(set, member);
        }
    }
    match columns.iter().copied().find(|column| *column <= 0) {
        None => Ok(columns),
        Some(0) => Err(Error::unsupported(format!("{what} cannot read the whole row"))
            .hint("Name the columns; ROW(a, b) makes a row of them.")),
        Some(system) => Err(Error::unsupported(format!(
            "{what} cannot read the system column {}",
            system_column(system)
        ))
        .hint("Use a column of its own: the value of a system column belongs to a row's place in one table.")),
    }
}

fn system_column(number: i16) -> &'static str {
    match number {
        -1 => "ctid",
        -2 => "xmin",
        -3 => "cmin",
        -4 => "xmax",
        -5 => "cmax",
        _ => "tableoid",
    }
}
