//! What a swap tells its caller: what comes next.

use crate::ident::literal;

/// What decides it, of a deployment that is going to be swapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Swap<'a> {
    /// The live table as messages name it.
    pub table: &'a str,
    /// Columns differ, so that prepared statements without a list of columns fail.
    pub new_columns: bool,
    /// Foreign keys come to the new table NOT VALID.
    pub not_valid: bool,
}

/// One line.
pub(crate) fn next(swap: &Swap<'_>) -> String {
    let table = literal(swap.table);
    let keeps = if swap.not_valid {
        "validates the foreign keys and keeps the old table in step"
    } else {
        "keeps the old table in step"
    };
    let pools = if swap.new_columns {
        "renew the clients' connections (recycle connection pools), because statements like SELECT * that they have prepared fail; "
    } else {
        ""
    };
    format!(
        "after the swap of {}: {pools}CALL bg_run({table}) {keeps}; SELECT bg_finish({table}) drops the old table, SELECT bg_revert({table}) brings it back",
        swap.table
    )
}

#[cfg(test)]
mod tests {
    use super::{Swap, next};

    #[test]
    fn it_says_what_the_deployment_needs() {
        let swap = Swap { table: "public.it's", new_columns: false, not_valid: false };
        assert_eq!(
            next(&swap),
            "after the swap of public.it's: CALL bg_run('public.it''s') keeps the old table in step; SELECT bg_finish('public.it''s') drops the old table, SELECT bg_revert('public.it''s') brings it back"
        );
        let all = next(&Swap { new_columns: true, not_valid: true, ..swap });
        assert!(all.contains("renew the clients' connections"), "{all}");
        assert!(all.contains("validates the foreign keys"), "{all}");
    }
}
