//! Statements on a change log.
//!
//! A log has a row for each event: its position, the operation, the key (`k1` …) and, where it
//! differs, the old key (`o1` …). The key of a misfit stands in it as a row of operation `M`.

use crate::ident::QualifiedName;
use crate::model::key::Key;
use crate::model::zones::ScanWindow;

/// `k1, k2, …` for a key of so many columns.
fn numbered(prefix: &str, count: usize) -> String {
    (1..=count).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(", ")
}

/// The names of the columns of a log for a key.
pub(crate) fn columns(key: &Key) -> Vec<String> {
    let numbered = |prefix| (1..=key.columns.len()).map(move |i| format!("{prefix}{i}"));
    let first = ["position", "n", "op"].map(str::to_owned).into_iter();
    first.chain(numbered("k")).chain(numbered("o")).collect()
}

/// Makes a log for the events of a table with this key.
pub(crate) fn create(log: &QualifiedName, unlogged: bool, key: &Key) -> String {
    let columns = |prefix: &str| {
        let columns = key.columns.iter().enumerate().map(|(i, column)| {
            let collation = column.collation_sql.as_ref();
            let collate = collation.map_or(String::new(), |c| format!(" COLLATE {c}"));
            format!("{prefix}{} {}{collate}", i + 1, column.type_sql)
        });
        columns.collect::<Vec<_>>().join(", ")
    };
    format!(
        "CREATE {}TABLE {log} (position bigint NOT NULL, n integer NOT NULL, op \"char\" NOT NULL, {}, {}) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000, autovacuum_analyze_scale_factor = 0.5)",
        if unlogged { "UNLOGGED " } else { "" },
        columns("k"),
        columns("o")
    )
}

/// Lets the database's owner read it, whose pg_dump has to.
pub(crate) fn grant(log: &QualifiedName) -> String {
    format!("GRANT SELECT ON TABLE {log} TO pg_database_owner")
}

/// Drops it, if it is there.
pub(crate) fn drop(log: &QualifiedName) -> String {
    format!("DROP TABLE IF EXISTS {log} RESTRICT")
}

/// Empties it and gives its file back.
pub(crate) fn truncate(log: &QualifiedName) -> String {
    format!("TRUNCATE TABLE {log}")
}

/// Removes its dead rows. The lock that gives the empty end of its file back is only tried.
pub(crate) fn vacuum(log: &QualifiedName) -> String {
    format!("VACUUM (TRUNCATE, PARALLEL 0) {log}")
}

/// Empties it and keeps its file.
pub(crate) fn delete(log: &QualifiedName) -> String {
    format!("DELETE FROM {log}")
}

/// Whether it has no rows.
pub(crate) fn is_empty(log: &QualifiedName) -> String {
    format!("SELECT NOT EXISTS (SELECT FROM {log})")
}

/// The number of events, counted up to `$1`.
pub(crate) fn count(log: &QualifiedName) -> String {
    format!("SELECT pg_catalog.count(*) FROM (SELECT FROM {log} WHERE op <> 'M' LIMIT $1) l")
}

/// The number of events in a sample of the pages, `$1` percent of them.
pub(crate) fn sample(log: &QualifiedName) -> String {
    format!(
        "SELECT pg_catalog.count(*) FROM {log} TABLESAMPLE SYSTEM ($1) REPEATABLE (0) WHERE op <> 'M'"
    )
}

/// The first `$1` events, or those of a window, in their order; before them the misfits, if wanted.
/// Gives place, position, transaction, operation, key and old key; keys have `columns` columns.
pub(crate) fn events(
    log: &QualifiedName,
    columns: usize,
    misfits: bool,
    window: Option<ScanWindow>,
) -> String {
    let keys = format!("{}, {}", numbered("k", columns), numbered("o", columns));
    let within = window.map_or(String::new(), |w| {
        format!(
            " AND ctid >= '({},0)'::pg_catalog.tid AND ctid < '({},0)'::pg_catalog.tid AND position < {}",
            w.first, w.end, w.below
        )
    });
    format!(
        "SELECT ctid, position, xmin, op, {keys} FROM (
             (SELECT ctid, position, xmin, op, {keys} FROM {log} WHERE op = 'M' AND {misfits})
             UNION ALL
             (SELECT ctid, position, xmin, op, {keys} FROM {log} WHERE op <> 'M'{within}
               ORDER BY position, n, ctid LIMIT $1)) l"
    )
}

/// Whether there is a misfit whose key, of `columns` columns, has no event since. Keys are compared by their bytes.
pub(crate) fn has_untouched_misfit(log: &QualifiedName, columns: usize) -> String {
    let key = |alias: &str, prefix: &str| {
        let names: Vec<_> = (1..=columns).map(|i| format!("{alias}.{prefix}{i}")).collect();
        format!("ROW({})::pg_catalog.record", names.join(", "))
    };
    let same = "OPERATOR(pg_catalog.*=)";
    format!(
        "SELECT EXISTS (SELECT FROM {log} m WHERE m.op = 'M' AND NOT EXISTS (SELECT FROM {log} l WHERE l.op <> 'M' AND ({} {same} {misfit} OR {} {same} {misfit})))",
        key("l", "k"),
        key("l", "o"),
        misfit = key("m", "k")
    )
}

/// Lowest and highest position and number of the events from place `$1` up to before `$2`.
pub(crate) fn zone(log: &QualifiedName) -> String {
    format!(
        "SELECT pg_catalog.min(position) AS low, pg_catalog.max(position) AS high, pg_catalog.count(*) AS count
           FROM {log} WHERE op <> 'M' AND ctid >= $1::pg_catalog.tid AND ctid < $2::pg_catalog.tid"
    )
}

/// All keys, present and old ones, of `columns` columns.
pub(crate) fn keys(log: &QualifiedName, columns: usize) -> String {
    format!(
        "SELECT {} FROM {log} UNION ALL SELECT {} FROM {log} WHERE o1 IS NOT NULL",
        numbered("k", columns),
        numbered("o", columns)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_bounds_the_events_and_not_the_misfits() {
        let window = ScanWindow { first: 512, end: 1024, below: 9 };

        let sql = events(&QualifiedName::new("bluegreen", "forward_1"), 2, true, Some(window));

        let keys = "ctid, position, xmin, op, k1, k2, o1, o2";
        assert!(sql.contains(&format!(
            "SELECT {keys} FROM \"bluegreen\".\"forward_1\" WHERE op = 'M' AND true)"
        )));
        assert!(sql.contains("op <> 'M' AND ctid >= '(512,0)'::pg_catalog.tid AND ctid < '(1024,0)'::pg_catalog.tid AND position < 9\n"));
    }
}
