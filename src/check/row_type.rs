//! Functions that use the table's row type: the new table has a type of its own, and sessions that live on
//! keep the old one.

use crate::catalog::row_type::RowTypeUser;
use crate::check::facts::Facts;
use crate::model::finding::Finding;

const HINT: &str = "Let those sessions reconnect after the swap, and after bg_finish those that did not (restart the pool): DISCARD and DEALLOCATE do not help. A variable of type record has no such memory.";

/// How many functions a notice names.
const NAMED: usize = 5;

/// One warning for each function.
pub(crate) fn check(facts: &Facts) -> Vec<Finding> {
    let table = facts.table.qualified().plain();
    facts.row_type_users.iter().map(|user| finding(&table, user)).collect()
}

fn finding(table: &str, user: &RowTypeUser) -> Finding {
    let uses = if user.sure { "uses" } else { "may use (its text looks so)" };
    let name = &user.name;
    Finding::warning(
        "row_type_kept",
        name,
        format!(
            "function {name} {uses} the row type of {table} or an array of it: sessions that have called it before the swap keep the old type, may take columns by its positions, and fail after bg_finish"
        ),
        HINT,
    )
}

/// What a swap says about it; None where there is no such function.
pub(crate) fn notice(table: &str, users: &[RowTypeUser]) -> Option<String> {
    let first: Vec<_> = users.iter().take(NAMED).map(|user| user.name.as_str()).collect();
    if first.is_empty() {
        return None;
    }
    let more = match users.len() - first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "sessions that have called {}{more} have to reconnect afterwards: they may keep the old row type of {table}, which DISCARD and DEALLOCATE do not change",
        first.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(count: usize) -> Vec<RowTypeUser> {
        (0..count).map(|n| RowTypeUser { name: format!("f{n}()"), sure: true }).collect()
    }

    #[test]
    fn a_notice_names_some_and_counts_the_others() {
        assert_eq!(notice("public.t", &[]), None);
        let some = notice("public.t", &users(2)).unwrap_or_default();
        assert!(some.contains("f0(), f1() have to"), "{some}");
        let many = notice("public.t", &users(8)).unwrap_or_default();
        assert!(many.contains("f4() and 3 more have to") && !many.contains("f5"), "{many}");
    }
}
